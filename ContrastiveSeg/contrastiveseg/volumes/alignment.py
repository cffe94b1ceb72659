"""Whether two files lie on one voxel grid, and label maps stored in another axis order brought onto it.

One tolerance, in voxels, holds for training, segmenting and evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from .orientation import canonical_axes, orientation_of
from .volume import Geometry, LabelMap

#: Two grids are the same when no voxel of one lies farther than this from its own in the other, in voxels.
TOLERANCE = 0.02
#: Axes whose cosine is above this are sheared; below, the nearest perpendicular ones are taken.
SHEAR = 1e-3
#: Lengths of axes in a header's directions may be off 1 by so much.
_LENGTH = 0.01
#: No voxel is smaller or larger, or lies farther off, in mm; beyond, numbers of a damaged header overflow.
_SMALLEST, _LARGEST = 1e-9, 1e9


def check_same_grid(what: object, geometry: Geometry, reference: Geometry, of: str) -> None:
    """Refuse ``what`` when its grid is not the reference's.

    Raises:
        InputError: naming what differs (size, spacing, origin or direction) and both values.
    """
    if _is_same(geometry, reference):
        return
    differences = _differences(geometry, reference)
    raise InputError(f"{what} is not on the grid of {of}: {differences}. Resample it to that grid first.")


def _differences(geometry: Geometry, reference: Geometry) -> str:
    """What of ``geometry`` is not as in ``reference``, with both values."""
    return "; ".join(
        f"{name} ({here}) instead of ({there})"
        for name in ("size", "spacing", "origin", "direction")
        if (here := _list(getattr(geometry, name))) != (there := _list(getattr(reference, name)))
    )


def _is_same(geometry: Geometry, reference: Geometry) -> bool:
    return geometry.size == reference.size and voxels_apart(geometry, reference) <= TOLERANCE


def straightened(what: object, geometry: Geometry, shear: float) -> Geometry:
    """``geometry`` with perpendicular axes of length 1, the nearest to those that a header gives in a few decimals.

    Raises:
        InputError: they are farther from that than rounding makes them, by ``shear`` or in length.
    """
    direction = np.reshape(geometry.direction, (3, 3))
    with np.errstate(all="ignore"):  # a damaged header's numbers may be of any size
        lengths = np.linalg.norm(direction, axis=0)
        cosines = (direction / lengths).T @ (direction / lengths)
        straight = np.abs(lengths - 1).max() <= _LENGTH and np.abs(cosines - np.eye(3)).max() <= shear
    if not straight:
        raise InputError(
            f"{what} has axes in its header that are sheared, or not of length 1. Resample it to a straight grid "
            "first; if it should be one, correct its header's directions."
        )
    return replace(geometry, direction=tuple(nearest_rotation(direction).ravel().tolist()))


def are_voxel_sizes(lengths: np.ndarray) -> bool:
    """Whether ``lengths`` in mm can be those of voxels."""
    return bool(((lengths >= _SMALLEST) & (lengths <= _LARGEST)).all())


def is_place(point: Sequence[float] | np.ndarray) -> bool:
    """Whether ``point`` (x, y, z) in mm can be where a volume lies; farther off, neighboring voxels coincide."""
    return bool((np.abs(point) <= _LARGEST).all())


def nearest_rotation(direction: np.ndarray) -> np.ndarray:
    """The perpendicular axes (3, 3) nearest to ``direction``; itself where rounding alone keeps it from that."""
    if np.abs(direction.T @ direction - np.eye(3)).max() <= 1e-6:
        return direction
    left, _, right = np.linalg.svd(direction)
    return left @ right


def voxels_apart(geometry: Geometry, reference: Geometry) -> float:
    """How far the voxels of two grids of one size lie apart at most, along an axis and in voxels of ``reference``."""
    return _in_voxels(_corners(geometry) - _corners(reference), reference)


def aligned(label_map: LabelMap, geometry: Geometry, of: str) -> np.ndarray:
    """``label_map``'s array (z, y, x) turned so that it lies on ``geometry``: axes swapped or flipped, never resampled.

    Tools differ in the axis order they write.

    Args:
        of: the image or label map that ``geometry`` belongs to, for the message.

    Raises:
        InputError: the grids differ in size, or a voxel lies more than :data:`TOLERANCE` apart.
    """
    if _is_same(label_map.geometry, geometry):  # at 45 degrees, rounding decides which axes of the patient are nearest
        return label_map.array
    source, target = canonical_axes(label_map.geometry), canonical_axes(geometry)
    name = label_map.name or "The label map"
    array = target.undo(source.apply(label_map.array))
    if array.shape != geometry.shape:
        here, there = label_map.geometry.size, geometry.size
        if (own := orientation_of(label_map.geometry)) != (other := orientation_of(geometry)):
            sizes = f"{here} voxels along {own} and {there} along {other}"
        else:
            sizes = f"{here} and {there} voxels"
        raise InputError(f"{name} and {of} have different sizes: {sizes}. Export both on the grid of the same image.")
    # The corners' indices turned as the voxels were: which corner of the file lies on which corner of the grid.
    turned = target.undo(source.apply(np.arange(8).reshape(2, 2, 2))).ravel()
    shifts = _corners(label_map.geometry)[turned] - _corners(geometry)
    if _in_voxels(shifts, geometry) > TOLERANCE:
        same_axes = orientation_of(label_map.geometry) == orientation_of(geometry)
        why = f" ({_differences(label_map.geometry, geometry)})" if same_axes else ""
        raise InputError(
            f"{name} and {of} have the same size but lie up to {np.linalg.norm(shifts, axis=1).max():.3g} mm "
            f"apart{why}. Export both on the grid of the same image."
        )
    return array


def _corners(geometry: Geometry) -> np.ndarray:
    """(8, 3) positions in mm (x, y, z) of the corner voxels, in the order of a flattened (z, y, x) array."""
    far = (np.array(geometry.size) - 1) * geometry.spacing
    offsets = np.array([(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)]) * far
    return offsets @ np.reshape(geometry.direction, (3, 3)).T + geometry.origin


def _in_voxels(shifts: np.ndarray, geometry: Geometry) -> float:
    """The largest of ``shifts`` (n, 3), in mm, along an axis of ``geometry``, in voxels."""
    return float(np.abs(shifts @ np.reshape(geometry.direction, (3, 3)) / geometry.spacing).max())


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{v:.6g}" for v in values)
