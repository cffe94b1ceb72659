"""One fine-tuning from one start: its data prepared, trained, scored, and its checkpoint written; or scored alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import events
from ..descriptions import FinetuneJob
from ..errors import Cancelled
from ..methods.method import Optimization, SegmentationMethod
from ..results import FinetuneResult, LeaveOneOut
from ..volumes.dataset import CaseFiles
from .beside import metrics_path
from .held_out import evaluate_held_out, leave_one_out
from .label_checks import warn_of_labels_held_out
from .run import Run
from .segmenter_training import SegmenterTraining
from .setup import on_data
from .start import Start
from .task import check_unseen, prepared_task


@dataclass(frozen=True)
class Lesson:
    """What a fine-tuning learns from and by which method, whatever it starts from.

    Attributes:
        method, settings, how: the method, its settings and its optimization, as the job asks for.
        cases: the labeled ones. unlabeled: those to learn from without labels. held: indices of ``cases`` held out.
    """

    job: FinetuneJob
    method: type[SegmentationMethod]
    settings: Any
    how: Optimization
    cases: Sequence[CaseFiles]
    unlabeled: Sequence[CaseFiles]
    held: Sequence[int]

    @property
    def leaves_one_out(self) -> bool:
        return self.job.validation == "leave-one-out"


def score_from(start: Start, lesson: Lesson, folder: Path, run: Run) -> LeaveOneOut:
    """Train from ``start`` once without each case, as leave-one-out does, and write nothing.

    Raises:
        InputError, Cancelled: as :func:`train_from`.
    """
    return _left_out(_prepared(start, lesson, folder, run))


def train_from(
    start: Start,
    lesson: Lesson,
    folder: Path,
    run: Run,
    stage: events.Stage = events.Stage.TRAIN,
    left_out: LeaveOneOut | None = None,
) -> FinetuneResult:
    """Train from ``start`` and write the checkpoint to the output of ``run``.

    Args:
        folder: cache of preprocessed volumes.
        stage: what the training is announced as.
        left_out: what :func:`score_from` found, where it is known.

    Raises:
        InputError: the data cannot be learned from, or the start has learned from the labels of cases to score on.
        Cancelled: stopped; the best (or averaged) weights so far and a resume file are kept.
    """
    held, output = lesson.held, run.output
    assert output is not None
    training = _prepared(start, lesson, folder, run)
    if lesson.leaves_one_out and left_out is None:
        left_out = _left_out(training)
    run.emit(events.StageStarted(stage))
    outcome = training.train(held)
    trained = outcome.trained
    if trained.cancelled and not trained.steps:
        raise Cancelled("Stopped before the first step; no checkpoint was written.")
    if trained.cancelled:
        raise trained.stopped_with(output, written=not training.in_place)
    try:
        evaluation = evaluate_held_out(training, held, outcome, left_out)
    except Cancelled as stop:
        raise Cancelled(f"{stop} {output} is finished.") from stop
    return FinetuneResult(
        checkpoint=str(output),
        metrics=str(metrics_path(output)),
        steps=trained.steps,
        minutes=round(trained.minutes, 2),
        kept=trained.kept,
        transfer=outcome.report,
        held_out=evaluation.held_out,
        before=evaluation.before,
        leave_one_out=left_out,
    )


def _prepared(start: Start, lesson: Lesson, folder: Path, run: Run) -> SegmenterTraining:
    run.emit(events.StageStarted(events.Stage.PREPROCESS))
    task = prepared_task(lesson.job, lesson.cases, lesson.unlabeled, start.plan, start.card, folder, run)
    names = {label.value: label.name for label in task.labels}
    warn_of_labels_held_out(task.source.cases, lesson.held, names, run.emit)
    scored = range(len(lesson.cases)) if lesson.leaves_one_out else lesson.held
    check_unseen(start.card, [task.source.cases[i] for i in scored], run.emit)
    run = on_data(run, task.source.cases)
    return SegmenterTraining(lesson.job, lesson.method, lesson.settings, lesson.how, start, task, run)


def _left_out(training: SegmenterTraining) -> LeaveOneOut:
    found = leave_one_out(training)
    training.run.emit(events.log(f"Leave-one-out Dice {found.dice:.3f} over {len(found.cases)} cases."))
    return found
