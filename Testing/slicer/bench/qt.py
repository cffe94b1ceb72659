"""The module ``qt`` that Slicer's PythonQt offers: all classes of Qt's core, gui and widgets in one place."""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtWidgets

from .ui_loader import QUiLoader

# In Qt 6 but not in the Qt 5.15 that Slicer is built with, or PySide6's own.
_ABSENT = {"QEnum", "QFlag", "QtMsgType", "QStringConverter", "QPermission", "QNativeInterface", "QChronoTimer"}


def module() -> types.ModuleType:
    """A new module ``qt``."""
    made = types.ModuleType("qt", "Qt as Slicer's Python sees it, made from PySide6 by the test bench")
    for source in (QtCore, QtGui, QtWidgets):
        for name in dir(source):
            if name.startswith("Q") and name not in _ABSENT:
                setattr(made, name, getattr(source, name))
    made.QUiLoader = QUiLoader  # type: ignore[attr-defined]

    def missing(name: str) -> object:
        raise AttributeError(f"module 'qt' has no attribute '{name}' (bench)")

    made.__getattr__ = missing  # type: ignore[method-assign]
    return made
