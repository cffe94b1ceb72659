"""A region of interest of the scene as the engine takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from contrastiveseg.descriptions import Roi
from contrastiveseg.errors import InputError

from ..translation import _


def region_in(roi: Any, volume: Any) -> Roi:
    """The smallest box along R, A and S, in mm, that holds a Markups ROI, in the volume's own coordinates: before its
    parent transform, which the engine does not see.

    Raises:
        InputError: the ROI has no size yet.
    """
    size = np.array(roi.GetSize(), float)
    if not (np.isfinite(size).all() and size.min() > 0):
        raise InputError(_("The region {name} is not placed yet.").format(name=roi.GetName()))
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
