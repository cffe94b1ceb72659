"""``slicer.ScriptedLoadableModule``, and the module and widget in C++ that a scripted module is given as parents."""

from __future__ import annotations

import importlib.util
import os
import sys
import unittest
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from . import failures
from .file_io import qSlicerScriptedFileReader
from .pythonqt import stands_in
from .qmrml_nodes import qMRMLWidget
from .stand_in import Declared, emit

_read = QtCore.QObject.__getattribute__


class ScriptedLoadableModule:
    """Base of the class with the module's name; made at every start of Slicer."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        icon = Path(parent.path).parent / "Resources" / "Icons" / f"{self.moduleName}.png"
        if icon.is_file():
            parent.icon = QtGui.QIcon(str(icon))
        tests = slicer.__dict__.setdefault("selfTests", {})
        tests[self.moduleName] = self.runTest

    def resourcePath(self, name: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", name)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return f'<p><a href="{docPage or slicer.app.moduleDocumentationUrl(self.moduleName)}">Documentation</a></p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        case = getattr(sys.modules[type(self).__module__], self.moduleName + "Test")()
        case.messageDelay = msec
        case.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """Base of the class NAMEWidget; made at the first show."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        if parent is None:
            parent = qMRMLWidget()
            _read(parent, "setLayout")(QtWidgets.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent = parent
        self.layout = _read(parent, "layout")()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, name: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", name)

    def setup(self) -> None:
        if self.developerMode:
            self.reloadButton = QtWidgets.QPushButton("Reload")
            self.reloadButton.connect("clicked()", self.onReload)
            _read(self.layout, "addWidget")(self.reloadButton)

    def cleanup(self) -> None:
        """Called before the module is unloaded."""

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """Base of the class NAMELogic."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)  # closing the scene may have taken it away
                return node
        else:
            nodes = self.getAllParameterNodes()
            if nodes:
                return nodes[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [n for n in nodes if n.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the class NAMETest."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messageDelay = 0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        slicer.app.processEvents()

    def runTest(self) -> None:
        """As if the class had no tests; modules override it."""


@stands_in
class qSlicerScriptedLoadableModuleWidget(QtWidgets.QWidget):
    """The widget the module's panel is put into."""

    signals = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def __init__(self) -> None:
        super().__init__()
        QtWidgets.QVBoxLayout(self)
        self._self: Any = None
        self._source = ""
        self._entered = False

    isEntered = property(lambda self: self._entered)

    def self(self) -> Any:
        return self._self

    def _set_python_source(self, path: str, class_name: str = "") -> bool:
        module = sys.modules[Path(path).stem]
        name = class_name or Path(path).stem + "Widget"
        self._source = path
        self._self = getattr(module, name)(self)
        setattr(slicer.modules, name, self._self)
        return True

    def _call(self, name: str) -> None:
        method = getattr(self._self, name, None)
        if method is not None:
            try:
                method()
            except Exception:  # printed by Slicer, which goes on
                failures.record_exception(f"in {type(self._self).__name__}.{name}")

    def setMRMLScene(self, scene: Any) -> None:
        emit(self, "mrmlSceneChanged(vtkMRMLScene*)", scene)

    def _setup(self) -> None:
        self._call("setup")

    def enter(self) -> None:
        self._entered = True
        self._call("enter")

    def exit(self) -> None:
        self._entered = False
        self._call("exit")

    def reload(self) -> None:
        self._set_python_source(self._source)
        self._setup()


@stands_in
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """``parent`` of the module's first class."""

    title = Declared.of("title", "QString", "")
    categories = Declared.of("categories", "QStringList", [])
    dependencies = Declared.of("dependencies", "QStringList", [])
    contributors = Declared.of("contributors", "QStringList", [])
    associatedNodeTypes = Declared.of("associatedNodeTypes", "QStringList", [])
    helpText = Declared.of("helpText", "QString", "")
    acknowledgementText = Declared.of("acknowledgementText", "QString", "")
    hidden = Declared.of("hidden", "bool", False)
    index = Declared.of("index", "int", -1)
    icon = Declared.of("icon", "QIcon", QtGui.QIcon())

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._name = str(path), path.stem
        self._representation: qSlicerScriptedLoadableModuleWidget | None = None

    path = property(lambda self: self._path)
    name = property(lambda self: self._name)

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        if self._representation is None:
            self._representation = self.createNewWidgetRepresentation()
        return self._representation

    def createNewWidgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        made = qSlicerScriptedLoadableModuleWidget()
        made._set_python_source(self._path)
        made.setMRMLScene(slicer.mrmlScene)
        made._setup()
        return made


def load(path: Path) -> qSlicerScriptedLoadableModule:
    """Loads a module as Slicer does at its start: the file is executed, its first class made; no widget yet.

    The folder joins sys.path, so that packages beside the file can be imported.
    """
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    made = qSlicerScriptedLoadableModule(path)
    setattr(slicer.modules, path.stem + "Instance", getattr(module, path.stem)(made))
    setattr(slicer.modules, path.stem.lower(), made)
    slicer.app.moduleManager()._modules[path.stem] = made
    if hasattr(module, path.stem + "FileReader"):
        slicer.app.coreIOManager()._register(getattr(module, path.stem + "FileReader"), qSlicerScriptedFileReader())
    return made


def unload(made: qSlicerScriptedLoadableModule) -> None:
    """Ends a module as Slicer does before it ends itself."""
    name = made.name
    if slicer.app._window is not None:
        slicer.app._window.moduleSelector().selectModule("")
    emit(slicer.app.moduleManager(), "moduleAboutToBeUnloaded(QString)", name)
    module = sys.modules.pop(name)
    if hasattr(module, name + "FileReader"):
        slicer.app.coreIOManager()._unregister(getattr(module, name + "FileReader"))
    for attribute in (name + "Instance", name.lower(), name + "Widget"):
        vars(slicer.modules).pop(attribute, None)
    del slicer.app.moduleManager()._modules[name]
    if made._representation is not None:
        _read(made._representation, "deleteLater")()
