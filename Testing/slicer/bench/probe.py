"""Whether the bench can start on this machine; as a program, it says why not and fails.

Qt ends the process where a library of its platform plugin is missing, so that is tried in another one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# What PySide6's libraries and its offscreen plugin are linked with, and fonts, without which texts are boxes.
APT = ("libegl1", "libgl1", "libxkbcommon0", "libfontconfig1", "libdbus-1-3", "libglib2.0-0", "fonts-dejavu-core")
_QT = "from PySide6 import QtUiTools; from PySide6.QtWidgets import QApplication; QApplication([])"


def why_not() -> str | None:
    """In words for a skipped test; None where the bench can start. Qt draws to memory from here on."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    try:
        _import_slicer()
    except Exception as error:
        return f"slicer-core does not load here: {error}"
    tried = subprocess.run([sys.executable, "-c", _QT], capture_output=True, text=True, check=False)
    if tried.returncode:
        said = " ".join(tried.stderr.split()) or f"it ended with {tried.returncode}"
        hint = f"; on Debian and Ubuntu: apt-get install {' '.join(APT)}" if sys.platform == "linux" else ""
        return f"Qt does not start here: {said}{hint}"
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


if __name__ == "__main__":
    sys.exit(why_not())
