"""The fine-tune job: a few labeled volumes and a checkpoint (or none) in, a segmenter and its scores out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from .. import events
from ..descriptions import FinetuneJob
from ..errors import Cancelled, InputError
from ..methods.configuration import configured
from ..methods.method import SegmentationMethod
from ..methods.registry import find_method
from ..serialization import to_json
from .comparison import evaluate_held_out, leave_one_out
from .segmenter_training import SegmenterTraining
from .setup import cache_folder, finish, open_run, output_files
from .start import open_start
from .task import check_unseen, held_out, labeled_cases, prepared_task, unlabeled_cases


def finetune(job: FinetuneJob, emit: events.Emit = events.silent, cancelled: events.Cancelled = events.never) -> dict:
    """Run ``job``; returns the paths written, the transfer report and the scores on the held-out cases.

    The result's "held_out" are the scores of the new checkpoint, "before" those of the one it started from (None if
    it lacks one of these labels, by name), each a list of :class:`.scoring.CaseScores`.

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
    cases, unlabeled = labeled_cases(job), unlabeled_cases(job, method)
    held = held_out(job, cases)
    run = open_run(job, emit, cancelled)
    start = open_start(job, cases, run)
    # A budget in minutes may call for another resolution on another device; such a run is not resumed.
    run = dataclasses.replace(run, identity=f"{run.identity} {start.plan.spacing}")
    with cache_folder(job, keep_if_refused=False) as folder:
        emit(events.StageStarted(events.Stage.PREPROCESS))
        task = prepared_task(job, cases, unlabeled, start.plan, start.card, folder, run)
        scored = range(len(cases)) if job.validation == "leave-one-out" else held
        check_unseen(start.card, [task.source.cases[i] for i in scored], emit)
        training = SegmenterTraining(job, method, settings, how, start, task, run)
        result: dict[str, Any] = {}
        if job.validation == "leave-one-out":
            result["leave_one_out"] = leave_one_out(training)
            emit(events.log(f"Leave-one-out Dice {result['leave_one_out']['dice']:.3f} over {len(cases)} cases."))
        emit(events.StageStarted(events.Stage.TRAIN))
        outcome = training.train(held)
        trained = outcome.trained
        if trained.cancelled and not trained.steps:
            raise Cancelled("Stopped before the first step; no checkpoint was written.")
        # Saved before it is scored: what is learned is safe whatever happens next.
        training.save(held, outcome)
        if trained.cancelled:
            raise Cancelled(
                f"Stopped after {trained.steps} steps. {run.output} holds the {trained.kept} weights so far; "
                "--resume goes on."
            )
        result |= {**output_files(Path(job.output)), "steps": trained.steps, "minutes": round(trained.minutes, 2)}
        result |= {"kept": trained.kept, "transfer": to_json(outcome.report)}
        try:
            result |= evaluate_held_out(training, held, outcome, result.get("leave_one_out"))
        except Cancelled as stop:
            raise Cancelled(f"{stop} {run.output} is finished.") from stop
    finish(Path(job.output))
    return result
