"""The lines that a process writes to a file, read while it writes them, and how its job ended."""

from __future__ import annotations

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
        if path.exists():
            with path.open("rb") as file:
                file.seek(position)
                for line in file:
                    if not line.endswith(b"\n"):  # half-written
                        break
                    position += len(line)
                    yield line
        if last:
            return
        time.sleep(_LOOK)


def result_of(kind: str, last: Mapping[str, Any]) -> JobResult:
    """The result of a job of this ``kind`` from its ``last`` event, as JSON; raises what the job has raised."""
    if last.get("event") == "result":
        return result_from_json(kind, last["value"])
    what, code = str(last.get("what", "")), last.get("exit_code")
    raised = {Cancelled.exit_code: Cancelled, InputError.exit_code: InputError}.get(code or 1, ContrastiveSegError)
    raise raised(what)
