"""``slicer.app`` and the main window."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .file_io import qSlicerCoreIOManager
from .pythonqt import stands_in
from .stand_in import Declared, emit

_read = QtCore.QObject.__getattribute__
VERSION = (5, 12)


@stands_in
class qSlicerModuleManager(QtCore.QObject):
    """Knows the loaded modules by name."""

    signals = ("moduleAboutToBeUnloaded(QString)", "moduleLoaded(QString)")

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Any] = {}

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> list[str]:
        return list(self._modules)


@stands_in
class qSlicerModuleSelectorToolBar(QtWidgets.QToolBar):
    """Chooses the module that is shown; it is told so, and the one before that it is left."""

    signals = ("moduleSelected(QString)",)

    def __init__(self, window: qSlicerMainWindow) -> None:
        super().__init__()
        self._window = window
        self._selected = ""

    @property
    def selectedModule(self) -> str:
        return self._selected

    def selectModule(self, name: str) -> None:
        manager = slicer.app.moduleManager()
        if name and manager.module(name) is None:
            raise ValueError(f"the bench has no module {name}")
        if name == self._selected:
            return
        if self._selected:
            manager.module(self._selected).widgetRepresentation().exit()
        self._selected = name
        if name:
            representation = manager.module(name).widgetRepresentation()
            _read(self._window, "setCentralWidget")(representation)
            representation.enter()
        emit(self, "moduleSelected(QString)", name)


@stands_in
class qSlicerMainWindow(QtWidgets.QMainWindow):
    """A window with the module panel alone."""

    def __init__(self) -> None:
        super().__init__()
        _read(self, "setObjectName")("qSlicerMainWindow")
        self._selector = qSlicerModuleSelectorToolBar(self)

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._selector


class _SliceWidget:
    """One slice view: its node and its logic are real, nothing is drawn."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def sliceLogic(self) -> Any:
        return self._logic

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the bench has no qMRMLSliceWidget.{name}")


@stands_in
class qSlicerLayoutManager(QtCore.QObject):
    """Three slice views with real logics."""

    signals = ("layoutChanged(int)",)
    layout = Declared.of("layout", "int", 3)

    def _logics(self) -> list[Any]:
        collection = slicer.app.applicationLogic().GetSliceLogics()
        return [collection.GetItemAsObject(i) for i in range(collection.GetNumberOfItems())]

    def sliceViewNames(self) -> list[str]:
        return [logic.GetSliceNode().GetLayoutName() for logic in self._logics()]

    def sliceWidget(self, name: str) -> _SliceWidget | None:
        return next((_SliceWidget(lg) for lg in self._logics() if lg.GetSliceNode().GetLayoutName() == name), None)

    def mrmlSliceLogics(self) -> Any:
        return slicer.app.applicationLogic().GetSliceLogics()

    def setLayout(self, layout: int) -> None:
        self.layout = layout
        emit(self, "layoutChanged(int)", layout)

    def resetSliceViews(self) -> None:
        for logic in self._logics():
            logic.FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """There is no 3D view here."""

    @property
    def threeDViewCount(self) -> int:
        return 0


@stands_in
class qSlicerApplication(QtWidgets.QApplication):
    """Slicer's application object, with a main window unless it was started without one."""

    signals = ("startupCompleted()", "mrmlSceneChanged(vtkMRMLScene*)")

    def __init__(self, home: Path, logic: Any) -> None:
        super().__init__(["Slicer"])
        self._home, self._logic = home, logic
        self._testing = False
        self._settings = QtCore.QSettings()
        self._io = qSlicerCoreIOManager()
        self._manager = qSlicerModuleManager()
        self._layout = qSlicerLayoutManager()
        self._window: qSlicerMainWindow | None = None
        # The first to listen: when anybody else hears of the end, the modules are gone.
        self.connect("aboutToQuit()", self._unload_modules)

    temporaryPath = property(
        lambda self: self._logic.GetTemporaryPath(), lambda self, path: self._logic.SetTemporaryPath(path)
    )
    slicerHome = property(lambda self: str(self._home))
    extensionsInstallPath = property(lambda self: str(self._home / "Extensions"))
    majorVersion = property(lambda self: VERSION[0])
    minorVersion = property(lambda self: VERSION[1])
    revision = property(lambda self: "0")
    os = property(lambda self: {"linux": "linux", "darwin": "macosx", "win32": "win"}[sys.platform])
    arch = property(lambda self: "amd64" if platform.machine() in ("x86_64", "AMD64") else platform.machine())

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return self._logic

    def moduleLogic(self, name: str) -> Any:
        return self._logic.GetModuleLogic(name)

    def settings(self) -> QtCore.QSettings:
        return self._settings

    def userSettings(self) -> QtCore.QSettings:
        return self._settings

    def revisionUserSettings(self) -> QtCore.QSettings:
        return self._settings

    def coreIOManager(self) -> qSlicerCoreIOManager:
        return self._io

    def ioManager(self) -> qSlicerCoreIOManager:
        return self._io

    def moduleManager(self) -> qSlicerModuleManager:
        return self._manager

    def layoutManager(self) -> qSlicerLayoutManager | None:
        return self._layout if self._window is not None else None

    def testingEnabled(self) -> bool:
        return self._testing

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def pauseRender(self) -> None:
        """Nothing is rendered here."""

    def resumeRender(self) -> None:
        """Nothing is rendered here."""

    def translate(self, _context: str, text: str) -> str:
        return text

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"https://slicer.readthedocs.io/en/{VERSION[0]}.{VERSION[1]}/user_guide/modules/{name.lower()}.html"

    def _unload_modules(self) -> None:
        from . import scripted

        for name in self._manager.modulesNames():
            scripted.unload(self._manager.module(name))

    def _open_window(self) -> None:
        self._window = qSlicerMainWindow()
        _read(self._window, "resize")(520, 1100)

    def _complete_startup(self) -> None:
        emit(self, "startupCompleted()")
