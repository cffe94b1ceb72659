"""A folder with a folder a patient: ``p01/imaging.nii.gz`` and ``p01/segmentation.nii.gz``, or either at some depth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import InputError
from .channel_files import by_channel_names
from .origin import read_origin
from .pairing import names_a_label_map, volume_files

#: Folders of a data set, which are no patients.
_DATA_SET = re.compile(r"(images?|labels?|masks?)(tr|ts|val|test|train)?", re.IGNORECASE)


@dataclass(frozen=True)
class Patient:
    """A folder's volume, named after the folder: one file a channel or a DICOM folder, and its label maps."""

    name: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...] = ()


def patients_in(folder: Path, declared: Sequence[str]) -> list[Patient]:
    """The patients whose folders lie in ``folder``, sorted. Folders without images and hidden ones are left out, as are
    those of label maps that were segmented here.

    Volumes may lie in a folder below each patient's (``p01/anat/scan.nii.gz``), as DICOM slices may.

    Args:
        declared: names of the channels, which files may have in their names.

    Raises:
        InputError: a patient with several volumes, which are not named as channels are (``_0000``, ``_0001``, ..., or
            with all ``declared`` names); a link to a folder that is gone; folders that are those of a data set; or
            volumes that lie deeper for some patients than for others, or in several folders of one.
    """
    for link in folder.iterdir():
        if not link.suffix and not link.name.startswith("."):
            files.check_link(link)  # a patient whose disk is gone would be missing without a word
    patients: list[Patient] = []
    deeper: dict[Path, list[Path]] = {}
    for own in sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")):
        volumes = volume_files(own)
        if volumes and not all(map(read_origin, volumes)):
            patients.append(_with_files(folder, own, volumes, declared))
        elif series := _with_series(own):
            patients += series
        elif below := _folders_of_images(own):
            deeper[own] = below
    for own, below in deeper.items():
        # A folder that repeats the patients' names is a copy of the data set (sourcedata/p01), and no patient.
        if patients or len(below) > 1 or (folder / below[0].name) in deeper:
            raise InputError(
                f"{own} holds volumes in {' and '.join(str(f.relative_to(own)) for f in below[:2])}. If it is a "
                "patient, move its volume into the folder itself; if not, move it elsewhere. Or list the cases in a "
                "JSON file."
            )
    found = [_with_files(folder, below[0], volume_files(below[0]), declared, own.name) for own, below in deeper.items()]
    return patients or found


def holds_dicom(folder: Path) -> bool:
    """Whether any file is DICOM by its ending or by its preamble (most scanners' files have no ending)."""
    return any(is_dicom(f) for f in folder.iterdir() if f.is_file() and not files.volume_suffix(f))


def series_within(folder: Path) -> list[Path]:
    """The folders below ``folder``, at any depth, that hold DICOM."""
    with files.readable(folder):
        return [f for f in sorted(folder.rglob("*")) if f.is_dir() and holds_dicom(f)]


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its ending or by its preamble."""
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _folders_of_images(folder: Path) -> list[Path]:
    """The folders below ``folder``, at any depth, with volumes that are no label maps by their names or origin."""
    with files.readable(folder):
        below = [f for f in sorted(folder.rglob("*")) if f.is_dir()]
        shown = [f for f in below if not any(part.startswith(".") for part in f.relative_to(folder).parts)]
        return [f for f in shown if not all(names_a_label_map(v) or read_origin(v) for v in volume_files(f))]


def _with_files(
    data_set: Path, folder: Path, volumes: list[Path], declared: Sequence[str], name: str | None = None
) -> Patient:
    """The patient with the ``volumes`` of ``folder``, called ``name``, or as the folder is."""
    if _DATA_SET.fullmatch(folder.name):
        raise InputError(f"{data_set} holds no volumes, but {folder.relative_to(data_set)} does. Give that folder.")
    images = [file for file in volumes if not names_a_label_map(file)]
    labels = [file for file in volumes if file not in images]
    numbers = [files.stem(image)[-5:] for image in images]
    named = [group for group in by_channel_names(images, declared).values() if len(group) == len(images)]
    if named:
        images = [*named[0]]
    elif not images or (len(images) > 1 and numbers != [f"_{number:04d}" for number in range(len(images))]):
        example = files.stem((images or [folder])[0])
        raise InputError(
            f"{folder} holds {len(images)} volumes that are not label maps by their names "
            f"({', '.join(file.name for file in volumes[:4])}). Expected one, and its label map called segmentation or "
            f'{example}_seg. Rename it, or list the cases in a JSON file ([{{"image": ..., "label": ...}}, ...]).'
        )
    return Patient(name or files.stem(folder), tuple(images), tuple(labels))


def _with_series(folder: Path) -> list[Patient]:
    """The DICOM folders that are ``folder`` or lie in it; each has the folder's name if it is the only one."""
    within = [*([folder] if holds_dicom(folder) else []), *series_within(folder)]
    if len(within) == 1:
        return [Patient(folder.name, (within[0],))]
    return [Patient("_".join([folder.name, *f.relative_to(folder).parts]), (f,)) for f in within]
