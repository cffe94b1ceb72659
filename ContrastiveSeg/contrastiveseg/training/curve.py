"""The curve of a run: one JSON object a line, in a file beside the checkpoint."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from .. import events
from ..files import replacing
from .beside import metrics_path
from .run import Run


def open_curve(run: Run, step: int, validated: int, main: bool) -> Curve:
    """The metrics file of ``run``, which goes on at ``step`` after ``validated`` validations; lines of later ones are
    dropped, and what is damaged.

    The curve of another run is put aside. Only the ``main`` process of a run with an output writes one.
    """
    if not (main and run.output):
        return Curve(None, run.emit)
    path = metrics_path(run.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not run.resume and not run.replace_curve and path.is_file() and path.stat().st_size:
        run.emit(events.log(put_aside(path)))
    if damaged := cut_metrics(path, step, validated):
        run.emit(events.warning(f"{path} was damaged: {damaged} of its lines cannot be read and are left out."))
    return Curve(open(path, "a", encoding="utf-8"), run.emit)


def put_aside(path: Path) -> str:
    """Rename the curve of an earlier run to the first of OUTPUT.metrics.1.jsonl, OUTPUT.metrics.2.jsonl, ... that is
    free; returns a sentence for the log."""
    beginning = path.name.removesuffix(path.suffix)
    free = next(
        other for n in itertools.count(1) if not (other := path.with_name(f"{beginning}.{n}{path.suffix}")).exists()
    )
    path.rename(free)
    return f"{path} is the curve of an earlier run. It is kept as {free.name}."


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


def cut_metrics(path: Path, step: int, validated: int) -> int:
    """Drop the lines from ``step`` on, and of validations but the first ``validated``: the resumed run writes them
    again. Returns how many others are damaged.
    """
    if not path.exists():
        return 0
    # A last line without line break was cut short when the run was killed.
    lines = path.read_bytes().split(b"\n")[:-1]
    steps = [_step_of(line) for line in lines]
    kept = [line for line, at in zip(lines, steps, strict=True) if at is not None and at < step]
    later = [place for place, line in enumerate(kept) if b"validation_dice" in line][validated:]
    kept = [line for place, line in enumerate(kept) if place not in later]
    with replacing(path) as temporary:
        temporary.write_bytes(b"".join(line + b"\n" for line in kept))
    return steps.count(None)


def _step_of(line: bytes) -> int | None:
    """The step of a line of the curve; None where it is not whole."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None
