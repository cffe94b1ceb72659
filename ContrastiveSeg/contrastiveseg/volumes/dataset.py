"""Which files make a case: from folders, dataset.json files, JSON lists, DICOM folders or files named one by one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import files
from ..errors import InputError

#: What label files carry behind the case name, in some data sets.
LABEL_ENDINGS = ("_segmentation", "_label", "_seg", "_gt", "-label", "-seg")
ENTRY_KEYS = {"image", "label"}


@dataclass(frozen=True)
class CaseFiles:
    """One case.

    Attributes:
        name: the files' name without ending and channel number.
        images: one file (or DICOM folder) a channel.
        labels: the label map, or None for an unlabeled case.
    """

    name: str
    images: tuple[Path, ...]
    labels: Path | None


def find_cases(images: Sequence[Path], labels: Sequence[Path] = ()) -> list[CaseFiles]:
    """The cases that ``images`` and ``labels`` name, sorted by name.

    Args:
        images: any of: a folder with one file a case (or ``CASE_0000``, ``CASE_0001``, ... one a channel), a folder
            with DICOM slices, a folder of such folders, a volume file, a ``dataset.json`` (Decathlon or nnU-Net) or the
            folder it lies in, a JSON list of ``{"image": ..., "label": ...}`` with paths relative to it.
        labels: folders or files. A label belongs to the case whose name it has, with or without ``_seg``, ``_label``
            and the like; files named one by one whose names tell nothing are paired in the order given. Labels without
            an image are ignored.

    Raises:
        InputError: nothing found, a missing file, two cases of one name, a case without its label, or a JSON file of
            another form (the place in it is named).
    """
    for path in images:
        with files.readable(path):
            if not path.exists():
                raise InputError(f"{path} does not exist.")
            if not (path.is_file() or path.is_dir()):  # a pipe would be waited for, and a socket has no content
                raise InputError(f"{path} is neither a file nor a folder. Give volumes as files, or their folder.")
    cases = _grouped_by_channel([p for p in images if p.is_file() and p.suffix.lower() != ".json"])
    for path in images:
        if path.is_dir():
            with files.readable(path):
                cases += _cases_in_folder(path)
        elif path.suffix.lower() == ".json":
            cases += _cases_in_json(path)
    if not cases:
        raise InputError("No images were given.")
    repeated = [name for name, count in Counter(c.name for c in cases).items() if count > 1]
    if repeated:
        raise InputError(f"Two cases are named {repeated[0]}. Rename one, or give only one of them.")
    if labels:
        cases = _with_labels(cases, labels, explicit=not any(p.is_dir() for p in (*images, *labels)))
    return sorted(cases, key=lambda c: c.name)


def label_names(path: Path) -> dict[int, str]:
    """Label values and their names from a ``dataset.json`` of the Decathlon or nnU-Net v2 form, background included.

    Raises:
        InputError: not such a file.
    """
    table = _object(path, _load(path)).get("labels")
    if not isinstance(table, dict) or not table:
        raise InputError(f"{path}: labels: expected an object with a name for every label.")
    names: dict[int, str] = {}
    for key, value in table.items():
        if key == "ignore":
            raise InputError(f"{path}: an 'ignore' label is not supported. Remove it there and from the label maps.")
        if isinstance(value, int) and not isinstance(value, bool):
            names[value] = key
        elif isinstance(value, str) and key.isdecimal():
            names[int(key)] = value
        else:
            raise InputError(f'{path}: labels.{key}: expected "NAME": NUMBER or "NUMBER": "NAME", found {value!r}.')
    if len(names) != len(table):
        raise InputError(f"{path}: labels: two names have the same number.")
    return dict(sorted(names.items()))


def _cases_in_folder(folder: Path) -> list[CaseFiles]:
    volumes = _image_files(folder)
    if volumes:
        return _grouped_by_channel(volumes)
    if _holds_dicom(folder):
        return [CaseFiles(_name(folder), (folder,), None)]
    if (folder / "dataset.json").exists():
        return _cases_in_json(folder / "dataset.json")
    series = [f for f in sorted(folder.iterdir()) if f.is_dir() and _holds_dicom(f)]
    if not series:
        raise InputError(
            f"{folder} holds no volumes. Expected {', '.join(files.VOLUME_SUFFIXES[1:])} files, DICOM slices, or "
            "folders with DICOM slices."
        )
    return [CaseFiles(_name(f), (f,), None) for f in series]


def _name(path: Path) -> str:
    """The case name of a file or a DICOM folder; never empty, since outputs are named after it."""
    there = path if path.name.strip(".") else path.resolve()  # "." and ".." are no names
    return files.stem(there) or "volume"


def _volume_files(folder: Path) -> list[Path]:
    # Hidden files are what other systems leave beside the real ones (._case.nii.gz).
    return sorted(f for f in folder.iterdir() if f.is_file() and files.volume_suffix(f) and not f.name.startswith("."))


def _image_files(folder: Path) -> list[Path]:
    """The volume files of ``folder`` without those that are, by name, a label map of one beside them."""
    found = _volume_files(folder)
    names = {files.stem(f).removesuffix("_0000") for f in found}
    return [
        f
        for f in found
        if files.volume_suffix(f) != ".seg.nrrd" and case_of(files.stem(f), names - {files.stem(f)}) is None
    ]


def _holds_dicom(folder: Path) -> bool:
    """Whether any file is DICOM by its ending or by its mark (most scanners' files have no ending)."""
    return any(_is_dicom(f) for f in folder.iterdir() if f.is_file())


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _grouped_by_channel(volumes: Sequence[Path]) -> list[CaseFiles]:
    """Files ``CASE_0000``, ``CASE_0001`` are one case when they begin at 0; other names are a case each."""
    groups: dict[str, list[Path]] = {}
    stems = {files.stem(f) for f in volumes}
    for file in volumes:
        name = _name(file)
        base, _, number = name.rpartition("_")
        if base and len(number) == 4 and number.isdecimal() and f"{base}_0000" in stems:
            groups.setdefault(base, []).append(file)
        elif name in groups:
            raise InputError(f"Two cases are named {name}: {groups[name][0]} and {file}. Rename or leave out one.")
        else:
            groups[name] = [file]
    usual = Counter(len(g) for g in groups.values()).most_common(1)[0][0] if groups else 0
    for name, group in groups.items():
        if len(group) != usual:
            raise InputError(
                f"Case {name} has {len(group)} channel file(s), the others {usual}. Complete it, or take it out of "
                f"{group[0].parent}."
            )
    return [CaseFiles(name, tuple(sorted(group)), None) for name, group in groups.items()]


def _with_labels(cases: list[CaseFiles], labels: Sequence[Path], explicit: bool) -> list[CaseFiles]:
    found: list[Path] = []
    for path in labels:
        with files.readable(path):
            if not path.exists():
                raise InputError(f"{path} does not exist.")
            if path.suffix.lower() == ".json":
                raise InputError(f"{path} names images and labels together. Give it as --images, without --labels.")
            found += _volume_files(path) if path.is_dir() else [path]
    if not found:
        raise InputError(f"{labels[0]} holds no label files.")
    names = {c.name for c in cases}
    by_name: dict[str, Path] = {}
    for file in found:
        name = case_of(files.stem(file), names)
        if name in by_name:
            raise InputError(f"Case {name} has two label files: {by_name[name].name} and {file.name}. Give one.")
        if name is not None:
            by_name[name] = file
    if not by_name and explicit and len(found) == len(cases):
        return [replace(c, labels=f) for c, f in zip(cases, found, strict=True)]
    if not by_name:
        raise InputError(
            f"No label file matches an image by name (images: {cases[0].name}, ...; labels: {files.stem(found[0])}, "
            "...). Name each label like its image."
        )
    for case in cases:
        if case.name not in by_name:
            raise InputError(
                f"Case {case.name} has no label file. Add one named {case.name}, or leave the case out by moving its "
                "image elsewhere."
            )
    return [replace(c, labels=by_name[c.name]) for c in cases]


def case_of(label: str, names: Collection[str]) -> str | None:
    """Which of the case ``names`` a label file's stem has, with or without one of :data:`LABEL_ENDINGS`."""
    endings = ("", *LABEL_ENDINGS)
    return next((c for e in endings if label.endswith(e) and (c := label[: len(label) - len(e)]) in names), None)


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(f"Cannot read {path}: {problem.strerror}.") from problem
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as problem:
        raise InputError(f"{path} is not a JSON file ({problem}).") from problem


def _object(path: Path, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected an object with named fields, found {type(data).__name__}.")
    return data


def _cases_in_json(path: Path) -> list[CaseFiles]:
    data = _load(path)
    if isinstance(data, list):
        return [_entry(path, f"[{i}]", e) for i, e in enumerate(data)]
    data = _object(path, data)
    if "training" in data:
        if not isinstance(data["training"], list):
            raise InputError(f"{path}: training: expected a list of image and label pairs.")
        return [_entry(path, f"training[{i}]", e) for i, e in enumerate(data["training"])]
    folder = path.parent
    if not (folder / "imagesTr").is_dir():
        raise InputError(f"{path}: has no list named training, and there is no folder imagesTr beside it.")
    cases = _cases_in_folder(folder / "imagesTr")
    # nnU-Net v2 names every image CASE_0000, also with a single channel.
    return _with_labels(cases, [folder / "labelsTr"], explicit=False)


def _entry(path: Path, where: str, entry: Any) -> CaseFiles:
    if not isinstance(entry, dict) or "image" not in entry or not set(entry) <= ENTRY_KEYS:
        raise InputError(f'{path}: {where}: expected {{"image": FILE, "label": FILE}}, found {str(entry)[:80]}.')
    names = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
    label = entry.get("label")
    if not names or not all(isinstance(n, str) and n for n in names) or not (label is None or isinstance(label, str)):
        raise InputError(f"{path}: {where}: image and label must be file names, image may be a list of them.")
    images = tuple(path.parent / n for n in names)
    for file in (*images, *([path.parent / label] if label else [])):
        if not file.exists():
            raise InputError(f"{path}: {where}: {file} does not exist.")
    name = _name(images[0]).removesuffix("_0000") if len(images) > 1 else _name(images[0])
    return CaseFiles(name, images, path.parent / label if label else None)
