"""One fine-tuning from one start: its data prepared, trained, scored, and its checkpoint written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import events
from ..descriptions import FinetuneJob
from ..errors import Cancelled
from ..methods.method import Optimization, SegmentationMethod
from ..results import FinetuneResult
from ..volumes.dataset import CaseFiles
from .curve import metrics_path
from .held_out import evaluate_held_out, leave_one_out
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


def train_from(
    start: Start, lesson: Lesson, folder: Path, run: Run, stage: events.Stage = events.Stage.TRAIN
) -> FinetuneResult:
    """Train from ``start`` and write the checkpoint to the output of ``run``.

    Args:
        folder: cache of preprocessed volumes.
        stage: what the training is announced as.

    Raises:
        InputError: the data cannot be learned from, or the start has learned from the labels of cases to score on.
        Cancelled: stopped; the best (or averaged) weights so far and a resume file are kept.
    """
    job, held, output = lesson.job, lesson.held, run.output
    assert output is not None
    run.emit(events.StageStarted(events.Stage.PREPROCESS))
    task = prepared_task(job, lesson.cases, lesson.unlabeled, start.plan, start.card, folder, run)
    scored = range(len(lesson.cases)) if job.validation == "leave-one-out" else held
    check_unseen(start.card, [task.source.cases[i] for i in scored], run.emit)
    run = on_data(run, task.source.cases)
    training = SegmenterTraining(job, lesson.method, lesson.settings, lesson.how, start, task, run)
    left_out = leave_one_out(training) if job.validation == "leave-one-out" else None
    if left_out is not None:
        run.emit(events.log(f"Leave-one-out Dice {left_out.dice:.3f} over {len(lesson.cases)} cases."))
    run.emit(events.StageStarted(stage))
    outcome = training.train(held)
    trained = outcome.trained
    if trained.cancelled and not trained.steps:
        raise Cancelled("Stopped before the first step; no checkpoint was written.")
    if trained.cancelled:
        raise trained.stopped_with(output)
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
