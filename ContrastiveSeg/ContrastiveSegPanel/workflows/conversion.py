"""Label map volumes of the scene as segmentations, which can be learned from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.errors import InputError

from ..mrml.grids import grid_of
from ..mrml.hierarchy import place_beside
from .pairing import label_maps, segmentations, volume_of
from .task import Step, Steps

#: Node reference of a segmentation to the label map that it was converted from.
CONVERTED_FROM = "ContrastiveSeg.ConvertedFrom"


class Conversion:
    """Converts label maps, one a turn of the event loop. They stay in the scene as they are.

    Args:
        on_end: called at the end, with what could not be converted and why, a line each; "" where everything was.
    """

    def __init__(self, on_end: Callable[[str], None]) -> None:
        self._on_end = on_end
        self._steps = Steps()
        self._problems: list[str] = []

    def start(self) -> None:
        """Convert all label maps that were not converted yet."""
        self._problems = []
        steps: list[Step] = [("", partial(self._convert, node.GetID())) for node in to_convert()]
        self._steps.start(steps, self._ended)

    def stop(self) -> None:
        """The scene closes, or the panel does."""
        self._steps.stop()

    def _convert(self, identifier: str) -> None:
        label_map = slicer.mrmlScene.GetNodeByID(identifier)
        if label_map is None:
            return
        try:
            convert(label_map)
        except InputError as problem:
            self._problems.append(str(problem))

    def _ended(self, problem: Exception | None) -> None:
        if problem is not None:
            raise problem
        self._on_end("\n".join(self._problems))


def to_convert() -> list[Any]:
    """The label maps with voxels that no segmentation of the scene was converted from."""
    converted = {segmentation.GetNodeReferenceID(CONVERTED_FROM) for segmentation in segmentations()}
    return [node for node in label_maps() if node.GetImageData() and node.GetID() not in converted]


def convert(label_map: Any) -> Any:
    """A new segmentation with a segment a value, named and colored by the label map's color table.

    It belongs to the volume of its name, or else to the only one on its grid.

    Raises:
        InputError: it has no voxels or several values a voxel, or Slicer cannot convert it.
    """
    grid_of(label_map)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", label_map.GetName())
    if not slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label_map, node):
        slicer.mrmlScene.RemoveNode(node)
        raise InputError(_("Slicer cannot convert {name} to a segmentation.").format(name=label_map.GetName()))
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(label_map.GetTransformNodeID())
    node.SetNodeReferenceID(CONVERTED_FROM, label_map.GetID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(label_map)
    node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), None)
    volume = volume_of(node)
    if volume is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    place_beside(node, label_map)
    return node
