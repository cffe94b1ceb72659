"""Strokes as somebody might paint them on a few slices, drawn at random inside a reference."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

#: Voxels: half the length of a stroke, and how far background strokes near a structure stay from it, at least and most.
_HALF_LENGTH, _NEAR, _FAR = 7, 1.5, 7.0
#: Strokes a slice: of a structure where it is the only one, of each of several, of background.
ONE_STRUCTURE, EACH_STRUCTURE, BACKGROUND = 2, 1, 3


def simulated_strokes(labels: np.ndarray, slices: int, seed: int) -> np.ndarray:
    """Strokes (z, y, x) on ``slices`` slices of a label map: a structure's value, 0 background, -1 not painted.

    Slices are cut across the axis along which one slice shows most of the smallest structure: that slice, or several
    evenly spread over the structures. Strokes are 3 voxels wide, up to 15 long, slightly bent, and inside their class;
    two of the three of background lie near a structure.
    """
    random = np.random.default_rng(seed)
    values = [int(v) for v in np.unique(labels) if v > 0]
    axis, indices = _slices(labels, values, slices)
    strokes = np.full(labels.shape, -1, np.int16)
    each = ONE_STRUCTURE if len(values) == 1 else EACH_STRUCTURE
    for index in indices:
        place = (slice(None),) * axis + (index,)
        plane, painted = labels[place], strokes[place]
        for value in values:
            for _ in range(each):
                _paint(painted, plane == value, value, random)
        behind = plane == 0
        distance = ndimage.distance_transform_edt(behind)
        near = behind & (distance > _NEAR) & (distance < _FAR)
        for number in range(BACKGROUND):
            _paint(painted, near if number < 2 else behind & (distance > _NEAR), 0, random)
    return strokes


def _slices(labels: np.ndarray, values: list[int], count: int) -> tuple[int, list[int]]:
    areas = [
        np.min([(labels == v).sum(tuple(other for other in range(3) if other != axis)) for v in values], 0)
        for axis in range(3)
    ]
    axis = int(np.argmax([area.max() for area in areas]))
    if count == 1:
        return axis, [int(areas[axis].argmax())]
    reached = np.flatnonzero((labels > 0).any(tuple(other for other in range(3) if other != axis)))
    return axis, [int(reached[int(part * (len(reached) - 1))]) for part in np.linspace(0.2, 0.8, count)]


def _paint(plane: np.ndarray, region: np.ndarray, value: int, random: np.random.Generator) -> None:
    """One stroke into ``plane``, inside ``region``; none where there is no room."""
    if not region.any():
        return
    core = ndimage.binary_erosion(region)
    core = core if core.any() else region
    starts = np.argwhere(core)
    start, angle = starts[random.integers(len(starts))].astype(float), random.uniform(0, 2 * np.pi)
    line = np.zeros(plane.shape, bool)
    for turn in (0, np.pi):
        at, direction = start.copy(), angle + turn
        for _ in range(_HALF_LENGTH):
            voxel = tuple(np.round(at).astype(int))
            if not all(0 <= v < n for v, n in zip(voxel, plane.shape, strict=True)) or not core[voxel]:
                break
            line[voxel] = True
            direction += random.normal(0, 0.15)
            at += (np.sin(direction), np.cos(direction))
    plane[ndimage.binary_dilation(line) & region] = value
