"""How a process starts another that runs the same contrastiveseg."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def command(words: Sequence[str], processes: int = 1) -> list[str]:
    """The command line of contrastiveseg with ``words``, in this Python, in so many ``processes``."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, *several, "-m", "contrastiveseg", *words]


def python_path() -> str:
    """The PYTHONPATH it needs: the package may lie where only this process has found it, as in Slicer's folder of an
    extension."""
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    package = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([package, *(path for path in given if path != package)])
