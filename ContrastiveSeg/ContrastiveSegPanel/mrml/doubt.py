"""Where in a volume to look first when its segmentation is corrected."""

from __future__ import annotations

from typing import Any

import numpy as np

from .grids import array_of, grid_of
from .segments import filled

#: Voxels across which uncertainty is averaged in a slice: a single uncertain voxel is no place to look at.
_WIDTH = 9


def place_of_doubt(uncertainty: Any) -> tuple[float, float, float]:
    """The most uncertain place in the most uncertain slice of an uncertainty map, across the axis with the thickest.

    Returns:
        (x, y, z) in mm, RAS, in the map's own coordinates.
    """
    grid = grid_of(uncertainty)
    array = array_of(uncertainty.GetImageData())
    axis = int(np.argmax(np.round(grid.spacing()[::-1], 3)))
    index = int(np.argmax(array.sum(axis=tuple(other for other in range(3) if other != axis), dtype=np.float64)))
    found = _most_in(array.take(index, axis))
    voxel = [*found[:axis], index, *found[axis:]]
    return _position(grid.ijk_to_ras, voxel)


def middle_of(segmentation: Any) -> tuple[float, float, float] | None:
    """The middle of the first segment with voxels, (x, y, z) in mm, RAS, in world coordinates; None without any."""
    segments = filled(segmentation, segmentation.GetSegmentation().GetSegmentIDs())
    center = segmentation.GetSegmentCenterRAS(segments[0]) if segments else None
    return None if center is None else (center[0], center[1], center[2])


def _most_in(plane: np.ndarray) -> tuple[int, int]:
    """Index of the largest mean over squares of the plane."""
    half = _WIDTH // 2
    sums = np.pad(plane.astype(np.float64), ((half + 1, half), (half + 1, half))).cumsum(0).cumsum(1)
    squares = sums[_WIDTH:, _WIDTH:] - sums[:-_WIDTH, _WIDTH:] - sums[_WIDTH:, :-_WIDTH] + sums[:-_WIDTH, :-_WIDTH]
    row, column = np.unravel_index(int(np.argmax(squares)), squares.shape)
    return int(row), int(column)


def _position(ijk_to_ras: np.ndarray, voxel: list[int]) -> tuple[float, float, float]:
    x, y, z = (ijk_to_ras @ (*voxel[::-1], 1))[:3].tolist()
    return (x, y, z)
