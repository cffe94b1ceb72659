"""The warm worker: jobs as JSON lines on stdin, events as JSON lines on stdout, until stdin closes.

Requests::

    {"id": "7", "job": {"kind": "segment", "checkpoint": "...", ...}}
    {"id": "8", "query": "methods"}
    {"id": "9", "job": {...}, "host": {"name": "me@box", "command": "contrastiveseg"}}
    {"id": "10", "host": {"name": "me@box"}}
    {"cancel": "7"}

The first event is "ready", with the version and the process's id. Every further event carries the "id" of its job or
query, which ends with exactly one "result" or "error" event. They are answered one after the other, in order. torch
and the last network stay loaded between jobs, so a second job pays for computing only. A job with a "host" is done on
that machine; a host alone is asked whether it could do one. A training there goes on when stdin closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from .. import __version__, events
from ..descriptions import JOBS, Job
from ..errors import Cancelled, ContrastiveSegError, InputError, system_refusals
from ..printable import printable_trace, quoted
from ..serialization import from_json
from .answers import Answers
from .interrupt import interruptible
from .queries import QUERIES
from .run import run

#: Does what a request asks for.
Doing = Callable[[events.Emit, events.CancelCheck], Any]
#: Does a job on the machine of a "host", or asks that machine (None); the last says whether nobody listens any more.
OnHost = Callable[[Mapping[str, Any], Job | None, events.Emit, events.CancelCheck, events.CancelCheck], Any]


def work(requests: TextIO, answers: TextIO, on_host: OnHost) -> int:
    """Serve ``requests`` until it ends or the process is interrupted; what runs or waits is then cancelled.

    An answer that nobody reads holds a job up, but neither hearing nor the end: the process then ends without it.

    Args:
        on_host: does what other machines are to do.

    Returns:
        the exit code: 0, or 130 when interrupted.
    """
    # A SimpleQueue may be put to from a signal handler, whatever the main thread is doing with it.
    waiting: queue.SimpleQueue[tuple[str, Doing] | None] = queue.SimpleQueue()
    cancelled: set[str] = set()
    closed, interrupted = threading.Event(), threading.Event()

    def close() -> None:
        closed.set()
        waiting.put(None)

    lines = Answers(answers, closed, close)

    def say(identifier: str | None, event: events.Event, *, wait: bool = True) -> None:
        lines.put(json.dumps({"id": identifier, **events.to_json(event)}) + "\n", wait=wait)

    def take(line: str) -> None:
        identifier: str | None = None
        with _failures_reported(lambda event: say(identifier, event, wait=False)):
            identifier, request = _read(line)
            if request is None:
                cancelled.add(identifier)
            else:
                cancelled.discard(identifier)
                waiting.put((identifier, _doing(request, on_host, closed.is_set)))

    def listen() -> None:
        try:
            for line in requests:
                if line.strip():
                    take(line)
        finally:  # a worker that no longer hears would live for ever
            close()

    def interrupt() -> None:
        interrupted.set()
        close()

    threading.Thread(target=listen, daemon=True).start()
    try:
        with interruptible(interrupt):
            say(None, events.Ready(__version__, os.getpid()))
            _start_reader()
            while (request := waiting.get()) is not None:
                identifier, do = request
                _serve(do, lambda e, i=identifier: say(i, e), lambda i=identifier: i in cancelled or closed.is_set())  # type: ignore[misc]
    finally:
        code = Cancelled.exit_code if interrupted.is_set() else 0
        if not lines.finish():  # Python's own end would wait for the pipe that nobody reads
            os._exit(code)
    return code


def _start_reader() -> None:
    """The panel's volumes come as files that the reader's process reads; it is ready by the time of the first job."""
    from ..volumes.reader_process import start_reader

    start_reader()


def lead_own_group() -> None:
    """Make this process the leader of a process group (POSIX), so that it can be ended with all it started.

    At a terminal it stays where it is: only the foreground group may read from there, and Ctrl+C goes to that.
    """
    if hasattr(os, "setpgid") and not sys.stdin.isatty():
        with contextlib.suppress(OSError):  # the leader of a session leads a group already
            os.setpgid(0, 0)


def give_way() -> None:
    """Lower this process's priority, and that of what it starts: others compute first."""
    if sys.platform == "win32":
        import ctypes

        this_process, below_normal = ctypes.c_void_p(-1), 0x4000
        ctypes.windll.kernel32.SetPriorityClass(this_process, below_normal)
    else:
        os.nice(10)


def _serve(do: Doing, say: events.Emit, cancelled: events.CancelCheck) -> None:
    with _failures_reported(say):
        if cancelled():
            raise Cancelled("Stopped before it began.")
        say(events.Result(do(say, cancelled)))


@contextlib.contextmanager
def _failures_reported(say: events.Emit) -> Iterator[None]:
    """Whatever fails inside becomes an error event."""
    try:
        with system_refusals():
            yield
    except ContrastiveSegError as problem:
        say(events.Error(str(problem), problem.exit_code))
    except Exception as problem:  # a worker outlives any failure; the trace goes to its log
        print(printable_trace(), file=sys.stderr)
        say(events.Error(f"Unexpected {type(problem).__name__}: {problem}. See the log.", 1))


def _read(line: str) -> tuple[str, dict[str, Any] | None]:
    """A request: its id and what it holds, None for one to cancel."""
    try:
        data: Any = json.loads(line)
    except (ValueError, RecursionError) as problem:  # the latter from brackets in brackets in brackets
        raise InputError(f"A request must be one JSON object a line; this is not: {line[:80]!r}.") from problem
    if isinstance(data, dict) and isinstance(data.get("cancel"), str):
        return data["cancel"], None
    wanted = {"job": dict, "query": str, "host": dict}
    if (
        isinstance(data, dict)
        and isinstance(data.get("id"), str)
        and isinstance(data.get("host", {}), dict)
        and any(isinstance(data.get(name), kind) for name, kind in wanted.items())
    ):
        return data["id"], data
    raise InputError(
        'A request is {"id": "...", "job": {"kind": ...}}, {"id": "...", "query": "methods"} or {"cancel": "..."}.'
    )


def _doing(request: dict[str, Any], on_host: OnHost, closed: events.CancelCheck) -> Doing:
    """What answers a job, a query or a host; refuses those there are not."""
    job = job_from(request["job"]) if isinstance(request.get("job"), dict) else None
    if isinstance(host := request.get("host"), dict):
        return lambda emit, cancelled: on_host(host, job, emit, cancelled, closed)
    if job is not None:
        return lambda emit, cancelled: run(job, emit, cancelled)
    query = request["query"]
    if query not in QUERIES:
        raise InputError(f"There is no query {quoted(query)}. There are: {', '.join(QUERIES)}.")
    answer = QUERIES[query]
    return lambda emit, cancelled: answer()


def job_from(data: dict[str, Any]) -> Job:
    """A job from its JSON form with "kind".

    Raises:
        InputError: unknown kind or key, missing key, or a value of the wrong type.
    """
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in JOBS:
        raise InputError(f"There is no job {quoted(kind)}. There are: {', '.join(JOBS)}.")
    return from_json(JOBS[kind], {k: v for k, v in data.items() if k != "kind"}, kind)
