"""Where in a volume to look first when its segmentation is corrected."""

from __future__ import annotations

from typing import Any

import numpy as np

from .grids import array_of, grid_of
from .segments import filled

#: Voxels across which uncertainty is averaged in a slice: a single uncertain voxel is no place to look at.
_WIDTH = 9


def place_of_doubt(uncertainty: Any) -> tuple[float, float, float]:
    """The most uncertain place of an uncertainty map, in a slice across the axis with the thickest.

    Not in the slice with the most uncertainty: after a short training that is a little doubt all over an edge.

    Returns:
        (x, y, z) in mm, RAS, in the map's own coordinates.
    """
    grid = grid_of(uncertainty)
    array = array_of(uncertainty.GetImageData())
    axis = int(np.argmax(np.round(grid.spacing()[::-1], 3)))
    slices = np.moveaxis(array, axis, 0)
    index = int(np.argmax(_squares(slices).reshape(len(slices), -1).max(1)))
    found = _most_in(slices[index])
    voxel = [*found[:axis], index, *found[axis:]]
    return _position(grid.ijk_to_ras, voxel)


def middle_of(segmentation: Any) -> tuple[float, float, float] | None:
    """The middle of the first segment with voxels, (x, y, z) in mm, RAS, in world coordinates; None without any."""
    segments = filled(segmentation, segmentation.GetSegmentation().GetSegmentIDs())
    center = segmentation.GetSegmentCenterRAS(segments[0]) if segments else None
    return None if center is None else (center[0], center[1], center[2])


def _squares(slices: np.ndarray) -> np.ndarray:
    """Of ``slices`` (n, rows, columns), by every third row and column, which is quick: sums over squares of _WIDTH."""
    sums = np.pad(slices[:, ::3, ::3].astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    sums = sums[:, 2:] + sums[:, 1:-1] + sums[:, :-2]
    return sums[:, :, 2:] + sums[:, :, 1:-1] + sums[:, :, :-2]


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
