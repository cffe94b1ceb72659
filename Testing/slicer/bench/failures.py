"""What went wrong where nobody could raise it: in slots, observers and VTK.

Slicer prints such errors and goes on, so that a test which only looks at results would pass over them. Here they are
kept, and ``conftest.py`` fails the test in which they happened.
"""

from __future__ import annotations

import sys
import traceback

import vtk

_caught: list[str] = []
_keep: list[object] = []


def record(text: str) -> None:
    """Keeps one failure of the running test."""
    _caught.append(text)


def record_exception(where: str) -> None:
    """Keeps the exception being handled."""
    record(f"{where}\n{traceback.format_exc()}")


def take() -> list[str]:
    """The failures since the last call."""
    found = list(_caught)
    _caught.clear()
    return found


def watch() -> None:
    """Begins to listen: uncaught exceptions (Qt's virtual functions, VTK's observers) and VTK's and MRML's errors."""

    def excepthook(kind: type[BaseException], error: BaseException, trace: object) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)  # type: ignore[arg-type]
            return
        record("uncaught\n" + "".join(traceback.format_exception(error)))

    @vtk.calldata_type(vtk.VTK_STRING)
    def on_error(_caller: object, _event: str, text: str) -> None:
        record(f"VTK error\n{text}")

    sys.excepthook = excepthook
    sys.unraisablehook = lambda problem: record(f"unraisable in {problem.object!r}\n{problem.exc_value!r}")
    window = vtk.vtkOutputWindow.GetInstance()
    window.AddObserver("ErrorEvent", on_error)
    # The observers still fire; without this every warning is printed twice.
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    _keep.append((window, on_error))
