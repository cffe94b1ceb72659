"""A region of interest of the scene as the engine takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from contrastiveseg.descriptions import Roi
from contrastiveseg.errors import InputError

from ..translation import _
from .grids import Grid


def region_in(roi: Any, volume: Any) -> Roi:
    """The smallest box along R, A and S, in mm, that holds a Markups ROI, in the volume's own coordinates: before its
    parent transform, which the engine does not see.

    Raises:
        InputError: the ROI has no size yet.
    """
    size = _size_of(roi)
    to_world = slicer.util.arrayFromVTKMatrix(roi.GetObjectToWorldMatrix())
    corners = np.array(np.meshgrid(*[(-n / 2, n / 2) for n in size], indexing="ij")).reshape(3, -1)
    there = []
    for corner in (to_world[:3, :3] @ corners + to_world[:3, 3:]).T:
        own = [0.0, 0.0, 0.0]
        volume.TransformPointFromWorld(corner.tolist(), own)
        there.append(own)
    low, high = np.min(there, axis=0), np.max(there, axis=0)
    r, a, s = ((float(first), float(last)) for first, last in zip(low, high, strict=True))
    return (*r, *a, *s)


def inside(roi: Any, volume: Any, grid: Grid) -> np.ndarray:
    """Which voxels of the volume's ``grid`` (k, j, i) have their centers within a Markups ROI, as it is turned.

    Raises:
        InputError: the ROI has no size yet or holds no voxel, or the volume lies under a transform that bends it.
    """
    half = _size_of(roi) / 2
    to_world, transform = vtk.vtkMatrix4x4(), volume.GetParentTransformNode()
    if transform is not None and not transform.GetMatrixTransformToWorld(to_world):
        text = _(
            "{volume} lies under a transform that bends it, where no region can be used. Harden the transform first."
        )
        raise InputError(text.format(volume=volume.GetName()))
    to_roi = np.linalg.inv(slicer.util.arrayFromVTKMatrix(roi.GetObjectToWorldMatrix()))
    matrix = to_roi @ slicer.util.arrayFromVTKMatrix(to_world) @ grid.ijk_to_ras
    found = np.zeros(grid.shape, bool)
    j, i = np.arange(grid.shape[1])[:, None], np.arange(grid.shape[2])
    for k, plane in enumerate(found):
        places = (row[0] * i + row[1] * j + row[2] * k + row[3] for row in matrix[:3])
        plane[:] = np.logical_and.reduce([abs(place) <= most for place, most in zip(places, half, strict=True)])
    if not found.any():
        text = _("No voxel of {volume} lies in the region {name}.")
        raise InputError(text.format(volume=volume.GetName(), name=roi.GetName()))
    return found


def regions() -> list[Any]:
    """The scene's Markups ROIs that users see."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLMarkupsROINode") if not node.GetHideFromEditors()]


def _size_of(roi: Any) -> np.ndarray:
    """(3,), mm along the region's own axes."""
    size = np.array(roi.GetSize(), float)
    if not (np.isfinite(size).all() and size.min() > 0):
        raise InputError(_("The region {name} is not placed yet.").format(name=roi.GetName()))
    return size
