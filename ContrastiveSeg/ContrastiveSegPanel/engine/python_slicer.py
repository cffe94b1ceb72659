"""The Python that runs beside Slicer, and its environment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

#: The folder that holds contrastiveseg, from where the worker's Python is to import it.
_MODULE_FOLDER = Path(__file__).resolve().parents[2]


def python_slicer() -> str:
    """The Python to run things in beside Slicer: PythonSlicer, or this very Python where there is none."""
    return shutil.which("PythonSlicer") or sys.executable


def python_environment() -> dict[str, str]:
    """What is set for a Python beside Slicer: to find the engine, write at once and in UTF-8, spare others."""
    path = [str(_MODULE_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        # Files that happen to lie in the folder in which Slicer was started are no modules of ours.
        "PYTHONSAFEPATH": "1",
        **_waiting(),
    }


def _waiting() -> dict[str, str]:
    """How long OpenMP's threads spin for one another before they sleep, unless the user has chosen.

    One process trains, one segments, and Slicer draws: threads that spin for long, as they do by default, keep the
    others' from the very processors that they wait for. Threads that never spin take a quarter more time a step
    (Testing/benchmarks/beside_training.py).
    """
    if "OMP_WAIT_POLICY" in os.environ:
        return {}
    # GNU's counts turns, a few dozen microseconds; Intel's and LLVM's milliseconds, 200 by default.
    return {name: os.environ.get(name, value) for name, value in (("GOMP_SPINCOUNT", "10000"), ("KMP_BLOCKTIME", "1"))}
