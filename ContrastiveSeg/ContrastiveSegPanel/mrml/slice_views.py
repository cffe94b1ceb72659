"""Which volumes the slice views show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
import vtk

from ..timer import single_shot


def displayed_volumes() -> list[Any]:
    """The volumes in the background and the foreground of the slice views; [] without a main window."""
    if slicer.app.layoutManager() is None:
        return []
    identifiers = [
        identifier
        for composite in _composites()
        for identifier in (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())
    ]
    nodes = [slicer.mrmlScene.GetNodeByID(i) for i in dict.fromkeys(identifiers) if i]
    return [node for node in nodes if node is not None]


def show_volume(volume: Any) -> None:
    """Show ``volume`` in all slice views, and no other volume over it. Views that show it already stay as they are."""
    # Without a main window there are no views, but slice nodes that a later one shows.
    if slicer.app.layoutManager() is None:
        return
    if any(composite.GetBackgroundVolumeID() != volume.GetID() for composite in _composites()):
        slicer.util.setSliceViewerLayers(background=volume, foreground=None, label=None, fit=True)


def show_place(volume: Any, place: Sequence[float]) -> None:
    """Show ``volume`` in all slice views, at ``place``.

    Args:
        place: (x, y, z) in mm, LPS as the engine has it, in the volume's own coordinates: its parent transform is
            applied here.
    """
    show_volume(volume)
    world = [0.0, 0.0, 0.0]
    volume.TransformPointToWorld([-place[0], -place[1], place[2]], world)
    center_on(world)


def center_on(world: Sequence[float]) -> None:
    """Let all slice views show the place (x, y, z) in mm, RAS, in world coordinates, in their middle."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.JumpSliceByCentering(*world)


class DisplayedVolumes(slicer.util.VTKObservationMixin):
    """Calls ``on_change`` soon after the slice views show other volumes than before."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._on_change = on_change
        self._last: list[str] = []
        # A volume comes into one view after the other.
        self._timer = single_shot(self._look)
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeAddedEvent, self._on_node_added)
        for composite in _composites():
            self._follow(composite)

    def forget(self) -> None:
        """The scene closes: nodes of the next one may have the same IDs."""
        self._last = []

    def close(self) -> None:
        """Stop watching the views."""
        self._timer.stop()
        self.removeObservers()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_added(self, caller: Any, event: Any, node: Any) -> None:
        if node.IsA("vtkMRMLSliceCompositeNode"):
            self._follow(node)

    def _follow(self, composite: Any) -> None:
        self.addObserver(composite, vtk.vtkCommand.ModifiedEvent, self._on_modified)

    def _on_modified(self, caller: Any, event: Any) -> None:
        self._timer.start(0)

    def _look(self) -> None:
        now = [node.GetID() for node in displayed_volumes()]
        if now != self._last:
            self._last = now
            self._on_change()


def _composites() -> list[Any]:
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
