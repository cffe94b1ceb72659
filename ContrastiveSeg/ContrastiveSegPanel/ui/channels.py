"""One volume selector a channel, for models that take several volumes of a case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer

from ..plain_text import plain_label, plain_tip


class Channels:
    """Rows of a form, made again when the model's channels change.

    Args:
        form: the form layout. row: where the first of them stands.
        on_change: called when there is another volume in one of them.
        on_choice: called with a volume, or None, that the user chooses in one of them.
    """

    def __init__(self, form: Any, row: int, on_change: Callable[[], None], on_choice: Callable[[Any], None]) -> None:
        self._form, self._row, self._on_change, self._on_choice = form, row, on_change, on_choice
        self._names: list[str] = []
        self.selectors: list[Any] = []

    def __len__(self) -> int:
        return len(self.selectors)

    def show(self, names: Sequence[str]) -> bool:
        """Have a selector for each of ``names``; whether they are other ones than before."""
        if list(names) == self._names:
            return False
        for selector in self.selectors:
            self._form.removeRow(selector)
        self._names = list(names)
        self.selectors = [self._selector(offset, name) for offset, name in enumerate(names)]
        return True

    def nodes(self) -> list[Any]:
        """The chosen volume of each channel, or None."""
        return [selector.currentNode() for selector in self.selectors]

    def set_nodes(self, nodes: Sequence[Any]) -> None:
        for selector, node in zip(self.selectors, nodes, strict=False):
            selector.setCurrentNode(node)

    def _selector(self, offset: int, name: str) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.showChildNodeTypes = False
        selector.addEnabled = False
        selector.removeEnabled = False
        selector.noneEnabled = True
        # The panel gets no wider for a long name.
        selector.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        selector.toolTip = plain_tip(name)
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_change)
        selector.connect("nodeActivated(vtkMRMLNode*)", self._on_choice)
        self._form.insertRow(self._row + offset, plain_label(name + ":"), selector)
        return selector
