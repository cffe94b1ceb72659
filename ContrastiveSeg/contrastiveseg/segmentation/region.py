"""A region of interest: which voxels of a volume a box holds, and what the network sees around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..descriptions import Roi
from ..errors import InputError
from ..planning.plan import Plan
from ..volumes.orientation import oriented_axes
from ..volumes.volume import Geometry

#: Slices of an array (z, y, x).
VoxelBox = tuple[slice, slice, slice]


def voxels_of(roi: Roi, geometry: Geometry, name: str) -> VoxelBox:
    """The voxels (z, y, x) of a volume as stored that the box ``roi`` touches.

    Of a volume that is oblique to the patient's axes it is the smallest box along the volume's own axes that holds
    ``roi``.

    Args:
        roi: R, A and S in mm, each from and to. name: of the volume, for the message.

    Raises:
        InputError: the box lies outside of the volume.
    """
    corners = np.array(np.meshgrid(roi[0:2], roi[2:4], roi[4:6], indexing="ij")).reshape(3, -1).T
    lps = corners * (-1, -1, 1)
    indices = (lps - geometry.origin) @ np.reshape(geometry.direction, (3, 3)) / geometry.spacing
    # Voxel i reaches from i - 0.5 to i + 0.5; what a box only borders on is not in it.
    first = np.floor(indices.min(0) + 0.5 + 1e-6).astype(int)
    last = np.maximum(np.ceil(indices.max(0) - 0.5 - 1e-6).astype(int), first)
    first, last = np.maximum(first, 0), np.minimum(last, np.array(geometry.size) - 1)
    if (first > last).any():
        raise InputError(f"The region of interest lies outside of {name}. Give it in RAS coordinates, in mm.")
    x, y, z = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
    return z, y, x


def working_box(box: VoxelBox, geometry: Geometry, shape: Sequence[int], plan: Plan) -> VoxelBox:
    """``box`` of a volume as stored on the network's grid of ``shape`` (z, y, x) with half a patch around
    it, so that its voxels are seen as in the whole volume."""
    axes, widened = oriented_axes(geometry, plan.conventions.orientation), []
    for axis, (n, patch) in enumerate(zip(shape, plan.patch, strict=True)):
        stored = axes.permutation[axis]
        size, part = geometry.shape[stored], box[stored]
        start, stop = (size - part.stop, size - part.start) if axes.flips[axis] else (part.start, part.stop)
        around = patch // 2
        widened.append(slice(max(int(start * n / size) - around, 0), min(int(np.ceil(stop * n / size)) + around, n)))
    return widened[0], widened[1], widened[2]


def in_place(box: VoxelBox, array: np.ndarray, shape: tuple[int, ...], outside: float = 0) -> np.ndarray:
    """``array`` (..., z, y, x) of the part in ``box`` on a grid of ``shape``, with the value ``outside`` elsewhere."""
    whole = np.full((*array.shape[:-3], *shape), outside, array.dtype)
    inside = (..., *box)
    whole[inside] = array
    return whole
