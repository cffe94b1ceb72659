"""A worker that is started while Slicer is idle, so that the first job does not wait for the engine's libraries.

Only for users who work with the module: a month after they have last opened it nothing is started any more.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import partial
from typing import Any

import slicer

from .. import settings
from ..timer import single_shot
from . import client
from .requirements import missing

_OPENED = "LastOpened"
_DAYS = 31
#: After Slicer's start, which is not to be slowed down.
_AFTER_MS = 4000
#: After that, for what the panel needs in Slicer itself.
_THEN_MS = 1000
#: How long a worker waits for the panel to be opened, before it gives its memory back.
_KEPT_MS = 15 * 60 * 1000

#: The worker that waits for the panel, and the timers of what comes next.
_worker: client.EngineClient | None = None
_timer: Any = None
_then_timer: Any = None


def remember_opening() -> None:
    """The user comes to the module."""
    settings.set_text(_OPENED, datetime.date.today().isoformat())


def start_soon(then: Callable[[], object]) -> None:
    """Start a worker a little later, if the user is likely to want it; for Slicer's ``startupCompleted()``.

    Not in tests and not in batches, which have no main window.

    Args:
        then: called a little after that, for what else would keep the user waiting.
    """
    global _timer
    if _opened_lately() and slicer.util.mainWindow() is not None and not slicer.app.testingEnabled():
        _timer = single_shot(partial(_start, then))
        _timer.start(_AFTER_MS)


def take() -> client.EngineClient:
    """The worker that was started early, or else a new one, which starts when it is first needed."""
    global _worker, _timer
    taken, _worker, _timer = _worker or client.EngineClient(), None, None
    return taken


def _start(then: Callable[[], object]) -> None:
    global _worker, _timer, _then_timer
    _then_timer = single_shot(then)
    _then_timer.start(_THEN_MS)
    if missing():
        return
    _worker = client.EngineClient()
    _worker.start()
    _timer = single_shot(_end)
    _timer.start(_KEPT_MS)


def _end() -> None:
    take().stop()


def _opened_lately() -> bool:
    try:
        opened = datetime.date.fromisoformat(settings.text(_OPENED))
    except ValueError:
        return False
    return (datetime.date.today() - opened).days <= _DAYS
