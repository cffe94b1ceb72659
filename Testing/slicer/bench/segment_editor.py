"""Slicer's segment editor, as far as it is told what to edit."""

from __future__ import annotations

from typing import Any

import slicer

from .pythonqt import stands_in
from .qmrml_nodes import qMRMLWidget


@stands_in
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Edits a segmentation over a source volume; both are kept in a real parameter node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._parameters: Any = None

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._parameters = node

    def segmentationNode(self) -> Any:
        return self._parameters.GetSegmentationNode() if self._parameters else None

    def setSegmentationNode(self, node: Any) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLSegmentationNode):
            raise TypeError(f"setSegmentationNode takes a segmentation or None, not {node!r}")
        self._parameters.SetAndObserveSegmentationNode(node)

    def sourceVolumeNode(self) -> Any:
        return self._parameters.GetSourceVolumeNode() if self._parameters else None

    def setSourceVolumeNode(self, node: Any) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLScalarVolumeNode):
            raise TypeError(f"setSourceVolumeNode takes a volume or None, not {node!r}")
        self._parameters.SetAndObserveSourceVolumeNode(node)
