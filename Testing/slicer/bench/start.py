"""Starts the bench, once a process."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path


def why_not() -> str | None:
    """Why the bench cannot start here, in words for a skipped test; None where it can."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    try:
        _import_slicer()
    except Exception as error:
        return f"slicer-core does not load here: {error}"
    try:
        from PySide6 import QtUiTools, QtWidgets  # noqa: F401
    except ImportError as error:
        return f"PySide6 does not load here: {error}. On Debian and Ubuntu: apt install {' '.join(APT)}"
    return None


def _import_slicer() -> None:
    """slicer-core takes every folder called "slicer" on sys.path for a part of itself, the one of these tests too."""
    tests = Path(__file__).resolve().parents[2]
    before = list(sys.path)
    sys.path[:] = [p for p in before if Path(p or ".").resolve() != tests]
    try:
        import slicer

        slicer.vtkMRMLScene  # noqa: B018
    finally:
        sys.path[:] = before


APT = ("libegl1", "libgl1", "libxkbcommon0", "libfontconfig1", "libdbus-1-3", "libglib2.0-0", "fonts-dejavu-core")


def start(home: Path) -> None:
    """Makes ``qt``, ``ctk``, ``slicer.app`` and the rest importable.

    Args:
        home: an empty folder for settings and temporary files.
    """
    import slicer
    from PySide6 import QtCore

    from . import ctk, failures, mrml, others, pythonqt, qt

    pythonqt.lay_over()
    QtCore.QCoreApplication.setOrganizationName("NA-MIC")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
        QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, scope, str(home / "settings"))
    failures.watch()
    logic = mrml.start(home)
    sys.modules["qt"] = qt.module()
    sys.modules["ctk"] = ctk.module()

    from . import app, file_io, qmrml_nodes, qmrml_views, scripted, ui_loader

    slicer.app = app.qSlicerApplication(home, logic)
    for source in (app, file_io, qmrml_nodes, qmrml_views, scripted):
        for name, cls in vars(source).items():
            if name.startswith(("qMRML", "qSlicer")) and isinstance(cls, type):
                setattr(slicer, name, cls)
                if name.startswith("qMRML"):
                    ui_loader.custom[name] = cls
    made = types.ModuleType("slicer.ScriptedLoadableModule")
    names = [n for n in vars(scripted) if n.startswith("ScriptedLoadableModule")]
    for name in names:
        setattr(made, name, getattr(scripted, name))
    made.__all__ = names  # type: ignore[attr-defined]
    _add_module("ScriptedLoadableModule", made)
    _add_module("i18n", others.i18n())
    _add_module("packaging", others.packaging())
    sys.modules["SampleData"] = others.sample_data()
    slicer.app._open_window()


def _add_module(name: str, module: types.ModuleType) -> None:
    import slicer

    sys.modules[f"slicer.{name}"] = module
    setattr(slicer, name, module)
