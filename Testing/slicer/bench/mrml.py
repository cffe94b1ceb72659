"""The real scene and the real logics of slicer-core, brought up as Slicer does."""

from __future__ import annotations

import types
import weakref
from pathlib import Path
from typing import Any

import slicer
import vtk

from .failures import record

# In this order: the color logic must be there before a display node is made.
_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Models": "vtkSlicerModelsLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Data": "vtkSlicerDataModuleLogic",
}
_VIEWS = (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal"))
# What Slicer's own GenericColors.txt begins with; label maps without a color table of their own are drawn in it.
_GENERIC_COLORS = (
    (0, 0, 0, 0),
    (128, 174, 128, 255),
    (241, 214, 145, 255),
    (177, 122, 101, 255),
    (111, 184, 210, 255),
)

_keep: list[Any] = []


class Modules(types.ModuleType):
    """``slicer.modules``: what is not there is an error that says so."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the bench has no slicer.modules.{name}: add the real behavior or do not use it")


class LogicModule:
    """A loadable module of which only the logic exists here."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self._logic = name, logic

    def logic(self) -> Any:
        return self._logic

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the bench has no slicer.modules.{self.name.lower()}.{name}")


def start(home: Path) -> Any:
    """Sets ``slicer.mrmlScene`` and ``slicer.modules`` and returns the application logic.

    Args:
        home: an empty folder for temporary files and the few resources the logics ask for.
    """
    _hide_what_slicer_has_not()
    share = home / "share"
    (share / "ColorFiles").mkdir(parents=True)
    lines = [f"{i} Label_{i} {r} {g} {b} {a}" for i, (r, g, b, a) in enumerate(_GENERIC_COLORS)]
    (share / "ColorFiles" / "GenericColors.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary = home / "temporary"
    temporary.mkdir()

    application = slicer.vtkSlicerApplicationLogic()
    application.SetHomeDirectory(str(share))
    application.SetShareDirectory(".")
    application.SetTemporaryPath(str(temporary))
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.GetCacheManager().SetRemoteCacheDirectory(str(temporary))
    data = slicer.vtkDataIOManagerLogic()
    data.SetMRMLApplicationLogic(application)
    data.SetAndObserveDataIOManager(remote.GetDataIOManager())
    scene = slicer.vtkMRMLScene()
    scene.SetRootDirectory(str(temporary))
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    application.SetMRMLScene(scene)
    application.SetMRMLSceneDataIO(scene, remote, data)
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.mrmlScene = scene
    slicer.modules = Modules("slicer.modules")
    for name, class_name in _LOGICS.items():
        logic = getattr(slicer, class_name)()
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(str(share / name))
        application.SetModuleLogic(name, logic)
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        setattr(slicer.modules, name.lower(), LogicModule(name, logic))
    for name, orientation in _VIEWS:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(application)
        application.GetSliceLogics().AddItem(logic)
        logic.SetMRMLScene(scene)
        logic.AddSliceNode(name).SetOrientation(orientation)
    _keep.extend((application, remote, data, scene))
    _observe_subject_hierarchy(scene)
    return application


def _hide_what_slicer_has_not() -> None:
    """slicer-core copies slicer.util's functions into ``slicer``; Slicer does not."""
    for name in list(vars(slicer)):
        if not name.startswith(("vtk", "_")) and getattr(slicer.util, name, None) is getattr(slicer, name):
            delattr(slicer, name)


def _observe_subject_hierarchy(scene: Any) -> None:
    """Gives nodes their subject hierarchy items, which Qt plugins do in Slicer."""

    def hierarchy() -> Any:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)

    def wanted(node: Any) -> bool:
        kinds = (
            slicer.vtkMRMLVolumeNode,
            slicer.vtkMRMLSegmentationNode,
            slicer.vtkMRMLModelNode,
            slicer.vtkMRMLTransformNode,
            slicer.vtkMRMLMarkupsNode,
            slicer.vtkMRMLTableNode,
        )
        return isinstance(node, kinds) and not node.GetHideFromEditors()

    listened: weakref.WeakSet[Any] = weakref.WeakSet()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(_scene: Any, _event: str, node: Any) -> None:
        if wanted(node) and not scene.IsImporting():
            tree = hierarchy()
            if tree is not None and not tree.GetItemByDataNode(node):
                tree.CreateItem(tree.GetSceneItemID(), node)
                if node.IsA("vtkMRMLSegmentationNode"):
                    # Slicer's plugin goes on listening when it leaves the scene, and hears of its display before this.
                    if node in listened and node.GetNumberOfDisplayNodes():
                        record(f"Unable to find subject hierarchy item for segmentation node {node.GetName()}")
                    listened.add(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def about_to_be_removed(_scene: Any, _event: str, node: Any) -> None:
        if wanted(node) and not scene.IsClosing():
            tree = hierarchy()
            item = tree.GetItemByDataNode(node) if tree is not None else 0
            if item:
                # The items of its segments go with it, and with each of them the segment.
                if node.IsA("vtkMRMLSegmentationNode"):
                    for identifier in node.GetSegmentation().GetSegmentIDs():
                        node.GetSegmentation().RemoveSegment(identifier)
                tree.RemoveItem(item, False, False)

    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, added)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, about_to_be_removed)
    _keep.extend((added, about_to_be_removed))
