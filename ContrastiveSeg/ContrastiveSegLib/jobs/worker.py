"""The warm worker: jobs as JSON lines on stdin, events as JSON lines on stdout, until stdin closes.

Requests::

    {"id": "7", "job": {"kind": "segment", "checkpoint": "...", ...}}
    {"cancel": "7"}

Every event carries the "id" of its job; a job ends with exactly one "result" or "error" event. Jobs run one after the
other. torch, MONAI and the last network stay loaded between jobs, so a second job pays for computing only.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import traceback
from typing import Any, TextIO

from .. import __version__, events
from ..descriptions import JOBS, Job
from ..errors import ContrastiveSegError, InputError
from ..records import from_json
from .run import run


def work(requests: TextIO, answers: TextIO) -> int:
    """Serve ``requests`` until it ends; returns the exit code 0. A running job is then cancelled."""
    lock = threading.Lock()
    waiting: queue.Queue[tuple[str, Job] | None] = queue.Queue()
    cancelled: set[str] = set()

    def say(identifier: str | None, event: events.Event) -> None:
        with lock:
            answers.write(json.dumps({"id": identifier, **event}) + "\n")
            answers.flush()

    def listen() -> None:
        for line in requests:
            if line.strip():
                identifier: str | None = None
                try:
                    identifier, job = _read(line)
                    if job is None:
                        cancelled.add(identifier)
                    else:
                        cancelled.discard(identifier)
                        waiting.put((identifier, job_from(job)))
                except ContrastiveSegError as problem:
                    say(identifier, events.error(str(problem), problem.exit_code))
        closed.set()
        waiting.put(None)

    closed = threading.Event()
    threading.Thread(target=listen, daemon=True).start()
    say(None, {"event": "ready", "version": __version__})
    while (request := waiting.get()) is not None:
        identifier, job = request
        _serve(job, lambda e, i=identifier: say(i, e), lambda i=identifier: i in cancelled or closed.is_set())  # type: ignore[misc]
    return 0


def _serve(job: Job, say: events.Emit, cancelled: events.Cancelled) -> None:
    try:
        say(events.result(run(job, say, cancelled)))
    except ContrastiveSegError as problem:
        say(events.error(str(problem), problem.exit_code))
    except Exception as problem:  # a worker outlives any failure of a job; the trace goes to its log
        traceback.print_exc(file=sys.stderr)
        say(events.error(f"Unexpected {type(problem).__name__}: {problem}. See the log.", 1))


def _read(line: str) -> tuple[str, dict[str, Any] | None]:
    """A request: (id, job as JSON), or (id, None) to cancel."""
    try:
        data: Any = json.loads(line)
    except ValueError as problem:
        raise InputError(f"A request must be one JSON object a line; this is not: {line[:80]!r}.") from problem
    if isinstance(data, dict) and isinstance(data.get("cancel"), str):
        return data["cancel"], None
    if not (isinstance(data, dict) and isinstance(data.get("id"), str) and isinstance(data.get("job"), dict)):
        raise InputError('A request is {"id": "...", "job": {"kind": ...}} or {"cancel": "..."}.')
    return data["id"], data["job"]


def job_from(data: dict[str, Any]) -> Job:
    """A job from its JSON form with "kind".

    Raises:
        InputError: unknown kind or key, missing key, or a value of the wrong type.
    """
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in JOBS:
        raise InputError(f"There is no job {kind!r}. There are: {', '.join(JOBS)}.")
    return from_json(JOBS[kind], {k: v for k, v in data.items() if k != "kind"}, kind)
