"""A folder of volumes to a folder of label maps, on the session's second process: segment, then look at the results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.descriptions import QualityJob, SegmentJob
from contrastiveseg.events import Event
from contrastiveseg.results import Failure, QualityResult, SegmentResult

from .quality import Looked, from_files, pictures_folder
from .queue import Entry
from .session import Session
from .task import Task


class FolderBatch:
    """One batch at a time; others wait in the queue.

    Attributes:
        task: the progress of the one that runs.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.task = Task(session.trainer)

    def start(
        self,
        job: SegmentJob,
        card: Card,
        on_begin: Callable[[], None],
        on_segmented: Callable[[str, int, tuple[Failure, ...]], None],
        on_problem: Callable[[Exception | str, bool], None],
        on_event: Callable[[Event], None],
    ) -> None:
        """Put ``job`` into the queue.

        Args:
            card: of its checkpoint.
            on_begin: called when its turn has come.
            on_segmented: called with the output, the number of label maps in it, and what failed.
            on_problem: called as by :meth:`.Task.start`.
        """
        title = _("Segment the folder {name}").format(name=Path(job.input[0]).name)
        entry = Entry(title, _nothing, self.task.cancel, _nothing)

        def failed(problem: Exception | str, cancelled: bool) -> None:
            self._end(entry, "cancelled" if cancelled else "failed")
            on_problem(problem, cancelled)

        def segmented(result: SegmentResult) -> None:
            pictures = pictures_folder(self._session)
            look = QualityJob(
                input=job.input,
                segmentations=job.output,
                uncertainty=job.uncertainty,
                checkpoint=job.checkpoint,
                pictures=str(pictures),
            )
            self.task.start([], look, partial(looked, pictures, result.failures), failed)

        def looked(pictures: Path, failures: tuple[Failure, ...], result: QualityResult) -> None:
            title = _("{count} volumes of {folder}").format(count=len(result.cases), folder=job.input[0])
            volume = from_files(card, Path(job.checkpoint).name)
            self._end(entry, "done")
            self._session.batch_looked_at.emit(Looked(title, result.cases, volume, pictures))
            on_segmented(str(Path(job.output)), len(result.cases), failures)

        def begin() -> None:
            on_begin()
            self.task.start([], job, segmented, failed, on_event)

        entry.begin = begin
        self._session.queue.add(entry)

    def _end(self, entry: Entry, state: str) -> None:
        self._session.queue.end(entry, state)
        self._session.trainer.stop()


def _nothing() -> None:
    """For an entry that has nothing to remove."""
