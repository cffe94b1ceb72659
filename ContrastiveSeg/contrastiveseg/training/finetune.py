"""The fine-tune job: a few labeled volumes and a checkpoint (or none) in, a segmenter and its scores out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from .. import events
from ..descriptions import FinetuneJob
from ..errors import Cancelled, InputError
from ..methods.configuration import configured
from ..methods.method import SegmentationMethod
from ..methods.registry import find_method
from ..results import FinetuneResult
from .comparison import evaluate_held_out, leave_one_out
from .curve import metrics_path
from .segmenter_training import SegmenterTraining
from .setup import cache_folder, cases_of, open_run, warn_of_channels
from .start import open_start
from .task import check_unseen, held_out, labeled_cases, prepared_task, unlabeled_cases


def finetune(
    job: FinetuneJob, emit: events.Emit = events.silent, cancelled: events.CancelCheck = events.never
) -> FinetuneResult:
    """Run ``job``; returns the paths written, the transfer report and the scores on the held-out cases.

    Raises:
        InputError: data, checkpoint, output, settings or budget cannot be used.
        Cancelled: stopped; the best (or averaged) weights so far and a resume file are kept.
    """
    method = find_method("finetune", job.method)
    assert issubclass(method, SegmentationMethod)
    settings, how = configured(method, job)
    if job.compare_scratch and job.checkpoint == "none":
        raise InputError(
            "--compare-scratch compares a checkpoint with training from scratch; with 'none' they are one."
        )
    emit(events.StageStarted(events.Stage.PLAN))
    found = cases_of(job.images, job.labels)
    warn_of_channels(found, emit)
    cases, unlabeled = labeled_cases(job, found, emit), unlabeled_cases(job, found, method, emit)
    held = held_out(job, cases)
    with open_run(job, emit, cancelled) as run:
        start = open_start(job, cases, run)
        # A budget in minutes may call for another resolution on another device; such a run is not resumed.
        run = dataclasses.replace(run, identity=f"{run.identity} {start.plan.spacing}")
        with cache_folder(job, keep_if_refused=False) as folder:
            emit(events.StageStarted(events.Stage.PREPROCESS))
            task = prepared_task(job, cases, unlabeled, start.plan, start.card, folder, run)
            scored = range(len(cases)) if job.validation == "leave-one-out" else held
            check_unseen(start.card, [task.source.cases[i] for i in scored], emit)
            training = SegmenterTraining(job, method, settings, how, start, task, run)
            left_out = leave_one_out(training) if job.validation == "leave-one-out" else None
            if left_out is not None:
                emit(events.log(f"Leave-one-out Dice {left_out.dice:.3f} over {len(cases)} cases."))
            emit(events.StageStarted(events.Stage.TRAIN))
            outcome = training.train(held)
            trained = outcome.trained
            if trained.cancelled and not trained.steps:
                raise Cancelled("Stopped before the first step; no checkpoint was written.")
            if trained.cancelled:
                raise trained.stopped_with(run.output)
            try:
                evaluation = evaluate_held_out(training, held, outcome, left_out)
            except Cancelled as stop:
                raise Cancelled(f"{stop} {run.output} is finished.") from stop
    output = Path(job.output)
    return FinetuneResult(
        checkpoint=str(output),
        metrics=str(metrics_path(output)),
        steps=trained.steps,
        minutes=round(trained.minutes, 2),
        kept=trained.kept,
        transfer=outcome.report,
        held_out=evaluation.held_out,
        before=evaluation.before,
        comparison=evaluation.comparison,
        leave_one_out=left_out,
    )
