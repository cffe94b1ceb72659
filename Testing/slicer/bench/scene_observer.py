"""Tells the node selectors that the scene has changed; as Slicer's scene model, not while nodes come in batches."""

from __future__ import annotations

import weakref
from typing import Any

import shiboken6
import slicer
import vtk

_selectors: weakref.WeakSet[Any] = weakref.WeakSet()
_watched: dict[int, Any] = {}


def watch(scene: Any, selector: Any) -> object:
    """Refreshes the selector whenever nodes come, go or are renamed."""
    _selectors.add(selector)
    key = id(scene)
    if key not in _watched:
        scene_class = slicer.vtkMRMLScene
        for event in (scene_class.NodeRemovedEvent, scene_class.EndBatchProcessEvent, scene_class.EndCloseEvent):
            scene.AddObserver(event, _refresh)
        scene.AddObserver(scene_class.NodeAddedEvent, _added)
        _watched[key] = scene
    return scene


@vtk.calldata_type(vtk.VTK_OBJECT)
def _added(scene: Any, _event: str, node: Any) -> None:
    if isinstance(node, slicer.vtkMRMLDisplayableNode | slicer.vtkMRMLStorableNode):
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, _modified)
    _refresh(scene, "")


def _modified(node: Any, _event: str) -> None:
    scene = node.GetScene()
    if scene is not None and not scene.IsBatchProcessing():
        for selector in _alive():
            if selector.mrmlScene() is scene:
                selector._renamed(node)


def _refresh(scene: Any, _event: str) -> None:
    if scene.IsBatchProcessing():
        return
    for selector in _alive():
        if selector.mrmlScene() is scene:
            selector._refresh()


def _alive() -> list[Any]:
    return [s for s in list(_selectors) if shiboken6.isValid(s)]
