"""Batches on the session's second process: volumes of a folder or of a sequence; segment, then look at the results."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.descriptions import QualityJob, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.results import Failure, QualityCase, QualityResult, SegmentResult

from ..mrml import scene, sequences
from .computers import Computer
from .pairing import PREDICTED
from .quality import Looked, from_files, pictures_folder
from .queue import Entry
from .session import Session
from .task import Step, Task


@dataclass(frozen=True)
class Batch:
    """Volumes to segment.

    Attributes:
        source: what they are, and target: where the results are, for the user.
        steps: what writes the volumes' files, if they have none.
        volume: as in :class:`.quality.Looked`.
        take: gives what puts the label maps into the scene, if they go there.
        close: removes its files; what was not taken is gone.
        computer: the other one that segments; None for this one.
        names: as in :class:`.quality.Looked`.
    """

    source: str
    target: str
    job: SegmentJob
    volume: Callable[[QualityCase], Any]
    steps: Sequence[Step] = ()
    take: Callable[[], Sequence[Step]] = tuple
    close: Callable[[], None] = lambda: None
    computer: Computer | None = None
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchCallbacks:
    """What a section wants to know of a batch.

    Attributes:
        on_done: called with the target, the number of label maps and what failed.
        on_problem: as of :meth:`.Task.start`.
        on_begin: called when its turn has come.
    """

    on_done: Callable[[str, int, tuple[Failure, ...]], None]
    on_problem: Callable[[Exception | str, bool], None]
    on_begin: Callable[[], None] = lambda: None


def folder_batch(job: SegmentJob, card: Card) -> Batch:
    """The volumes of a folder, whose label maps ``job`` writes to another one.

    Args:
        card: of the job's checkpoint.
    """
    return Batch(job.input[0], str(Path(job.output)), job, from_files(card, Path(job.checkpoint).name))


def sequence_batch(sequence: Any, how: Callable[..., SegmentJob], card: Card, within: Path) -> Batch:
    """The frames of a sequence, whose segmentations become another sequence.

    Args:
        how: makes the job from its input and outputs. card: of its checkpoint.
        within: a folder to make the batch's own folder in; it holds images of patients until the batch is closed.

    Raises:
        InputError: the frames are no volumes.
    """
    count = sequences.frame_count(sequence)
    folder = Path(tempfile.mkdtemp(prefix="sequence-", dir=within))
    # The engine reads CASE_0000 as a channel.
    names = [f"frame-{index + 1:0{len(str(count))}d}" for index in range(count)]
    files = [folder / f"{name}{scene.FILE_ENDING}" for name in names]
    # Another scene may have a node of the same ID.
    identifier, title = sequence.GetID(), _("{name} segmentation").format(name=sequence.GetName())

    def node() -> Any:
        found = slicer.mrmlScene.GetNodeByID(identifier)
        if found is not sequence:
            raise InputError(_("The sequence is no longer in the scene."))
        return found

    def write(index: int) -> None:
        scene.write_volume(node().GetNthDataNode(index), files[index])

    def take() -> Sequence[Step]:
        results = sequences.new_sequence_like(node(), title)
        finished = [index for index, file in enumerate(files) if (folder / "labels" / file.name).exists()]
        steps: list[Step] = []
        for index in finished:
            path = folder / "labels" / files[index].name
            take_frame = partial(_take_frame, results, node, index, path, card, Path(job.checkpoint).name)
            steps.append((title, take_frame))
        return [*steps, (title, lambda: sequences.show_with(node(), results))]

    job = how(
        input=tuple(map(str, files)),
        output=str(folder / "labels"),
        uncertainty=str(folder / "uncertainty"),
        uncompressed=True,
    )
    return Batch(
        sequence.GetName(),
        title,
        job,
        lambda case: sequences.shown_frame(node(), names.index(case.name)),
        [(_("Writing {name}").format(name=name), partial(write, index)) for index, name in enumerate(names)],
        take,
        partial(shutil.rmtree, folder, ignore_errors=True),
    )


class Batches:
    """One batch at a time; others wait in the queue.

    Attributes:
        task: the progress of the one that runs.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.task = Task(session.trainer)

    def start(self, batch: Batch, callbacks: BatchCallbacks) -> Entry:
        """Put ``batch`` into the queue; returns its entry there."""
        title = _("Segment {source}").format(source=Path(batch.source).name)
        entry = Entry(title, cancel=self.task.cancel, drop=batch.close)

        def failed(problem: Exception | str, cancelled: bool) -> None:
            batch.close()
            self._end(entry, "cancelled" if cancelled else "failed")
            callbacks.on_problem(problem, cancelled)

        def segmented(result: SegmentResult) -> None:
            pictures = pictures_folder(self._session)
            look = QualityJob(
                input=batch.job.input,
                segmentations=batch.job.output,
                uncertainty=batch.job.uncertainty,
                checkpoint=batch.job.checkpoint,
                pictures=str(pictures),
            )
            try:
                steps = batch.take()
            except InputError as problem:
                failed(problem, False)
                return
            self.task.start(steps, look, partial(looked, pictures, result.failures), failed)

        def looked(pictures: Path, failures: tuple[Failure, ...], result: QualityResult) -> None:
            batch.close()
            title = _("{count} volumes of {source}").format(count=len(result.cases), source=batch.source)
            self._end(entry, "done")
            found = Looked(title, result.cases, batch.volume, pictures, batch.names)
            self._session.batch_looked_at.emit(found)
            callbacks.on_done(batch.target, len(result.cases), failures)

        def begin() -> None:
            callbacks.on_begin()
            self.task.start(batch.steps, batch.job, segmented, failed, self._session.log_event, batch.computer)

        entry.begin = begin
        self._session.queue.add(entry)
        return entry

    def _end(self, entry: Entry, state: str) -> None:
        self._session.queue.end(entry, state)
        self._session.trainer.stop()


def _take_frame(results: Any, sequence: Callable[[], Any], index: int, path: Path, card: Card, checkpoint: str) -> None:
    made = sequences.add_segmentation(results, sequence(), index, path, card.labels)
    # What a checkpoint made is not learned from by itself. The node that shows the frames takes it from each.
    made.SetAttribute(PREDICTED, checkpoint)
