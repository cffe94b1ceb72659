"""Slicer's segmentation files (.seg.nrrd): named segments, in layers where they overlap, perhaps cropped.

Format: the fields ``Segment0_Name``, ``Segment0_Layer``, ``Segment0_LabelValue``, ... of the NRRD header, as written by
Slicer's vtkMRMLSegmentationStorageNode. Files of Slicer 4.10 and older have one layer a segment, with the value 1.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import files
from ..errors import InputError
from .volume import Geometry

#: Headers are a few kB; no more than this is read.
_LONGEST_HEADER = 2**20
#: A cropped segmentation may lie so many voxels beside the voxels of its image.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Segment:
    """One segment of a file.

    Attributes:
        name: as in the file. layer, stored: where its voxels are: the layer, and the value in it.
        value: its label in the label map of all layers (:func:`merged`).
    """

    name: str
    layer: int
    stored: int
    value: int


@dataclass(frozen=True)
class NamedLabel:
    """A structure of a case: its name, its value in the case's label file, and the one that it has in all cases."""

    name: str
    stored: int
    value: int


def segments_of(path: Path) -> tuple[Segment, ...]:
    """The segments that the header of an NRRD file names, in its order; none for other files.

    Raises:
        InputError: a layer or label value that is not a whole number, or cannot be one.
    """
    if files.volume_suffix(path) not in (".seg.nrrd", ".nrrd"):
        return ()
    fields = _fields(path)
    found: list[tuple[str, int, int]] = []
    for number in itertools.count():
        if f"Segment{number}_ID" not in fields and f"Segment{number}_Name" not in fields:
            break
        name = fields.get(f"Segment{number}_Name") or fields[f"Segment{number}_ID"]
        try:
            layer = int(fields.get(f"Segment{number}_Layer", number))
            stored = int(fields.get(f"Segment{number}_LabelValue", 1))
        except ValueError as problem:
            raise InputError(
                f"{path}: the layer or value of segment {name!r} is not a number. Save it again."
            ) from problem
        if layer < 0 or not 1 <= stored <= np.iinfo(np.uint16).max:
            raise InputError(
                f"{path}: segment {name!r} has the value {stored} in layer {layer}; values are 1 to 65535. Save "
                "it again."
            )
        found.append((name, layer, stored))
    values = [stored for _, _, stored in found]
    # Layers number their segments anew.
    unique = len(set(values)) == len(values)
    return tuple(
        Segment(name, layer, stored, stored if unique else order)
        for order, (name, layer, stored) in enumerate(found, start=1)
    )


def merged(path: Path, layers: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
    """One label map (z, y, x) of the ``layers`` (L, z, y, x) of ``path``, with each segment's ``value``.

    Raises:
        InputError: segments that overlap, a layer that is not there, or labeled voxels of no segment.
    """
    if len(layers) == 1 and all(s.layer == 0 and s.stored == s.value for s in segments):
        _check_all_named(path, layers[0][(layers[0] > 0) & ~np.isin(layers[0], [s.stored for s in segments])])
        return layers[0]
    labels = np.zeros(layers.shape[1:], np.uint16)
    for segment in segments:
        if not 0 <= segment.layer < len(layers):
            raise InputError(f"{path} has no layer {segment.layer}, where segment {segment.name!r} is. Save it again.")
        inside = layers[segment.layer] == segment.stored
        if (taken := np.unique(labels[inside])).any():
            others = ", ".join(repr(s.name) for s in segments if s.value in taken[taken > 0])
            raise InputError(
                f"{path}: segment {segment.name!r} overlaps {others} in {np.count_nonzero(labels[inside])} voxels, and "
                "a voxel can have one label only. In Slicer's Segment Editor, let them not overlap (Masking, Modify "
                "other segments: Overwrite all), or remove one, and save again."
            )
        labels[inside] = segment.value
    _check_all_named(path, layers[:, labels == 0])
    return labels


def _check_all_named(path: Path, left: np.ndarray) -> None:
    """Refuse labels among what is ``left`` when all segments are taken."""
    if (stray := left[left > 0]).size:
        raise InputError(
            f"{path} has labeled voxels that belong to none of its segments ({stray.size}, the first with the value "
            f"{stray[0]}): what they stand for is not known. Name their segment, or remove them, and save again."
        )


def on_grid_of_image(path: Path, labels: np.ndarray, geometry: Geometry, image: Geometry) -> np.ndarray | None:
    """``labels`` (z, y, x) of a part of the ``image``'s grid, with background around: (z, y, x) on the grid.

    The axes may be swapped or flipped. Parts beyond the image are cut off where they are background. None if voxels
    have another size or direction than those of the image.

    Raises:
        InputError: the voxels lie between those of the image, or labeled ones beyond it.
    """
    to_voxels = np.linalg.inv(_steps(image))
    turn = to_voxels @ _steps(geometry)
    whole = np.rint(turn)
    # Over the length of the map, a small difference of spacing or direction adds up.
    drift = np.abs(turn - whole) @ (np.array(geometry.size) - 1)
    if not (np.abs(whole).sum(0) == 1).all() or not (np.abs(whole).sum(1) == 1).all() or drift.max() > _TOLERANCE:
        return None
    first = to_voxels @ (np.array(geometry.origin) - image.origin)
    if (apart := np.abs(first - np.rint(first)).max()) > _TOLERANCE:
        raise InputError(
            f"{path} is cropped, and its voxels lie {apart:.2g} voxels beside those of its image. Save it with the "
            "image as the source geometry."
        )
    # Axes of the image (x, y, z): the file's axis along each, and whether it runs backwards.
    axes, backwards = np.abs(whole).argmax(1), whole.sum(1) < 0
    turned = labels.transpose([2 - axes[2 - a] for a in range(3)])
    turned = turned[tuple(slice(None, None, -1 if backwards[2 - a] else 1) for a in range(3))]
    low = np.rint(first).astype(int)[::-1] - np.where(backwards[::-1], np.array(turned.shape) - 1, 0)
    placed = np.zeros(image.shape, labels.dtype)
    source, target = [], []
    for start, length, size in zip(low, turned.shape, image.shape, strict=True):
        begin, end = min(max(start, 0), size), max(min(start + length, size), 0)
        source.append(slice(begin - start, max(end, begin) - start))
        target.append(slice(begin, max(end, begin)))
    part = turned[tuple(source)]
    if beyond := np.count_nonzero(labels) - np.count_nonzero(part):
        raise InputError(f"{path} has {beyond} labeled voxels beyond its image. Is it the segmentation of another one?")
    placed[tuple(target)] = part
    return placed


def _steps(geometry: Geometry) -> np.ndarray:
    """(3, 3): in column i, the step in mm (x, y, z) from voxel to voxel along stored axis i (x, y, z)."""
    return np.reshape(geometry.direction, (3, 3)) * geometry.spacing


def _fields(path: Path) -> dict[str, str]:
    """The ``key:=value`` lines of an NRRD header."""
    with files.readable(path), path.open("rb") as file:
        header = re.split(rb"\r?\n\r?\n", file.read(_LONGEST_HEADER), maxsplit=1)[0]
    lines = header.decode("utf-8", "replace").splitlines()
    return {key: value.strip() for key, separator, value in (line.partition(":=") for line in lines) if separator}
