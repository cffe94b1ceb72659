"""Slicer's widgets that show one node: segments, tables, the button for surfaces."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .ctk_inputs import ctkMenuButton
from .pythonqt import stands_in
from .qmrml_nodes import KnowsScene, qMRMLWidget
from .stand_in import Declared, emit

_read = QtCore.QObject.__getattribute__


@stands_in
class qMRMLSegmentationShow3DButton(ctkMenuButton):
    """Makes and removes the surfaces of a segmentation; disabled without one or without segments."""

    locked = Declared.of("locked", "bool", False)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        _read(self, "setText")("Show 3D")
        _read(self, "setCheckable")(True)
        _read(self, "setEnabled")(False)
        self.connect("toggled(bool)", self._on_toggled)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLSegmentationNode):
            raise TypeError(f"setSegmentationNode takes a segmentation or None, not {node!r}")
        self._node = node
        segmentation = node.GetSegmentation() if node else None
        _read(self, "setEnabled")(bool(segmentation and segmentation.GetNumberOfSegments()))
        was = _read(self, "blockSignals")(True)
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        _read(self, "setChecked")(bool(segmentation and segmentation.ContainsRepresentation(surface)))
        _read(self, "blockSignals")(was)

    def _on_toggled(self, on: bool) -> None:
        if self._node is None:
            return
        segmentation = self._node.GetSegmentation()
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        if on:
            if segmentation.CreateRepresentation(surface) and self._node.GetDisplayNode():
                self._node.GetDisplayNode().SetPreferredDisplayRepresentationName3D(surface)
        elif segmentation.GetSourceRepresentationName() != surface:
            segmentation.RemoveRepresentation(surface)


@stands_in
class qMRMLSegmentsTableView(qMRMLWidget):
    """The segments of one segmentation, a row each."""

    signals = ("selectionChanged(QItemSelection,QItemSelection)", "segmentAboutToBeModified(QString)")
    headerVisible = Declared.of("headerVisible", "bool", True)
    visibilityColumnVisible = Declared.of("visibilityColumnVisible", "bool", True)
    colorColumnVisible = Declared.of("colorColumnVisible", "bool", True)
    opacityColumnVisible = Declared.of("opacityColumnVisible", "bool", True)
    statusColumnVisible = Declared.of("statusColumnVisible", "bool", False)
    layerColumnVisible = Declared.of("layerColumnVisible", "bool", False)
    readOnly = Declared.of("readOnly", "bool", False)
    filterBarVisible = Declared.of("filterBarVisible", "bool", False)
    jumpToSelectedSegmentEnabled = Declared.of("jumpToSelectedSegmentEnabled", "bool", False)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self._observer: Any = None
        self._list = QtWidgets.QTableWidget(0, 1)
        _read(self._list, "setHorizontalHeaderLabels")(["Name"])
        _read(_read(self._list, "horizontalHeader")(), "setStretchLastSection")(True)
        column = QtWidgets.QVBoxLayout(self)
        _read(column, "setContentsMargins")(0, 0, 0, 0)
        _read(column, "addWidget")(self._list)
        Selection = QtCore.QItemSelection
        self._list.connect(
            "itemSelectionChanged()",
            lambda: emit(self, "selectionChanged(QItemSelection,QItemSelection)", Selection(), Selection()),
        )

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        if self._node is not None and self._observer is not None:
            self._node.RemoveObserver(self._observer)
        self._node = node
        self._observer = node.AddObserver("ModifiedEvent", lambda *_: self._fill()) if node else None
        self._fill()

    def _ids(self) -> list[str]:
        return list(self._node.GetSegmentation().GetSegmentIDs()) if self._node else []

    def _fill(self) -> None:
        ids = self._ids()
        _read(self._list, "setRowCount")(len(ids))
        for row, identifier in enumerate(ids):
            segment = self._node.GetSegmentation().GetSegment(identifier)
            _read(self._list, "setItem")(row, 0, QtWidgets.QTableWidgetItem(segment.GetName()))

    @property
    def segmentCount(self) -> int:
        return len(self._ids())

    def selectedSegmentIDs(self) -> list[str]:
        ids = self._ids()
        return [ids[i.row()] for i in _read(self._list, "selectedItems")()]

    def setSelectedSegmentIDs(self, wanted: list[str]) -> None:
        for row, identifier in enumerate(self._ids()):
            _read(self._list, "item")(row, 0).setSelected(identifier in wanted)

    def clearSelection(self) -> None:
        _read(self._list, "clearSelection")()


@stands_in
class qMRMLTableView(KnowsScene, QtWidgets.QTableView):
    """The cells of one table node."""

    signals = ("mrmlSceneChanged(vtkMRMLScene*)", "selectionChanged()")
    transposed = Declared.of("transposed", "bool", False)
    firstRowLocked = Declared.of("firstRowLocked", "bool", False)
    firstColumnLocked = Declared.of("firstColumnLocked", "bool", False)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None

    def mrmlTableNode(self) -> Any:
        return self._node

    def setMRMLTableNode(self, node: Any) -> None:
        self._node = node
        self._refresh()

    def _refresh(self) -> None:
        from PySide6 import QtGui

        model = QtGui.QStandardItemModel(self)
        if self._node is not None:
            columns = range(self._node.GetNumberOfColumns())
            if self.firstRowLocked or self._node.GetUseColumnTitleAsColumnHeader():
                model.setHorizontalHeaderLabels([_header(self._node, self._node.GetColumnName(c)) for c in columns])
            for row in range(self._node.GetNumberOfRows()):
                model.appendRow([QtGui.QStandardItem(self._node.GetCellText(row, c)) for c in columns])
        _read(self, "setModel")(model)


def _header(table: Any, column: str) -> str:
    """The column's title, else its name, with its unit behind it."""
    title, unit = table.GetColumnTitle(column) or column, table.GetColumnUnitLabel(column)
    return f"{title} [{unit}]" if unit else title
