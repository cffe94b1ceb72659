"""What Slicer does when it starts and slicer-core, its MRML without the application, leaves to others."""

from __future__ import annotations

import types

import slicer

#: A logic observes the scene only as long as a reference to it is kept.
_logics: list[object] = []


def start() -> None:
    """Give slicer-core a scene that takes segmentations; in Slicer, or when that was done already, do nothing."""
    if hasattr(slicer, "mrmlScene"):
        return
    slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.modules = types.SimpleNamespace()
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    for rule in (
        slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule(),
        slicer.vtkClosedSurfaceToBinaryLabelmapConversionRule(),
    ):
        factory.RegisterConverterRule(rule)
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    _logics.append(logic)
