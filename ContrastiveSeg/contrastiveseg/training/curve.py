"""The curve of a run: one JSON object a line, in a file beside the checkpoint."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from .. import events
from ..files import write_text
from .run import Run


def metrics_path(output: Path) -> Path:
    """The curve beside a checkpoint."""
    return output.with_name(output.name + ".metrics.jsonl")


def open_curve(run: Run, step: int, main: bool) -> Curve:
    """The metrics file of ``run``, which goes on at ``step``; lines from there on are dropped.

    Only the ``main`` process of a run with an output writes one.
    """
    if not (main and run.output):
        return Curve(None, run.emit)
    path = metrics_path(run.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_metrics(path, step)
    return Curve(open(path, "a", encoding="utf-8"), run.emit)


class Curve:
    """The metrics file. When writing to it fails, the user is warned once, and nothing more is written."""

    def __init__(self, file: TextIO | None, emit: events.Emit) -> None:
        self.file, self.emit = file, emit

    def add(self, line: dict) -> None:
        """Write one line, on disk at once."""
        if not self.file:
            return
        try:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        except OSError as problem:
            self.emit(events.warning(f"{self.file.name} ends here: {problem.strerror or problem}. Training goes on."))
            self.close()

    def close(self) -> None:
        if self.file:
            with suppress(OSError):  # it would write what it could not
                self.file.close()
        self.file = None


def cut_metrics(path: Path, step: int) -> None:
    """Drop the lines from ``step`` on: the resumed run writes them again."""
    if path.exists():
        # A last line without line break was cut short when the run was killed.
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        write_text(path, "".join(line + "\n" for line in lines if json.loads(line)["step"] < step))
