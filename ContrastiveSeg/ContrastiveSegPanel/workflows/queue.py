"""Jobs for the session's second process: one runs at a time, the others wait in an order that the user can change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..signal import Signal
from ..timer import single_shot

#: Ended jobs that stay in the list, for the user to read how they ended.
_REMEMBERED = 20


def _nothing() -> None:
    """For what need not be done."""


@dataclass(eq=False)
class Entry:
    """A job in the queue.

    Attributes:
        title: what it is, for the user.
        begin: starts it; whoever adds the job calls :meth:`Queue.end` at its end.
        cancel: asks it to stop while it runs. drop: removes what was prepared, when it will not begin.
        output: the checkpoint that it writes, None for another job.
        ready: whether its files are written, so that it can begin.
        state: "waiting", "running", "done", "failed" or "cancelled".
    """

    title: str
    begin: Callable[[], None] = _nothing
    cancel: Callable[[], None] = _nothing
    drop: Callable[[], None] = _nothing
    output: Path | None = None
    ready: bool = True
    state: str = "waiting"


class Queue:
    """The jobs in the order in which they begin; those that have ended stand before the others.

    Attributes:
        changed: signal after any change.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.changed = Signal()
        self._timer = single_shot(self._begin_next)
        self._closed = False

    @property
    def running(self) -> Entry | None:
        return next((entry for entry in self.entries if entry.state == "running"), None)

    @property
    def waiting(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.state == "waiting"]

    @property
    def busy(self) -> bool:
        """Whether a job runs or is about to."""
        return self.running is not None or bool(self.waiting)

    def add(self, entry: Entry) -> None:
        """Put a job at the end of the queue; it begins at once if nothing runs or waits."""
        at_once = not self.busy
        self.entries.append(entry)
        if at_once:
            self._begin_next()
        else:
            self.changed.emit()

    def make_ready(self, entry: Entry) -> None:
        """The files of a waiting job are written."""
        entry.ready = True
        self._timer.start(0)

    def end(self, entry: Entry, state: str) -> None:
        """A job has ended ("done", "failed" or "cancelled"): soon the next one begins, however this one did."""
        entry.state = state
        ended = [e for e in self.entries if e.state not in ("waiting", "running")]
        left = [e for e in self.entries if e not in ended]
        self.entries = [*ended[-_REMEMBERED:], *left]
        self._timer.start(0)
        self.changed.emit()

    def move(self, entry: Entry, by: int) -> None:
        """Move a waiting job by so many places among those that wait."""
        waiting = self.waiting
        if entry in waiting:
            place = max(0, min(waiting.index(entry) + by, len(waiting) - 1))
            waiting.remove(entry)
            waiting.insert(place, entry)
            self.entries = [*(e for e in self.entries if e.state != "waiting"), *waiting]
            self.changed.emit()

    def cancel(self, entry: Entry) -> None:
        """Stop a running job, or take a waiting one out of the queue."""
        if entry.state == "running":
            entry.cancel()
        elif entry.state == "waiting":
            entry.drop()
            self.end(entry, "cancelled")

    def close(self) -> None:
        """Begin nothing any more: jobs that run still end."""
        self._closed = True

    def _begin_next(self) -> None:
        entry = next((entry for entry in self.waiting if entry.ready), None)
        if self.running is None and entry is not None and not self._closed:
            entry.state = "running"
            self.changed.emit()
            entry.begin()
