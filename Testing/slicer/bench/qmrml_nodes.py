"""Slicer's node selectors, on the real scene."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from . import scene_observer
from .pythonqt import check, stands_in
from .stand_in import Declared, emit

_read = QtCore.QObject.__getattribute__


class KnowsScene:
    """What widgets have in common that are given the scene."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)  # the widget's own, which comes behind this class
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        emit(self, "mrmlSceneChanged(vtkMRMLScene*)", scene)


@stands_in
class qMRMLWidget(KnowsScene, QtWidgets.QWidget):
    """A widget that knows the scene."""

    signals = ("mrmlSceneChanged(vtkMRMLScene*)",)


@stands_in
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Selects a node of the scene. Without "None" the first node is selected as soon as there is one."""

    signals = (
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeChanged(bool)",
        "currentNodeIDChanged(QString)",
        "nodeActivated(vtkMRMLNode*)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)",
    )
    nodeTypes = Declared.of("nodeTypes", "QStringList", [])
    hideChildNodeTypes = Declared.of("hideChildNodeTypes", "QStringList", [])
    noneEnabled = Declared.of("noneEnabled", "bool", False)
    addEnabled = Declared.of("addEnabled", "bool", True)
    removeEnabled = Declared.of("removeEnabled", "bool", True)
    editEnabled = Declared.of("editEnabled", "bool", False)
    renameEnabled = Declared.of("renameEnabled", "bool", False)
    showHidden = Declared.of("showHidden", "bool", False)
    showChildNodeTypes = Declared.of("showChildNodeTypes", "bool", True)
    selectNodeUponCreation = Declared.of("selectNodeUponCreation", "bool", True)
    noneDisplay = Declared.of("noneDisplay", "QString", "None")
    baseName = Declared.of("baseName", "QString", "")

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observer: Any = None
        self._ids: list[str] = []  # "" is None
        self._shown = ""  # the node the last signal told of
        self._wanted = ""  # asked for before there was a scene
        self._attributes: list[tuple[str, str, str | None]] = []
        self._combo = QtWidgets.QComboBox()
        row = QtWidgets.QHBoxLayout(self)
        _read(row, "setContentsMargins")(0, 0, 0, 0)
        _read(row, "addWidget")(self._combo)
        policy = QtWidgets.QSizePolicy.Policy
        _read(self._combo, "setSizePolicy")(policy.Expanding, policy.Fixed)
        self._combo.connect("currentIndexChanged(int)", lambda _: self._tell())
        self._combo.connect("activated(int)", lambda _: emit(self, "nodeActivated(vtkMRMLNode*)", self.currentNode()))
        _read(self, "setEnabled")(False)

    # -- scene

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self._observer = scene_observer.watch(scene, self) if scene else None
        _read(self, "setEnabled")(scene is not None)
        self._refresh()
        if self._wanted:
            self.setCurrentNodeID(self._wanted)
            self._wanted = ""

    def _fits(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if any(node.IsA(name) for name in self.hideChildNodeTypes):
            return False
        named = [t for t in self.nodeTypes if (node.IsA(t) if self.showChildNodeTypes else node.GetClassName() == t)]
        return bool(named) and all(
            node.GetAttribute(key) is not None and (value is None or node.GetAttribute(key) == value)
            for kind, key, value in self._attributes
            if node.IsA(kind)
        )

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        every = (self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes()))
        return [n for n in every if self._fits(n)]

    def _refresh(self) -> None:
        nodes = self._nodes()
        current, row = self.currentNodeID, self._combo.currentIndex
        self._ids = ([""] if self.noneEnabled else []) + [n.GetID() for n in nodes]
        names = ([self.noneDisplay] if self.noneEnabled else []) + [n.GetName() or "" for n in nodes]
        was = _read(self._combo, "blockSignals")(True)
        _read(self._combo, "clear")()
        _read(self._combo, "addItems")(names)
        # When the current node goes, the one that comes into its row is chosen, also where there is a "None".
        index = self._ids.index(current) if current in self._ids else min(max(row, 0), len(self._ids) - 1)
        _read(self._combo, "setCurrentIndex")(index)
        _read(self._combo, "blockSignals")(was)
        self._tell()

    def _renamed(self, node: Any) -> None:
        """Another name, or an attribute that hides or shows it."""
        known = node.GetID() in self._ids
        if known != self._fits(node):
            self._refresh()
        elif known:
            _read(self._combo, "setItemText")(self._ids.index(node.GetID()), node.GetName() or "")

    def _tell(self) -> None:
        node = self.currentNode()
        identifier = node.GetID() if node else ""
        if identifier == self._shown:
            return
        self._shown = identifier
        emit(self, "currentNodeChanged(vtkMRMLNode*)", node)
        emit(self, "currentNodeChanged(bool)", node is not None)
        emit(self, "currentNodeIDChanged(QString)", identifier)

    # -- the current node

    def currentNode(self) -> Any:
        identifier = self.currentNodeID
        return self._scene.GetNodeByID(identifier) if identifier and self._scene else None

    def setCurrentNode(self, node: Any) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            raise TypeError(f"setCurrentNode takes a node or None, not {node!r}")
        self.setCurrentNodeID(node.GetID() if node else "")

    @property
    def currentNodeID(self) -> str:
        index = self._combo.currentIndex
        return self._ids[index] if 0 <= index < len(self._ids) else ""

    @currentNodeID.setter
    def currentNodeID(self, identifier: str) -> None:
        check(identifier, "QString", "qMRMLNodeComboBox.currentNodeID")
        if self._scene is None:
            self._wanted = identifier
            return
        if identifier not in self._ids:
            identifier = ""
        _read(self._combo, "setCurrentIndex")(self._ids.index(identifier) if identifier in self._ids else -1)

    def setCurrentNodeID(self, identifier: str) -> None:
        self.currentNodeID = identifier or ""

    def setCurrentNodeIndex(self, index: int) -> None:
        _read(self._combo, "setCurrentIndex")(index + 1 if self.noneEnabled else index)

    def nodeCount(self) -> int:
        return len([i for i in self._ids if i])

    def nodeFromIndex(self, index: int) -> Any:
        real = [i for i in self._ids if i]
        return self._scene.GetNodeByID(real[index]) if 0 <= index < len(real) else None

    def addNode(self, node_type: str | None = None) -> Any:
        kind = node_type or (self.nodeTypes[0] if self.nodeTypes else None)
        if kind is None or kind not in self.nodeTypes:
            return None
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(self._scene.GetUniqueNameByString(self.baseName or node.GetDefaultNodeNamePrefix()))
        node = self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        emit(self, "nodeAddedByUser(vtkMRMLNode*)", node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        self._attributes.append((node_type, name, value))
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes = [a for a in self._attributes if a[:2] != (node_type, name)]
        self._refresh()


@stands_in
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Selects several nodes."""

    signals = ("checkedNodesChanged()",)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        self._checked: set[str] = set()
        super().__init__(parent)

    def _refresh(self) -> None:
        super()._refresh()
        gone = self._checked - set(self._ids)
        for index, identifier in enumerate(self._ids):
            self._draw(index, identifier)
        if gone:
            self._checked -= gone
            emit(self, "checkedNodesChanged()")

    def _draw(self, index: int, identifier: str) -> None:
        state = QtCore.Qt.CheckState
        drawn = state.Checked if identifier in self._checked else state.Unchecked
        _read(self._combo, "setItemData")(index, drawn.value, QtCore.Qt.ItemDataRole.CheckStateRole)

    def checkedNodes(self) -> list[Any]:
        return [self._scene.GetNodeByID(i) for i in self._ids if i in self._checked]

    def uncheckedNodes(self) -> list[Any]:
        return [self._scene.GetNodeByID(i) for i in self._ids if i and i not in self._checked]

    def allChecked(self) -> bool:
        return not self.uncheckedNodes()

    def noneChecked(self) -> bool:
        return not self.checkedNodes()

    def checkState(self, node: Any) -> Any:
        state = QtCore.Qt.CheckState
        return state.Checked if node.GetID() in self._checked else state.Unchecked

    def setCheckState(self, node: Any, state: Any) -> None:
        identifier = node.GetID()
        if identifier not in self._ids:
            return
        checked = state == QtCore.Qt.CheckState.Checked
        if checked == (identifier in self._checked):
            return
        self._checked.symmetric_difference_update({identifier})
        self._draw(self._ids.index(identifier), identifier)
        emit(self, "checkedNodesChanged()")

    def check(self, node: Any) -> None:
        self.setCheckState(node, QtCore.Qt.CheckState.Checked)

    def uncheck(self, node: Any) -> None:
        self.setCheckState(node, QtCore.Qt.CheckState.Unchecked)
