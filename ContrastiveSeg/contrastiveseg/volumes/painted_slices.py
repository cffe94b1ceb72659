"""Which slices of a label map are painted, and whether it looks as if only some slices of a structure were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

#: A run of neighboring slices counts as flat when it is thinner than this share of its outline's diameter,
_FLAT = 0.5
#: and one that is alone when it has at most so many slices and is thinner than this share.
_FEW, _VERY_FLAT = 3, 0.2
#: Outlines of neighboring runs overlap when they share this much of the smaller: pieces of one structure do.
_OVERLAP = 0.3
#: The share of runs that must be flat, and of neighbors that must overlap.
_MOST = 2 / 3
#: What slices across the axes of arrays in canonical orientation are called.
AXIS_NAMES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class PaintedSlices:
    """The slices across an array axis that hold paint, out of ``count``."""

    axis: int
    indices: tuple[int, ...]
    count: int

    def __str__(self) -> str:
        return f"{len(self.indices)} of {self.count} {AXIS_NAMES[self.axis]} slices"


def painted_slices(painted: np.ndarray) -> PaintedSlices | None:
    """The painted slices of a mask (z, y, x), across the axis along which paint leaves out most; None without paint.

    Of axes that leave out equally many, as when one slice or neighboring ones are painted, that with the fewest painted
    slices. Structures that lie apart in one slice, or in up to three neighboring ones, leave out slices across the
    other axes; but what is painted there is not flat.
    """
    if not painted.any():
        return None
    candidates = []
    for axis in range(3):
        indices = np.flatnonzero(painted.any(tuple(other for other in range(3) if other != axis)))
        density = len(indices) / (indices[-1] - indices[0] + 1)
        candidates.append((round(density, 6), len(indices), axis, indices))
    if any(count <= _FEW for _, count, _, _ in candidates):
        candidates = [c for c in candidates if _is_flat(painted, axis=c[2], indices=c[3])] or candidates
    _, _, axis, indices = min(candidates, key=lambda candidate: candidate[:3])
    return PaintedSlices(axis, tuple(int(i) for i in indices), painted.shape[axis])


def looks_like_slices(labels: np.ndarray, spacing: Sequence[float]) -> PaintedSlices | None:
    """The painted slices of a label map (z, y, x) in which some structure seems to be painted on some slices only.

    A structure does where it has gaps across one axis and is flat between them, with outlines that lie over each other:
    every other slice, or a few spread over its length. A structure that lies in at most three slices of many does too
    where it is very flat. Lesions that lie apart, and structures in several pieces, do not.

    Args:
        spacing: mm (z, y, x).
    """
    from scipy import ndimage  # not for the panel, which looks at single structures: it takes 0.4 s to load

    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None and structure_in_slices(labels[box] == value, labels.shape, spacing):
            return painted_slices(labels > 0)
    return None


def structure_in_slices(mask: np.ndarray, shape: tuple[int, ...], spacing: Sequence[float]) -> PaintedSlices | None:
    """The painted slices of one structure where it seems to be painted on some slices only; see above.

    Args:
        mask: boolean (z, y, x), a box around the structure; the indices returned count from its first slice.
        shape: voxels (z, y, x) of the volume. spacing: mm (z, y, x).
    """
    found = painted_slices(mask)
    if found is None or not _in_few_slices(mask, found, shape[found.axis], spacing):
        return None
    return replace(found, count=shape[found.axis])


def _is_flat(mask: np.ndarray, axis: int, indices: np.ndarray) -> bool:
    """Whether most runs of the painted slices ``indices`` are flat, in voxels."""
    runs = _runs(indices)
    diameters = [2 * np.sqrt(mask.take(run, axis).any(axis).sum() / np.pi) for run in runs]
    return bool(np.mean([len(run) <= _FLAT * d for run, d in zip(runs, diameters, strict=True)]) >= _MOST)


def _runs(indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Neighboring slices together."""
    return np.split(np.asarray(indices), np.flatnonzero(np.diff(indices) > 1) + 1)


def _in_few_slices(mask: np.ndarray, slices: PaintedSlices, whole: int, spacing: Sequence[float]) -> bool:
    axis, runs = slices.axis, _runs(slices.indices)
    if len(runs) == 1 and not len(runs[0]) <= _FEW < whole / 2:
        return False
    outlines = [mask.take(run, axis).any(axis) for run in runs]
    voxel = np.prod([s for other, s in enumerate(spacing) if other != axis])
    diameters = [2 * np.sqrt(outline.sum() * voxel / np.pi) for outline in outlines]
    thickness = [len(run) * spacing[axis] for run in runs]
    if len(runs) == 1:
        return bool(thickness[0] <= _VERY_FLAT * diameters[0])
    flat = [t <= _FLAT * d for t, d in zip(thickness, diameters, strict=True)]
    over = [(one & other).sum() >= _OVERLAP * min(one.sum(), other.sum()) for one, other in pairwise(outlines)]
    return float(np.mean(flat)) >= _MOST and float(np.mean(over)) >= _MOST
