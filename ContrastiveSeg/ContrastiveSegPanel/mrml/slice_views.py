"""Showing a place of a volume in the slice views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer


def show_place(volume: Any, place: Sequence[float]) -> None:
    """Show ``volume`` in all slice views, at ``place``.

    Args:
        place: (x, y, z) in mm, LPS as the engine has it, in the volume's own coordinates: its parent transform is
            applied here.
    """
    # Without a main window there are no views, but slice nodes that a later one shows.
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
    world = [0.0, 0.0, 0.0]
    volume.TransformPointToWorld([-place[0], -place[1], place[2]], world)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.JumpSliceByCentering(*world)
