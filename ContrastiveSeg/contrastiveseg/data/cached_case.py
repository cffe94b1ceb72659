"""A preprocessed case on disk: its files, and whether they are whole.

A case is kept as ``KEY.npy`` (image, float16 (C, z, y, x), as :class:`.preprocessor.Preprocessor` gives it),
``KEY.labels.npy`` (z, y, x; -1 without a label), ``KEY.foreground.npy`` (rows value, z, y, x: voxels of each label to
center crops on, and of the background where only a part of the volume is labeled) and
``KEY.json`` (the :class:`CachedCase`), written last. KEY is a hash of the files' content and of the part of the plan
that preprocessing depends on. The record has a checksum of each array, so that a damaged cache is noticed.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import replacing, write_text
from ..serialization import from_json, to_json
from ..volumes.components import in_one_piece
from ..volumes.dataset import CaseFiles
from ..volumes.labeling import Labeling
from ..volumes.named_labels import read_case_labels, with_background_painted
from ..volumes.orientation import canonical_axes
from ..volumes.painted_slices import PaintedSlices, looks_like_slices, painted_slices
from ..volumes.reading import read_channels
from ..volumes.volume import LabelMap
from .preprocessor import Preprocessor

#: The most voxels of each label that are stored for foreground-aware sampling.
_FOREGROUND_VOXELS = 2000
#: The largest number of a float16.
_LARGEST = float(np.finfo(np.float16).max)
#: Endings of a case's arrays: always there, and those of labeled cases.
IMAGE, LABELS, FOREGROUND = ".npy", ".labels.npy", ".foreground.npy"
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class CachedCase:
    """A preprocessed case.

    Attributes:
        key: name of its files in the cache. digest: SHA-256 of its image files' content.
        shape: voxels (z, y, x) at the plan's spacing. box: (start, stop) of the body in them on each axis.
        values: the labels in it, None where it has no label map. one_piece: those whose voxels are all connected.
        labeled: share of its voxels that have a label. background: whether some of them are background. painted:
            whether its label map holds the value that means background. corners: the label of all its corners, 0 where
            they are background or differ.
        slices: the slices that are labeled; where the label map is said to label everything, those that are painted, if
            it looks as if only some were.
        structures: the labels that were looked for, None for all; the task says it.
        doubt: what speaks against using the image, see :class:`.volumes.volume.Volume`.
        checksums: CRC-32 of its arrays, in the order of the files' endings; in its file also of the rest of the record.
    """

    name: str
    key: str
    digest: str
    shape: tuple[int, int, int]
    channels: int
    box: Box
    values: tuple[int, ...] | None
    one_piece: tuple[int, ...] = ()
    labeled: float = 1.0
    background: bool = True
    painted: bool = False
    corners: int = 0
    slices: PaintedSlices | None = None
    structures: tuple[int, ...] | None = None
    doubt: str = ""
    checksums: tuple[int, ...] = ()


def existing_case(folder: Path, key: str) -> CachedCase | None:
    """The case ``key`` as it lies in ``folder``; None where it does not, or where its files are damaged."""
    try:
        case = from_json(CachedCase, json.loads((folder / f"{key}.json").read_text(encoding="utf-8")))
        endings = (IMAGE,) if case.values is None else (IMAGE, LABELS, FOREGROUND)
        arrays = tuple(_checksum(np.load(folder / f"{key}{ending}", mmap_mode="r")) for ending in endings)
    except Exception:  # whatever json and numpy meet in damaged files
        return None
    whole = dataclasses.replace(case, checksums=case.checksums[: len(endings)])
    return whole if case.checksums == (*arrays, _checksum_of_record(whole)) else None


def preprocess_case(case: CaseFiles, preprocessor: Preprocessor, folder: Path, key: str, digest: str) -> CachedCase:
    """Prepare ``case`` and write its arrays into ``folder``, not yet the record.

    Raises:
        InputError: it cannot be read or used.
    """
    volume = read_channels(case.images, len(preprocessor.plan.channels))
    image = preprocessor.image(volume)
    # Networks of others may take values as they are, which can be larger than a float16 is.
    np.clip(image, -_LARGEST, _LARGEST, out=image)
    checksum = _write(folder / f"{key}{IMAGE}", image.astype(np.float16))
    (z, y, x), box, doubt = image.shape[1:], _body_box(image), volume.doubt
    cached = CachedCase(case.name, key, digest, (z, y, x), len(image), box, None, doubt=doubt, checksums=(checksum,))
    if case.labels is None:
        return cached
    label_map = read_case_labels(with_background_painted(case), volume.geometry)
    if label_map.geometry.doubt and not volume.geometry.doubt:
        doubt = "; ".join(filter(None, (doubt, f"of its label map: {label_map.geometry.doubt}")))
    background = case.labeling.background
    if painted := background is not None and bool((label_map.array == background).any()):
        label_map = dataclasses.replace(label_map, array=np.where(label_map.array == background, 0, label_map.array))
    if np.array_equal(label_map.array, volume.array[0]):
        raise InputError(f"{case.labels} has the same voxels as its image. Give its label map.")
    labels = preprocessor.labels(label_map, volume.geometry)
    values = tuple(int(v) for v in np.unique(labels) if v > 0)
    labeled = float((labels >= 0).mean())
    if not labeled:
        raise InputError("No voxel is labeled. Paint some, or leave its label map out.")
    to_center_on = _voxels_to_center_on(labels, values if labeled == 1 else (0, *values))
    label_sums = [
        _write(folder / f"{key}{end}", array) for end, array in ((LABELS, labels), (FOREGROUND, to_center_on))
    ]
    return dataclasses.replace(
        cached,
        doubt=doubt,
        checksums=(checksum, *label_sums),
        values=values,
        # On the volume's own grid: on a coarser one, pieces that lie close together touch.
        one_piece=tuple(v for v in in_one_piece(label_map.array) if v in values) if labeled == 1 else (),
        labeled=labeled,
        background=bool((labels == 0).any()),
        painted=painted,
        corners=_of_corners(labels),
        slices=_slices(label_map, case.labeling),
    )


def write_record(folder: Path, case: CachedCase) -> None:
    """Write the record of ``case``, whose arrays are written."""
    # The copies are anonymous; who asks for a case knows its name.
    record = dataclasses.replace(case, name="")
    record = dataclasses.replace(record, checksums=(*record.checksums, _checksum_of_record(record)))
    write_text(folder / f"{case.key}.json", json.dumps(to_json(record)))


def _slices(label_map: LabelMap, labeling: Labeling) -> PaintedSlices | None:
    """See :class:`CachedCase`; its axes are those of the canonical orientation."""
    axes = canonical_axes(label_map.geometry)
    labels = axes.apply(label_map.array)
    if labeling.part == "slices":
        return painted_slices(labels >= 0)
    if labels.min() < 0:
        return None
    return looks_like_slices(labels, axes.spacing_zyx(label_map.geometry))


def _of_corners(labels: np.ndarray) -> int:
    """See :class:`CachedCase`."""
    values = np.unique(labels[np.ix_(*[(0, -1)] * labels.ndim)])
    return max(0, int(values[0])) if len(values) == 1 else 0


def _voxels_to_center_on(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Evenly spread voxels of each of ``values``, rows (value, z, y, x)."""
    rows = [np.empty((0, 4), np.int32)]
    for value in values:
        voxels = np.flatnonzero(labels == value)
        chosen = voxels[np.linspace(0, len(voxels) - 1, min(len(voxels), _FOREGROUND_VOXELS)).astype(int)]
        indices = np.stack(np.unravel_index(chosen, labels.shape), 1).astype(np.int32)
        rows.append(np.concatenate([np.full((len(indices), 1), value, np.int32), indices], 1))
    return np.concatenate(rows)


def _body_box(image: np.ndarray) -> Box:
    """The body: from the first to the last slice of each axis with 1 % of voxels clearly above the background."""
    first = image[0]
    low, high = np.percentile(first[:: max(1, first.shape[0] // 32)], (1, 99))
    bright = first > low + 0.1 * (high - low)
    sides = []
    for axis in range(3):
        fraction = bright.mean(axis=tuple(a for a in range(3) if a != axis))
        slices = np.flatnonzero(fraction > 0.01)
        sides.append((int(slices[0]), int(slices[-1]) + 1) if len(slices) else (0, first.shape[axis]))
    return (sides[0], sides[1], sides[2])


def _write(path: Path, array: np.ndarray) -> int:
    """Returns the array's checksum."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)
    return _checksum(array)


def _checksum_of_record(case: CachedCase) -> int:
    return zlib.crc32(json.dumps(to_json(case)).encode())


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
