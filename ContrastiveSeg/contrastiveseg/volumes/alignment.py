"""Label maps of one voxel grid, stored in different axis orders, brought onto one array."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from .orientation import canonical_axes
from .volume import Geometry, LabelMap


def aligned(label_map: LabelMap, geometry: Geometry, of: str) -> np.ndarray:
    """``label_map``'s array (z, y, x) turned so that it lies on ``geometry``: axes swapped or flipped, never resampled.

    Tools differ in the axis order they write.

    Args:
        of: the image or label map that ``geometry`` belongs to, for the message.

    Raises:
        InputError: the grids differ in size, or a voxel lies more than a hundredth of a voxel apart.
    """
    source, target = canonical_axes(label_map.geometry), canonical_axes(geometry)
    name = label_map.name or "The label map"
    array = target.undo(source.apply(label_map.array))
    if array.shape != geometry.shape:
        raise InputError(
            f"{name} and {of} have different sizes, {label_map.geometry.size} and {geometry.size}. "
            "Export both on the grid of the same image."
        )
    # The corners' indices turned as the voxels were: which corner of the file lies on which corner of the grid.
    turned = target.undo(source.apply(np.arange(8).reshape(2, 2, 2))).ravel()
    shift = float(np.linalg.norm(_corners(label_map.geometry)[turned] - _corners(geometry), axis=1).max())
    if shift > 0.01 * min(geometry.spacing):
        raise InputError(
            f"{name} and {of} have the same size but lie up to {shift:.3g} mm apart. "
            "Export both on the grid of the same image."
        )
    return array


def _corners(geometry: Geometry) -> np.ndarray:
    """(8, 3) positions in mm (x, y, z) of the corner voxels, in the order of a flattened (z, y, x) array."""
    far = (np.array(geometry.size) - 1) * geometry.spacing
    offsets = np.array([(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)]) * far
    return offsets @ np.reshape(geometry.direction, (3, 3)).T + geometry.origin
