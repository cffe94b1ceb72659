"""The files of each case: from folders, dataset.json files, JSON lists, DICOM folders or files named one by one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from .. import files
from ..errors import InputError
from .channel_files import case_name, grouped_by_channel
from .dataset_json import ListedCase, declared_channels, listed_cases
from .labeling import Labeling
from .mixed_entries import check_entries
from .pairing import labels_by_case, labels_by_image, labels_in_order, matching_case, volume_files
from .patient_folders import holds_dicom, patients_in, series_within
from .segments import NamedLabel


@dataclass(frozen=True)
class CaseFiles:
    """One case.

    Attributes:
        name: the files' name without ending and channel number.
        images: one file (or DICOM folder) a channel.
        labels: the label map, or None for an unlabeled case. labeling: what it says and what it leaves open.
        named: its structures by name (:mod:`.named_labels`), where its label file names them.
        candidates: the label maps beside its images, where there are several and none was given.
    """

    name: str
    images: tuple[Path, ...]
    labels: Path | None
    labeling: Labeling = Labeling()
    named: tuple[NamedLabel, ...] = ()
    candidates: tuple[Path, ...] = ()


def find_cases(images: Sequence[Path], labels: Sequence[Path] = ()) -> list[CaseFiles]:
    """The cases that ``images`` and ``labels`` name, sorted by name.

    Args:
        images: any of: a folder with one file a case (or one a channel: ``CASE_0000``, ``CASE_0001``, ..., or with
            the names of the channels that a ``dataset.json`` in it or beside it declares), a folder with DICOM slices,
            a folder with a folder a patient (:mod:`.patient_folders`), a volume file, a ``dataset.json`` (Decathlon or
            nnU-Net) or the folder it lies in, a JSON list of ``{"image": ..., "label": ...}`` with paths relative to
            it, in which a case may also have a "name", say its "labeled_part" and the "structures" that were looked
            for.
        labels: folders or files. A label belongs to the case whose name it has, with or without ``_seg``, ``_mask``
            and the like; files named one by one (or DICOM series, with a file each) whose names say nothing are paired
            in the order given. Cases without a label are unlabeled, labels without an image are ignored. Without
            ``labels``, those that lie beside their images by such names are used.

    Raises:
        InputError: nothing found, a missing file, two cases of one name, no label at all, or a JSON file of another
            form (the message names the entry).
    """
    for path in images:
        with files.readable(path):
            files.check_there(path)
            if not (path.is_file() or path.is_dir()):  # a pipe would be waited for, and a socket has no content
                raise InputError(f"{path} is neither a file nor a folder. Give volumes as files, or their folder.")
    cases = _without_labels(grouped_by_channel([p for p in images if p.is_file() and p.suffix.lower() != ".json"]))
    for path in images:
        if path.is_dir():
            with files.readable(path):
                cases += _cases_in_folder(path)
        elif path.suffix.lower() == ".json":
            cases += _cases_in_json(path)
    if not cases:
        raise InputError("No images were given. Give volumes, or the folder that they are in.")
    repeated = [name for name, count in Counter(c.name for c in cases).items() if count > 1]
    if repeated:
        raise InputError(
            f"Two cases are named {repeated[0]}. Rename one, or give only one of them, or list the cases with a "
            '"name" each in a JSON file.'
        )
    folders = [image for case in cases for image in case.images if image.is_dir()]
    for folder in [*folders]:
        with suppress(InputError):  # what may not be read there was not asked for
            folders += [below for below in series_within(folder) if below not in folders]
    if len(folders) > 1:
        from .dicom import check_not_dealt_out  # pydicom takes a tenth of a second to load

        check_not_dealt_out(folders)
    if labels:
        cases = _with_labels(cases, labels, in_order=_one_by_one(images) and not any(p.is_dir() for p in labels))
    return sorted(cases, key=lambda c: c.name)


def _one_by_one(images: Sequence[Path]) -> bool:
    """Whether every one of ``images`` is a volume, all files or all DICOM series, so that cases keep their order."""
    folders = [path.is_dir() for path in images]
    return not any(folders) or (all(folders) and all(map(holds_dicom, images)))


def _cases_in_folder(folder: Path) -> list[CaseFiles]:
    volumes = _image_files(folder)
    if holds_dicom(folder):
        if volumes:
            raise InputError(
                f"{folder} holds DICOM slices and {volumes[0].name}. Move the volumes out of the series' folder."
            )
        return [CaseFiles(case_name(folder), (folder,), None)]
    if volumes:
        cases = _without_labels(grouped_by_channel(volumes, _channel_names(folder)))
        return _with_labels_beside(cases, [f for f in volume_files(folder) if f not in volumes])
    if (folder / "dataset.json").exists():
        return _cases_in_json(folder / "dataset.json")
    patients = patients_in(folder, _channel_names(folder))
    cases = [_with_only_one(CaseFiles(patient.name, patient.images, None), patient.labels) for patient in patients]
    if not cases:
        raise InputError(
            f"{folder} holds no volumes. Expected {', '.join(files.VOLUME_SUFFIXES[1:])} files, DICOM slices, or "
            "a folder with either for each patient."
        )
    return cases


def _without_labels(images: Mapping[str, tuple[Path, ...]]) -> list[CaseFiles]:
    return [CaseFiles(name, own, None) for name, own in images.items()]


def _channel_names(folder: Path) -> tuple[str, ...]:
    try:
        return declared_channels([folder])
    except InputError:  # a dataset.json of another kind; where its content is needed, it is refused
        return ()


def _with_labels_beside(cases: list[CaseFiles], others: Sequence[Path]) -> list[CaseFiles]:
    """``cases`` with those label maps of the ``others`` in their folder that have a case's name."""
    names = {case.name for case in cases}
    by_case: dict[str, list[Path]] = {}
    for file in others:
        if (name := matching_case(files.stem(file), names)) is not None:
            by_case.setdefault(name, []).append(file)
    return [_with_only_one(case, by_case.get(case.name, ())) for case in cases]


def _with_only_one(case: CaseFiles, labels: Sequence[Path]) -> CaseFiles:
    """``case`` with the one label map of ``labels``; of several none is chosen."""
    return replace(case, labels=labels[0]) if len(labels) == 1 else replace(case, candidates=tuple(labels))


def check_labels_chosen(cases: Sequence[CaseFiles]) -> None:
    """Refuse to learn from cases of which several label maps were found, so that it is not known which one is meant.

    Raises:
        InputError: there is such a case.
    """
    for case in cases:
        if case.candidates:
            names = " and ".join(path.name for path in case.candidates)
            raise InputError(
                f"{case.candidates[0].parent} holds {len(case.candidates)} label maps of {case.name}: {names}. Which "
                "one is meant? Move the others elsewhere, give the folder of the right ones as --labels, or list the "
                'cases in a JSON file ([{"image": ..., "label": ...}, ...]). If each holds one structure, put them '
                "together into one label map."
            )


def _image_files(folder: Path) -> list[Path]:
    """The volume files of ``folder`` without those that are, by name, a label map of one beside them."""
    volumes = volume_files(folder)
    stems = {files.stem(f) for f in volumes}
    names = stems | {name.removesuffix("_0000") for name in stems}
    return [
        f
        for f in volumes
        if files.volume_suffix(f) != ".seg.nrrd" and matching_case(files.stem(f), names - _own_names(f)) is None
    ]


def _own_names(file: Path) -> set[str]:
    return {files.stem(file), files.stem(file).removesuffix("_0000")}


def _with_labels(cases: list[CaseFiles], labels: Sequence[Path], in_order: bool) -> list[CaseFiles]:
    """``cases`` with ``labels`` (files or folders) by name; ``in_order`` if no name matches and there are as many."""
    label_files: list[Path] = []
    for path in labels:
        with files.readable(path):
            files.check_there(path)
            if path.suffix.lower() == ".json":
                raise InputError(f"{path} names images and labels together. Give it as --images, without --labels.")
            label_files += _label_files(path, cases)
    if not label_files:
        raise InputError(f"{labels[0]} holds no label files. Give the folder that holds the label maps themselves.")
    paired = labels_by_case(label_files, {case.name for case in cases})
    paired |= labels_by_image(label_files, {c.name: c.images[0] for c in cases if len(c.images) == 1})
    if not paired and in_order and len(label_files) == len(cases):
        paired = labels_in_order(label_files, [case.name for case in cases])
    if not paired:
        raise InputError(
            f"No label file matches an image by name (images: {cases[0].name}, ...; labels: "
            f"{files.stem(label_files[0])}, ...). Name each label like its image."
        )
    return [replace(case, labels=paired.get(case.name), candidates=()) for case in cases]


def _label_files(path: Path, cases: Sequence[CaseFiles]) -> list[Path]:
    """The file ``path``, or the volume files in the folder ``path`` that are no images of the ``cases``.

    Raises:
        InputError: there are none but images.
    """
    images = {os.path.realpath(image) for case in cases for image in case.images}
    given = volume_files(path) if path.is_dir() else [path]
    labels = [file for file in given if os.path.realpath(file) not in images]
    if given and not labels:
        raise InputError(
            f"{given[0]} is given as an image and as its label map, the same file. Give the label maps as --labels."
        )
    return labels


def _cases_in_json(path: Path) -> list[CaseFiles]:
    listed = listed_cases(path)
    if listed is not None:
        check_entries(path, listed)
        return _with_folders_names([_listed_case(case) for case in listed])
    folder = path.parent
    if not (folder / "imagesTr").is_dir():
        raise InputError(f"{path}: has no list named training, and there is no folder imagesTr beside it.")
    cases = _cases_in_folder(folder / "imagesTr")
    # nnU-Net v2 names every image CASE_0000, also with a single channel.
    return _with_labels(cases, [folder / "labelsTr"], in_order=False)


def _listed_case(listed: ListedCase) -> CaseFiles:
    name = case_name(listed.images[0])
    name = name.removesuffix("_0000") if len(listed.images) > 1 else name
    return CaseFiles(listed.name or name, listed.images, listed.label, listed.labeling)


def _with_folders_names(cases: list[CaseFiles]) -> list[CaseFiles]:
    """``cases`` of which those of one name are named FOLDER_NAME, as files of one name in a folder a patient."""
    count = Counter(case.name for case in cases)
    folders = [files.stem(case.images[0].resolve().parent) for case in cases]
    return [
        replace(case, name=f"{folder}_{case.name}") if count[case.name] > 1 else case
        for case, folder in zip(cases, folders, strict=True)
    ]
