"""Starts the bench, once a process."""

from __future__ import annotations

import sys
import types
from pathlib import Path


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

    from . import app, file_io, qmrml_nodes, qmrml_views, scripted, segment_editor, ui_loader

    slicer.app = app.qSlicerApplication(home, logic)
    for source in (app, file_io, qmrml_nodes, qmrml_views, scripted, segment_editor):
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
    sys.modules["SegmentEditorEffects"] = segment_editor.effects_module()
    effects = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    effects.qSlicerSegmentEditorScriptedEffect = segment_editor.qSlicerSegmentEditorScriptedEffect  # type: ignore[attr-defined]
    sys.modules[effects.__name__] = effects
    slicer.app._open_window()


def _add_module(name: str, module: types.ModuleType) -> None:
    import slicer

    sys.modules[f"slicer.{name}"] = module
    setattr(slicer, name, module)
