"""Segmenting volumes of the scene on the session's second process, when the jobs before it have ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.errors import InputError
from contrastiveseg.results import Failure, QualityCase

from .batches import Batch, BatchCallbacks, Batches
from .computers import chosen
from .quality import in_scene
from .queue import Entry
from .segmenting import Segmenting
from .session import Session
from .task import Step


class SegmentQueue:
    """The works that wait, and the one that runs.

    Args:
        on_done: called with a work whose results are in the scene, and with what failed.
        on_problem: called with what is wrong, or with that a work was cancelled.
    """

    def __init__(
        self,
        session: Session,
        on_done: Callable[[Segmenting, tuple[Failure, ...]], None],
        on_problem: Callable[[Exception | str, bool], None],
    ) -> None:
        self._session, self._on_done, self._on_problem = session, on_done, on_problem
        self._batches = Batches(session)
        #: Of the open scene, those that have ended too.
        self._entries: dict[Segmenting, Entry] = {}

    def add(self, work: Segmenting, title: str) -> None:
        """Put ``work`` into the queue; ``title`` says what is segmented."""
        batch = Batch(
            title,
            _("the scene"),
            work.job(),
            partial(self._volume, work, in_scene(work.volume_ids)),
            work.steps(),
            partial(self._take, work),
            work.close,
            chosen(),
            work.volume_names,
        )
        callbacks = BatchCallbacks(partial(self._done, work), partial(self._failed, work))
        self._entries[work] = self._batches.start(batch, callbacks)

    def cancel(self) -> None:
        """The scene closes: nothing of what runs or waits may come into the next one."""
        entries, self._entries = self._entries, {}
        for entry in entries.values():
            self._session.queue.cancel(entry)

    def _take(self, work: Segmenting) -> Sequence[Step]:
        self._check(work)
        return work.finished()

    def _volume(self, work: Segmenting, volume: Callable[[QualityCase], Any], case: QualityCase) -> Any:
        self._check(work)
        return volume(case)

    def _check(self, work: Segmenting) -> None:
        # Nodes of another scene may have the same IDs.
        if work not in self._entries:
            raise InputError(_("The scene of these volumes was closed."))

    def _done(self, work: Segmenting, target: str, count: int, failures: tuple[Failure, ...]) -> None:
        if work in self._entries:
            self._on_done(work, failures)

    def _failed(self, work: Segmenting, problem: Exception | str, cancelled: bool) -> None:
        closed = work not in self._entries
        if work.as_made and not closed:
            self._on_done(work, ())
        self._on_problem(work.worded(problem), cancelled or closed)
