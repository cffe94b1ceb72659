"""Slicer's segment editor: what it is told to edit, and its effects that are written in Python."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from . import failures
from .pythonqt import stands_in
from .qmrml_nodes import qMRMLWidget
from .stand_in import Declared, emit

_read = QtCore.QObject.__getattribute__


@stands_in
class qSlicerSegmentEditorScriptedEffect(QtCore.QObject):
    """The C++ half of an effect: it has the options' frame, and calls the Python half."""

    name = Declared.of("name", "QString", "UnnamedScriptedEffect")
    title = Declared.of("title", "QString", "")
    perSegment = Declared.of("perSegment", "bool", True)
    requireSegments = Declared.of("requireSegments", "bool", True)
    showEffectCursorInSliceView = Declared.of("showEffectCursorInSliceView", "bool", True)
    showEffectCursorInThreeDView = Declared.of("showEffectCursorInThreeDView", "bool", False)

    def __init__(self, parent: QtCore.QObject | None) -> None:
        super().__init__(parent)
        self._self: Any = None
        self._node: Any = None
        self._active = False
        self._frame = QtWidgets.QFrame()
        _read(self._frame, "setVisible")(False)
        QtWidgets.QFormLayout(self._frame)

    def setPythonSource(self, path: str) -> bool:
        """As in C++, the module is called as the file's folder, and loaded once."""
        if "\\" in path or not path.endswith(".py"):
            return False
        module_name, class_name = Path(path).parent.name, Path(path).stem
        if not class_name.endswith("Effect"):
            class_name += "Effect"
        if not hasattr(sys.modules.get(module_name), class_name):
            spec = importlib.util.spec_from_file_location(module_name, path)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[module_name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[module_name])
        self._self = getattr(sys.modules[module_name], class_name)(self)
        return True

    def self(self) -> Any:
        return self._self

    def _call(self, name: str) -> Any:
        method = getattr(self._self, name, None)
        if method is None:
            return None
        try:
            return method()
        except Exception:  # printed by Slicer, which goes on
            failures.record_exception(f"in {type(self._self).__name__}.{name}")
            return None

    def clone(self) -> qSlicerSegmentEditorScriptedEffect:
        return self._call("clone")

    def icon(self) -> Any:
        return self._call("icon")

    def helpText(self) -> str:
        return self._call("helpText")

    def setupOptionsFrame(self) -> None:
        self._call("setupOptionsFrame")

    def addOptionsWidget(self, widget: QtWidgets.QWidget) -> None:
        _read(_read(self._frame, "layout")(), "addRow")(widget)

    def optionsFrame(self) -> QtWidgets.QFrame:
        return self._frame

    def active(self) -> bool:
        return self._active

    def activate(self) -> None:
        self._active = True
        _read(self._frame, "setVisible")(True)
        self._call("activate")

    def deactivate(self) -> None:
        self._active = False
        _read(self._frame, "setVisible")(False)
        self._call("deactivate")

    def cleanup(self) -> None:
        self._call("cleanup")

    def sourceVolumeNodeChanged(self) -> None:
        self._call("sourceVolumeNodeChanged")

    def parameterSetNode(self) -> Any:
        return self._node

    def setParameterSetNode(self, node: Any) -> None:
        self._node = node


@stands_in
class qSlicerSegmentEditorEffectFactory(QtCore.QObject):
    """Knows the effects; every editor has clones of its own."""

    signals = ("effectRegistered(QString)",)
    _only: qSlicerSegmentEditorEffectFactory | None = None

    def __init__(self) -> None:
        super().__init__()
        self._effects: list[qSlicerSegmentEditorScriptedEffect] = []

    @classmethod
    def instance(cls) -> qSlicerSegmentEditorEffectFactory:
        if cls._only is None:
            cls._only = cls()
        return cls._only

    def registerEffect(self, effect: qSlicerSegmentEditorScriptedEffect) -> bool:
        if effect.name in [known.name for known in self._effects]:
            return False
        self._effects.append(effect)
        emit(self, "effectRegistered(QString)", effect.name)
        return True

    def registeredEffects(self) -> list[qSlicerSegmentEditorScriptedEffect]:
        return list(self._effects)


def effects_module() -> types.ModuleType:
    """``SegmentEditorEffects``, with the base of effects in Python."""
    made = types.ModuleType("SegmentEditorEffects")

    class AbstractScriptedSegmentEditorEffect:
        def __init__(self, scriptedEffect: Any) -> None:
            self.scriptedEffect = scriptedEffect

        def register(self) -> None:
            slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

        def cleanup(self) -> None:
            """Effects end their connections here."""

    made.AbstractScriptedSegmentEditorEffect = AbstractScriptedSegmentEditorEffect  # type: ignore[attr-defined]
    return made


@stands_in
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Edits a segmentation over a source volume; both are kept in a real parameter node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._parameters: Any = None
        self._effects: list[qSlicerSegmentEditorScriptedEffect] = []
        QtWidgets.QVBoxLayout(self)
        self.updateEffectList()

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._parameters = node
        for effect in self._effects:
            effect.setParameterSetNode(node)

    def updateEffectList(self) -> None:
        for registered in slicer.qSlicerSegmentEditorEffectFactory.instance().registeredEffects():
            if self.effectByName(registered.name) is None:
                effect = registered.clone()
                effect.setParameterSetNode(self._parameters)
                effect.setupOptionsFrame()
                _read(_read(self, "layout")(), "addWidget")(effect.optionsFrame())
                self._effects.append(effect)

    def effectByName(self, name: str) -> qSlicerSegmentEditorScriptedEffect | None:
        return next((effect for effect in self._effects if effect.name == name), None)

    def availableEffectNames(self) -> list[str]:
        return [effect.name for effect in self._effects]

    def activeEffect(self) -> qSlicerSegmentEditorScriptedEffect | None:
        return next((effect for effect in self._effects if effect.active()), None)

    def setActiveEffect(self, effect: qSlicerSegmentEditorScriptedEffect | None) -> None:
        was = self.activeEffect()
        if was is effect:
            return
        if was is not None:
            was.deactivate()
        if effect is not None:
            effect.activate()

    def setActiveEffectByName(self, name: str) -> None:
        self.setActiveEffect(self.effectByName(name))

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
        for effect in self._effects:
            effect.sourceVolumeNodeChanged()
