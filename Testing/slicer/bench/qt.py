"""The module ``qt`` that Slicer's PythonQt offers: all classes of Qt's core, gui and widgets in one place."""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtWidgets

from . import qt5
from .ui_loader import QUiLoader


def module() -> types.ModuleType:
    """A new module ``qt``."""
    made = types.ModuleType("qt", "Qt as Slicer's Python sees it, made from PySide6 by the test bench")
    for source in (QtCore, QtGui, QtWidgets):
        for name in dir(source):
            if name in qt5.TABLE:
                setattr(made, name, getattr(source, name))
    made.QUiLoader = QUiLoader  # type: ignore[attr-defined]

    def missing(name: str) -> object:
        raise AttributeError(f"the bench has no qt.{name}: see bench/qt5.py, or do not use it")

    made.__getattr__ = missing  # type: ignore[method-assign]
    return made
