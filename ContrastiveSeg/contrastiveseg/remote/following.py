"""The lines that a process writes to a file, read while it writes them, and how its job ended."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import Cancelled, ContrastiveSegError, InputError
from ..results import JobResult, result_from_json

#: So often new lines are looked for, in seconds.
_LOOK = 0.1


def lines(path: Path, going_on: Callable[[], bool], gone: Callable[[], bool]) -> Iterator[bytes]:
    """The whole lines of ``path``, until nothing is ``going_on`` that writes it and all are read, or the reader is
    ``gone``. The file need not be there yet, and is opened anew at each look, as network file systems want it.
    """
    position = 0
    while not gone():
        # Looked at before reading: what is written before the end is then read.
        last = not going_on()
        for line in _whole_lines(path, position):
            position += len(line)
            yield line
        if last:
            return
        time.sleep(_LOOK)


def _whole_lines(path: Path, position: int) -> Iterator[bytes]:
    """The lines of ``path`` from ``position`` on, up to one that is half-written."""
    if path.exists():
        with path.open("rb") as file:
            file.seek(position)
            yield from itertools.takewhile(lambda line: line.endswith(b"\n"), file)


def result_of(kind: str, last: Mapping[str, Any]) -> JobResult:
    """The result of a job of this ``kind`` from its ``last`` event, as JSON; raises what the job has raised."""
    if last.get("event") == "result":
        return result_from_json(kind, last["value"])
    what, code = str(last.get("what", "")), last.get("exit_code")
    raised = {Cancelled.exit_code: Cancelled, InputError.exit_code: InputError}.get(code or 1, ContrastiveSegError)
    raise raised(what)
