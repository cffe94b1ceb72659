"""Whether the slices of a DICOM series are alike, and make an even, straight stack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..printable import shortened
from .dicom_file import PHILIPS_SCALE, DicomImage, groups_of_frames

#: Slice positions may be off the even stack by this share of the slice distance (rounding of the headers).
_UNEVEN = 0.02
#: Slices closer than this share of the largest distance between neighbors lie at the same place.
_SAME_PLACE = 0.01
#: Direction cosines, and pixel sizes in relation, that differ by less are the same.
SAME = 1e-3
#: What all slices of a volume have in common.
_OF_ONE_VOLUME = (
    ("FrameOfReferenceUID", "frames of reference"),
    ("StudyInstanceUID", "studies"),
    ("PatientID", "patients"),
    ("Modality", "modalities"),
)
#: What may tell the images of one volume from those of another: of a file a slice, and by functional group of a frame.
_KINDS = ("EchoTime", "ImageType", "ConvolutionKernel", "DiffusionBValue", "TemporalPositionIdentifier")
_KINDS_OF_FRAMES = (
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("CTImageFrameTypeSequence", "FrameType"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("FrameContentSequence", "TemporalPositionIndex"),
)
#: Where a slope for each slice or frame may stand that is not applied.
_MAPPED, _MAPPED_SLOPE = "RealWorldValueMappingSequence", "RealWorldValueSlope"
#: Echo times of one echo may differ by this share.
_ONE_ECHO = 0.1


def check_alike(folder: Path, images: Sequence[DicomImage]) -> None:
    """Refuse slices in the files of ``folder`` that cannot be of one volume.

    Raises:
        InputError: naming in what two of them differ.
    """
    for name, what in _OF_ONE_VOLUME:
        first = {value: image.path.name for image in reversed(images) if (value := image.text(name))}
        if len(first) > 1:
            here, there = [*first.values()][-2:]
            raise InputError(
                f"The slices in {folder} are of several {what}, such as {there} and {here}, so they make no volume "
                "together. Give a folder with one series."
            )
    unscaled = next((image for image in images if image.scaling is None), None)
    if unscaled and any(image.scaling not in (None, (1, 0)) for image in images):
        raise InputError(
            f"{unscaled.path} does not say how its values are scaled (RescaleSlope, RescaleIntercept), and other "
            "slices of its series do, so they cannot be compared. Copy the series again from where it came."
        )
    sizes = [image.numbers("PixelSpacing", 2) for image in images]
    zero = next((image for image, size in zip(images, sizes, strict=True) if size and min(size) <= 0), None)
    if zero is not None:
        raise InputError(f"{zero.path} has a pixel spacing of 0, or below. Correct its header (PixelSpacing).")
    for what, values in (
        ("size", [(image.text("Rows"), image.text("Columns")) for image in images]),
        (
            "kind of pixels",
            [(image.text("SamplesPerPixel"), image.text("PhotometricInterpretation")) for image in images],
        ),
        ("pixel size", [sizes[0] if _near(size, sizes[0]) else size for size in sizes]),
    ):
        other = next((i for i, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            here, there = (" x ".join(map(str, values[i])) for i in (0, other))
            raise InputError(
                f"The slices in {folder} differ in {what}: {here} in {images[0].path.name}, {there} in "
                f"{images[other].path.name}. Give a folder with one series of equal slices."
            )


def mixture_of_slices(images: Sequence[DicomImage]) -> str:
    """What speaks against slices of one volume, in files that :func:`check_alike` lets pass, in words; "" for
    nothing."""
    kinds = [(name, [_kind(image.header.get(name), name) for image in images]) for name in _KINDS]
    scales = [image.header.get(PHILIPS_SCALE) for image in images]
    kinds.append(("scale slope of Philips", [_kind(scale.value) if scale is not None else "" for scale in scales]))
    if len({image.scaling for image in images}) == 1:  # else the slopes that are applied may say the same
        mapped = [image.header.get(_MAPPED) for image in images]
        kinds.append((_MAPPED_SLOPE, [_kind(items[0].get(_MAPPED_SLOPE)) if items else "" for items in mapped]))
    return _mixed(kinds, "slices")


def mixture_of_frames(image: DicomImage) -> str:
    """:func:`mixture_of_slices` of the frames of one file."""
    wanted = (*_KINDS_OF_FRAMES, (_MAPPED, _MAPPED_SLOPE))
    kinds = [(name, [_kind(own.get(name), name) for own in groups_of_frames(image, group)]) for group, name in wanted]
    return _mixed(kinds, "frames")


def _kind(value: Any, name: str = "") -> str:
    """A value in words; of the types of an image or frame the third, which tells magnitude from phase."""
    values = [value] if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) else [*value]
    if name.endswith("Type"):
        values = values[2:3]
    return "/".join(str(one).strip() for one in values if one is not None)


def _mixed(kinds: Sequence[tuple[str, Sequence[str]]], what: str) -> str:
    """The first of the ``kinds``, by name, of which there are two."""
    for name, values in kinds:
        known = sorted({value for value in values if value})
        if len(known) < 2 or ("EchoTime" in name and _one_echo(known)):
            continue
        return (
            f"its {what} differ in {name} ({shortened(known[0])} and {shortened(known[-1])}): they may be of several "
            "images, or scaled each in a way of its own"
        )
    return ""


def _one_echo(times: Sequence[str]) -> bool:
    try:
        numbers = [float(time) for time in times]
    except ValueError:
        return False
    return max(numbers) <= (1 + _ONE_ECHO) * min(numbers)


def _near(size: Sequence[float], other: Sequence[float]) -> bool:
    return len(size) == len(other) and bool(np.allclose(size, other, rtol=SAME, atol=0))


def stacked(
    where: Path, positions: np.ndarray, directions: np.ndarray, names: Sequence[str], what: str = "slices"
) -> tuple[list[int], float]:
    """The order of an even, straight stack, and the distance between neighbors in mm.

    Args:
        positions: (n, 3), of the first voxel of each slice. directions: (n, 6), along rows and columns.
        names: of the slices; what: the word for them.

    Raises:
        InputError: they are not such a stack; naming what is wrong, and where.
    """
    if not np.isfinite(positions).all() or not np.isfinite(directions).all():
        raise InputError(f"The {what} in {where} do not all say where they lie. Convert the series to NIfTI first.")
    if np.abs(directions - directions[0]).max() > SAME:
        raise InputError(
            f"The {what} in {where} are not parallel (a localizer?). Give a folder with one straight series."
        )
    normal = np.cross(directions[0, :3], directions[0, 3:])
    heights = positions @ normal
    order = [int(i) for i in np.argsort(heights, kind="stable")]
    steps, gaps = np.diff(positions[order], axis=0), np.diff(heights[order])
    same = int(np.argmin(gaps))
    if gaps[same] <= _SAME_PLACE * gaps.max():
        raise InputError(
            f"{where} holds several {what} at the same place, such as {names[order[same]]} and "
            f"{names[order[same + 1]]}: copies, or phases or echoes of one series. "
            f"Give the {what} of one volume, each once."
        )
    typical = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - typical)))
    if abs(gaps[worst] - typical) > _UNEVEN * typical:
        raise InputError(
            f"The {what} in {where} are not evenly spaced: {typical:.3g} mm, but {gaps[worst]:.3g} mm after "
            f"{names[order[worst]]}. One may be missing: complete the series first."
        )
    if np.linalg.norm(steps - gaps[:, None] * normal, axis=1).max() > _UNEVEN * typical:
        raise InputError(
            f"The {what} in {where} are stacked askew (gantry tilt). Resample the series to a straight grid."
        )
    return order, float(np.linalg.norm(positions[order[-1]] - positions[order[0]]) / (len(order) - 1))
