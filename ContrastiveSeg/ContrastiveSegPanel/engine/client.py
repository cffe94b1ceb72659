"""The engine's warm worker as the panel sees it: submit a job and get its events, cancel it, stop everything.

The worker is a process of its own (``PythonSlicer -m contrastiveseg worker``), so that Slicer survives whatever
happens in it. Requests and answers are described in ``contrastiveseg.events`` and ``contrastiveseg.jobs.worker``.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg import events
from contrastiveseg.descriptions import Job
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.results import result_from_json
from contrastiveseg.serialization import to_json

from ..signal import Signal
from ..timer import single_shot
from .deliveries import Deliveries
from .process import LineProcess
from .python_slicer import python_environment, python_slicer


@dataclass
class _Request:
    """A job or query that has not got its end yet.

    Attributes:
        kind: of the job; None for a query.
    """

    line: str
    on_event: Callable[[events.Event], None]
    kind: str | None
    timer: Any
    started: bool = False
    cancelled: bool = False
    ended: bool = False


class EngineClient:
    """Jobs go in, events come out, from the event loop. Several workers may run beside one another.

    Events come at most 20 times a second, then in a row. Of progress only the newest is delivered; nothing else is left
    out.

    Attributes:
        log_line: emitted with every line that the engine and its libraries print.
    """

    #: Seconds a cancelled job, or a stopped worker, has to end by itself before its processes are killed.
    GRACE = 10.0
    #: Seconds it has when Slicer quits.
    QUIT = 3.0

    def __init__(self, python: str | None = None, low_priority: bool = False) -> None:
        self.log_line = Signal()
        self._program = python or python_slicer()
        self._arguments = ["-m", "contrastiveseg", "worker", *(["--low-priority"] if low_priority else [])]
        self._process: LineProcess | None = None
        #: Processes that were stopped and still live, and what waits for which of them to be gone.
        self._ending: set[LineProcess] = set()
        self._stopped: list[tuple[set[LineProcess], Callable[[], None]]] = []
        self._ready = False
        self._numbers = itertools.count(1)
        self._open: dict[str, _Request] = {}
        self._last_lines: deque[str] = deque(maxlen=10)
        self._deliveries = Deliveries(self._give)

    @property
    def running(self) -> bool:
        """Whether there is a process, ready or about to be."""
        return self._process is not None

    @property
    def busy(self) -> bool:
        """Whether a job is waiting for its end."""
        return any(request.kind is not None for request in self._open.values())

    def start(self) -> None:
        """Start the process, if there is none, and let it load its libraries, so that the first job need not."""
        if not self.running:
            self.load_libraries()

    def load_libraries(self) -> None:
        """Let the process load what segmenting and previewing need; jobs wait until that is done, which they would have
        to do themselves otherwise."""
        self.query("libraries", lambda value: None)

    def submit(self, job: Job, on_event: Callable[[events.Event], None], host: Mapping[str, Any] | None = None) -> str:
        """Ask for ``job``, here or on another machine (``host``: its name, and how the engine is called there);
        returns its id.

        ``on_event`` gets its events, of which exactly one, the last, is a ``Result`` (with a value of the job's class
        in :mod:`contrastiveseg.results`) or an ``Error``; an ``Error`` comes also when the worker cannot start, dies or
        is stopped. It is never called from here.
        """
        where = {} if host is None else {"host": dict(host)}
        return self._request({"job": {"kind": job.kind, **to_json(job)}, **where}, on_event, job.kind)

    def query(self, name: str, on_result: Callable[[Any], None]) -> None:
        """Ask the engine what it knows ("methods", "devices", "libraries"). A failure goes to the log only."""

        def answer(event: events.Event) -> None:
            if isinstance(event, events.Result):
                on_result(event.value)
            elif isinstance(event, events.Error) and event.exit_code != Cancelled.exit_code:
                self.log_line.emit(event.what)

        self._request({"query": name}, answer, None)

    def ask_host(self, host: Mapping[str, Any], on_answer: Callable[[str], None]) -> None:
        """Ask another machine whether it can do jobs; ``on_answer`` gets what is wrong, or ""."""

        def answer(event: events.Event) -> None:
            if isinstance(event, events.Result | events.Error):
                on_answer(event.what if isinstance(event, events.Error) else "")

        self._request({"host": dict(host)}, answer, None)

    def cancel(self, identifier: str) -> None:
        """Ask a job to end; if it has not after ``GRACE`` seconds, its processes are killed."""
        request = self._open.get(identifier)
        if request is None or request.cancelled or request.ended:
            return
        request.cancelled = True
        self._write(json.dumps({"cancel": identifier}))
        if request.started:
            request.timer.start(int(1000 * self.GRACE))
        else:
            # It waits behind another one, which must not be killed for its sake.
            self._end(request, _("Cancelled."), Cancelled.exit_code)
            self._deliveries.deliver_later()

    def stop(self, on_stopped: Callable[[], None] = lambda: None) -> None:
        """End the process, in any case within ``GRACE`` seconds; open jobs get their "error" before this returns.

        ``on_stopped`` is called when the process is gone and writes no more, and so are those that were stopped before;
        at once if there is none. The worker may be used again right away, by another process.
        """
        # First of all: a listener of the end may submit the next job, or stop once more.
        process = self._forget_process()
        if process is not None:
            self._ending.add(process)
            process.end(self.GRACE, partial(self._gone, process))
        for request in self._open.values():
            self._end(request, _("The engine was stopped."), Cancelled.exit_code)
        self._deliveries.deliver_all()
        self._stopped.append((set(self._ending), on_stopped))
        self._call_stopped()

    # The process

    def _launch(self) -> None:
        """A process, if there is none. Requests wait until it is ready."""
        if self._process is None:
            self._last_lines.clear()
            self._process = LineProcess(
                self._program,
                self._arguments,
                python_environment(),
                self._on_output,
                self._log,
                self._died,
                self.QUIT,
            )

    def _write(self, line: str) -> None:
        """To the process, once it is ready; what is open by then is written when it is."""
        if self._process is not None and self._ready:
            self._process.write(line)

    def _forget_process(self) -> LineProcess | None:
        process, self._process, self._ready = self._process, None, False
        return process

    def _gone(self, process: LineProcess) -> None:
        self._ending.discard(process)
        self._call_stopped()

    def _call_stopped(self) -> None:
        ready = [on_stopped for awaited, on_stopped in self._stopped if not awaited & self._ending]
        self._stopped = [waiting for waiting in self._stopped if waiting[0] & self._ending]
        for on_stopped in ready:
            on_stopped()

    def _died(self, code: int | None, how: str) -> None:
        self._forget_process()
        what = _("The engine ({program}) {how}. The next job starts it afresh.").format(program=self._program, how=how)
        if self._last_lines:
            what += " " + _("Its last output:") + "\n" + "\n".join(self._last_lines)
        if not self._open:
            self._deliveries.add(None, what)
        was_killed = any(request.cancelled and not request.ended for request in self._open.values())
        for request in self._open.values():
            if request.cancelled:
                self._end(request, _("Cancelled; the engine had to be ended."), Cancelled.exit_code)
            elif not was_killed or request.started:
                self._end(request, what, 1)
        # What waited behind a job that would not end is served by the next process.
        if any(not request.ended for request in self._open.values()):
            self._launch()
        self._deliveries.deliver_later()

    # Requests

    def _request(self, content: dict[str, Any], on_event: Callable[[events.Event], None], kind: str | None) -> str:
        identifier = str(next(self._numbers))
        line = json.dumps({"id": identifier, **content})
        self._open[identifier] = _Request(line, on_event, kind, single_shot(self._kill))
        self._launch()
        self._write(line)
        return identifier

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _end(self, request: _Request, what: str, exit_code: int) -> None:
        """End a request that the worker has not ended itself."""
        if not request.ended:
            request.ended = True
            self._deliveries.add(request, events.Error(what, exit_code))

    # What comes back

    def _log(self, lines: list[str]) -> None:
        self._last_lines.extend(lines)
        for line in lines:
            self._deliveries.add(None, line)
        self._deliveries.deliver_soon()

    def _on_output(self, lines: list[str]) -> None:
        ended = False
        for line in lines:
            try:
                identifier, event = _parse(line)
                request = self._open.get(identifier) if identifier is not None else None
            except (ValueError, TypeError, KeyError, AttributeError, InputError):
                self._log([line])
                continue
            if isinstance(event, events.Ready) and self._process is not None:
                self._process.group = event.pid
                self._begin()
            elif request is None or request.ended:
                if identifier is None:
                    self._log([event.what if isinstance(event, events.Error) else line])
            else:
                self._accept(request, event)
                ended = ended or request.ended
        self._deliveries.deliver_soon(ended)

    def _begin(self) -> None:
        """Write what was asked for before the worker was ready."""
        self._ready = True
        for waiting in self._open.values():
            if not waiting.ended:
                self._write(waiting.line)

    def _accept(self, request: _Request, event: events.Event) -> None:
        request.started = True
        if isinstance(event, events.Result) and request.kind is not None:
            event = _typed(event, request.kind)
        request.ended = isinstance(event, events.Result | events.Error)
        self._deliveries.add(request, event)

    def _give(self, request: _Request | None, content: Any) -> None:
        """Hand an event of a request on, or (without one) a line for the log."""
        try:
            if request is None:
                self.log_line.emit(content)
                return
            if isinstance(content, events.Result | events.Error):
                request.timer.stop()
                self._open = {i: r for i, r in self._open.items() if r is not request}
            request.on_event(content)
        except Exception:
            # An exception in one listener must not keep the others from their events.
            sys.excepthook(*sys.exc_info())


def _parse(line: str) -> tuple[str | None, events.Event]:
    """The id of the request that an answer of the worker belongs to (None: to none), and its event."""
    data = json.loads(line)
    return data.pop("id"), events.from_json(data)


def _typed(result: events.Result, kind: str) -> events.Result | events.Error:
    """The result of a job of ``kind`` with a value of its class in :mod:`contrastiveseg.results`."""
    try:
        return events.Result(result_from_json(kind, result.value))
    except InputError as problem:
        return events.Error(str(problem), 1)
