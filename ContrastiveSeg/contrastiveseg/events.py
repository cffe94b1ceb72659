"""What running work tells its watcher: one flat JSON object per event, drawn by the terminal, the panel or a log.

=========  ======================================================================
kind       fields
=========  ======================================================================
stage      name
progress   done, total, seconds_left (None while unknown), unit
metric     name, step, value
log        text, level ("info" or "warning")
result     what the job returned, as JSON
error      what, exit_code
=========  ======================================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Emit = Callable[[Event], None]
Cancelled = Callable[[], bool]


def silent(event: Event) -> None:
    """An ``Emit`` for callers that do not watch."""


def never() -> bool:
    """A ``Cancelled`` for callers that never cancel."""
    return False


def stage(name: str) -> Event:
    return {"event": "stage", "name": name}


def metric(name: str, step: int, value: float) -> Event:
    return {"event": "metric", "name": name, "step": step, "value": value}


def log(text: str) -> Event:
    return {"event": "log", "level": "info", "text": text}


def warning(text: str) -> Event:
    return {"event": "log", "level": "warning", "text": text}


def result(value: Any) -> Event:
    return {"event": "result", "value": value}


def error(what: str, exit_code: int) -> Event:
    return {"event": "error", "what": what, "exit_code": exit_code}


class Progress:
    """Emits ``progress`` events with the time left, estimated from the pace since it was made."""

    def __init__(self, emit: Emit, total: float, unit: str, done: float = 0) -> None:
        self.emit, self.total, self.unit = emit, total, unit
        self._first, self._start = done, time.monotonic()

    def __call__(self, done: float) -> None:
        elapsed, gained = time.monotonic() - self._start, done - self._first
        left = elapsed / gained * (self.total - done) if gained > 0 else None
        self.emit({"event": "progress", "done": done, "total": self.total, "seconds_left": left, "unit": self.unit})
