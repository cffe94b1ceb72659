"""Running a job and waiting for its end, for scripts and tests; the panel itself never waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from contrastiveseg import events
from contrastiveseg.descriptions import Job
from contrastiveseg.errors import Cancelled, ContrastiveSegError, InputError

from .client import EngineClient


def run_blocking(worker: EngineClient, job: Job, on_event: Callable[[events.Event], None] | None = None) -> Any:
    """The result of ``job``, see :mod:`contrastiveseg.results`.

    Slicer's event loop turns meanwhile, so its windows are drawn and clicks are taken.

    Raises:
        InputError: something given cannot be used.
        Cancelled: the job was cancelled, the worker stopped or Slicer closed.
        ContrastiveSegError: any other failure; or the worker is busy with another job, which one that waits inside its
            event loop would keep from its events.
    """
    if worker.busy:
        raise ContrastiveSegError(_("The engine is busy with another job. Wait for its end or cancel it."))
    loop = qt.QEventLoop()
    ends: list[events.Result | events.Error] = []

    def watch(event: events.Event) -> None:
        if on_event is not None:
            on_event(event)
        if isinstance(event, events.Result | events.Error):
            ends.append(event)
            loop.quit()

    identifier = worker.submit(job, watch)
    loop.exec_()
    if not ends:
        worker.cancel(identifier)
        raise Cancelled(_("Slicer was closed before the job had ended."))
    end = ends[0]
    if isinstance(end, events.Error):
        kinds: dict[int, type[ContrastiveSegError]] = {kind.exit_code: kind for kind in (InputError, Cancelled)}
        raise kinds.get(end.exit_code, ContrastiveSegError)(end.what)
    return end.value
