"""The DICOM series in a folder: its files or frames in their order, and the grid that they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydicom.uid import SegmentationStorage

from ..errors import InputError
from ..files import check_link
from .alignment import straightened
from .dicom_file import DicomImage, dicom_image, groups_of_frames
from .dicom_stack import SAME, check_alike, mixture_of_frames, mixture_of_slices, stacked
from .memory import check_memory
from .native_files import DICOM_SHEAR, components_of, native_header, native_voxels
from .volume import Geometry

#: A header's distance between slices that is off the measured one by a larger share is told.
_TOLD = 0.1
_NO_SIZE = "its header does not say how large its pixels are (PixelSpacing); 1 mm is taken"
_TABLE = "its values are as stored, and not as a table in its header says (ModalityLUTSequence)"


@dataclass(frozen=True)
class Series:
    """One series: its files in slice order, the grid they make, and components a voxel.

    Attributes:
        frames: of a single file with several frames, in slice order; () for the order in which they are stored.
    """

    files: tuple[str, ...]
    geometry: Geometry
    channels: int
    frames: tuple[int, ...] = ()


def find_series(folder: Path) -> Series:
    """The one series in ``folder`` (not below it), from the files' headers alone.

    Files that are no DICOM or hold no image are left out, as are segmentations (DICOM SEG) beside images.

    Raises:
        InputError: no series, several, segmentations alone, a damaged file, or slices that differ or are not evenly
            stacked.
    """
    files = sorted(f for f in folder.iterdir() if not f.is_dir() and not f.name.startswith("."))
    for file in files:
        check_link(file)  # one that is left out would make a shorter volume
    files = [file for file in files if file.is_file()]
    found = [image for image in map(dicom_image, files) if image]
    series: dict[str, list[DicomImage]] = {}
    for image in (image for image in found if image.text("SOPClassUID") != SegmentationStorage):
        series.setdefault(image.text("SeriesInstanceUID"), []).append(image)
    if found and not series:
        raise InputError(
            f"{found[0].path} is a DICOM SEG, a segmentation. Make a label map of it first, in 3D Slicer or with dcmqi "
            "(segimage2itkimage), and give that."
        )
    if not series:
        state = "is empty" if not any(folder.iterdir()) else "holds no DICOM series"
        raise InputError(
            f"The folder {folder} {state}. Give a volume file, or the folder with the slices of one series."
        )
    if len(series) > 1:
        listed = "; ".join(f"{_description(f[0])} ({len(f)} slices)" for f in series.values())
        raise InputError(f"{folder} holds {len(series)} DICOM series: {listed}. Give a folder with one series.")
    (images,) = series.values()
    if mosaic := next((image for image in images if "MOSAIC" in image.text("ImageType").upper()), None):
        raise InputError(
            f"{mosaic.path} is a mosaic, one picture with the slices of a volume side by side. Convert the series to "
            "NIfTI first (dcm2niix)."
        )
    if any(image.frames > 1 for image in images):
        return _frames(folder, images)
    return _slices(folder, images) if len(images) > 1 else _single(images[0], _thickness(images[0]))


def read_series(series: Series) -> np.ndarray:
    """Voxels (C, z, y, x), each slice scaled by its own slope, in a type that holds the values of all.

    Raises:
        InputError: a file that cannot be read.
    """
    most = 8 * math.prod(series.geometry.size) * series.channels
    check_memory(Path(series.files[0]).parent, most)
    array = native_voxels([Path(file) for file in series.files], most)
    if series.frames:
        array = array[list(series.frames)]
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


def check_one_patient(folders: Sequence[Path]) -> None:
    """Refuse series of one case whose headers name several patients (PatientID).

    Raises:
        InputError: naming two of them.
    """
    first: dict[str, Path] = {}
    for folder in folders:
        image = dicom_image(Path(find_series(folder).files[0]))
        if image and (patient := image.text("PatientID")):
            first.setdefault(patient, folder)
    if len(first) > 1:
        one, other, *_ = first.values()
        raise InputError(
            f"{one} and {other} are given as one case, and their headers name two patients (PatientID). Give the "
            "series of one patient."
        )


def check_not_dealt_out(folders: Sequence[Path]) -> None:
    """Refuse folders of which each holds a part of one series, as discs and archives deal long ones out.

    Raises:
        InputError: naming two of them.
    """
    by_series: dict[str, list[Path]] = {}
    for folder in folders:
        with suppress(InputError):  # what is damaged is named where it is read
            files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
            if image := next(filter(None, map(dicom_image, files)), None):
                by_series.setdefault(image.text("SeriesInstanceUID"), []).append(folder)
    for own in by_series.values():
        if len(own) > 1 and _are_one_stack(own):
            raise InputError(
                f"{own[0]} and {own[1]} hold parts of one DICOM series. Put all its slices into one folder."
            )


def _are_one_stack(folders: Sequence[Path]) -> bool:
    """Whether the slices of all ``folders`` together make an even stack; copies, echoes and patients do not."""
    try:
        series = [find_series(folder) for folder in folders]
        heads = [head for each in series for head in map(dicom_image, map(Path, each.files)) if head]
        directions = np.array([head.numbers("ImageOrientationPatient", 6) for head in heads])
        positions = np.array([head.numbers("ImagePositionPatient", 3) for head in heads])
        stacked(folders[0], positions, directions, [head.path.name for head in heads])
    except (InputError, ValueError):  # the latter of slices without a place
        return False
    return True


def _single(image: DicomImage, apart: float | None = None) -> Series:
    header = native_header(image.path, apart)
    # Of some kinds GDCM knows another attribute that says it.
    sized = image.numbers("PixelSpacing", 2) or header.geometry.spacing[:2] != (1.0, 1.0)
    unsaid = ("" if sized else _NO_SIZE, _TABLE if image.header.get("ModalityLUTSequence") else "")
    geometry = replace(header.geometry, unsaid="; ".join(filter(None, unsaid)))
    return Series((str(image.path),), geometry, header.components)


def _thickness(image: DicomImage) -> float | None:
    """How far the only slice of a series reaches, in mm; None where it does not say."""
    said = image.numbers("SpacingBetweenSlices", 1) or image.numbers("SliceThickness", 1)
    return abs(said[0]) or None if said else None


def _slices(folder: Path, images: Sequence[DicomImage]) -> Series:
    """A series of one slice a file."""
    check_alike(folder, images)
    directions = np.array([i.numbers("ImageOrientationPatient", 6) or (np.nan,) * 6 for i in images])
    positions = np.array([i.numbers("ImagePositionPatient", 3) or (np.nan,) * 3 for i in images])
    order, spacing = stacked(folder, positions, directions, [i.path.name for i in images])
    first = _single(images[order[0]], spacing)
    missing = _other_spacing(images[order[0]], spacing) or _skipped([images[i] for i in order], spacing)
    unsaid = [first.geometry.unsaid, missing, mixture_of_slices(images)]
    geometry = replace(
        first.geometry,
        size=(*first.geometry.size[:2], len(images)),
        unsaid="; ".join(filter(None, unsaid)),
    )
    return Series(tuple(str(images[i].path) for i in order), geometry, first.channels)


def _other_spacing(image: DicomImage, measured: float) -> str:
    """What is to be told where the header gives another distance between slices: every second one may be missing."""
    said: Sequence[float] = ()
    with suppress(InputError):  # nothing else depends on it
        said = image.numbers("SpacingBetweenSlices", 1)
    if not said or not said[0] or abs(said[0] - measured) <= _TOLD * measured:
        return ""
    return (
        f"its slices lie {measured:.3g} mm apart, and its header says {said[0]:.3g} mm (SpacingBetweenSlices): "
        "some may be missing"
    )


def _skipped(images: Sequence[DicomImage], measured: float) -> str:
    """What is to be told where the numbers of slices, in their order, leave out as many as have room between them."""
    numbers: list[float] = []
    thickness: Sequence[float] = ()
    with suppress(InputError):  # nothing else depends on them
        numbers = [number for image in images for number in image.numbers("InstanceNumber", 1)]
        thickness = images[0].numbers("SliceThickness", 1)
    steps = {abs(b - a) for a, b in pairwise(numbers)}
    if len(numbers) < len(images) or len(steps) != 1 or not thickness:
        return ""
    (step,) = steps
    if step < 2 or measured < (step - _TOLD) * abs(thickness[0]):
        return ""
    return (
        f"its slices are {thickness[0]:.3g} mm thick and lie {measured:.3g} mm apart, and of their numbers only one "
        f"in {step:.0f} is there (InstanceNumber): the others may be missing"
    )


def _frames(folder: Path, images: Sequence[DicomImage]) -> Series:
    """A file of several frames, each with a position of its own."""
    image = images[0]
    if len(images) > 1:
        raise InputError(f"{folder} holds {len(images)} multi-frame DICOM files of one series. Give a folder with one.")
    positions, directions, pixels = (
        [image.numbers(name, length, group) for group in groups_of_frames(image, sequence)]
        for sequence, name, length in (
            ("PlanePositionSequence", "ImagePositionPatient", 3),
            ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
            ("PixelMeasuresSequence", "PixelSpacing", 2),
        )
    )
    if not positions and "SpacingBetweenSlices" in image.header:
        return _single(image)  # stored in order, as in nuclear medicine
    if len(positions) != image.frames or not (all(positions) and all(directions) and all(pixels)):
        raise InputError(
            f"{image.path} holds {image.frames} frames, but not the position of each. If it is a volume, convert it to "
            "NIfTI with the program that made it (or dcm2niix); a film cannot be segmented."
        )
    scalings = {
        (str(g.get("RescaleSlope")), str(g.get("RescaleIntercept")))
        for g in groups_of_frames(image, "PixelValueTransformationSequence")
    }
    if len(scalings) > 1:
        raise InputError(
            f"{image.path} has frames with different rescale slopes. Convert it to NIfTI first (dcm2niix)."
        )
    if np.ptp(np.array(pixels), axis=0).max() > SAME * min(pixels[0]):
        raise InputError(f"The frames of {image.path} differ in pixel size. Give a file with equal frames.")
    names = [f"frame {n + 1}" for n in range(image.frames)]
    order, spacing = stacked(image.path, np.array(positions), np.array(directions), names, "frames")
    rows, columns = np.reshape(directions[0], (2, 3))
    dy, dx = pixels[0]
    x, y, z = positions[order[0]]
    geometry = Geometry(
        size=(int(image.header.Columns), int(image.header.Rows), len(order)),
        spacing=(dx, dy, spacing),
        origin=(x, y, z),
        direction=tuple(np.column_stack([rows, columns, np.cross(rows, columns)]).ravel().tolist()),
        unsaid=mixture_of_frames(image),
    )
    geometry = straightened(image.path, geometry, DICOM_SHEAR)
    return Series((str(image.path),), geometry, components_of(image.path), tuple(order))


def _description(image: DicomImage) -> str:
    text = image.text("SeriesDescription")
    return f'"{text}"' if text else "without description"
