"""The fine-tune job: a few labeled volumes and a checkpoint (or none) in, a segmenter and its scores out."""

from __future__ import annotations

import dataclasses

from .. import events
from ..descriptions import FinetuneJob
from ..methods.configuration import configured
from ..methods.method import SegmentationMethod
from ..methods.registry import find_method
from ..results import FinetuneResult
from .compared_starts import check_comparison, compare_starts
from .setup import cache_folder, cases_of, open_run, warn_of_channels
from .start import open_start
from .task import held_out, labeled_cases, unlabeled_cases
from .training_from import Lesson, train_from


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
    check_comparison(job)
    emit(events.StageStarted(events.Stage.PLAN))
    found = cases_of(job.images, job.labels)
    warn_of_channels(found, emit)
    cases, unlabeled = labeled_cases(job, found, emit), unlabeled_cases(job, found, method, emit)
    lesson = Lesson(job, method, settings, how, cases, unlabeled, held_out(job, cases))
    with open_run(job, emit, cancelled) as run:
        if job.compares:
            return compare_starts(lesson, run)
        start = open_start(job, cases, run, lesson.held)
        # A budget in minutes may call for another resolution on another device, and the checkpoint may have been
        # replaced; such a run is not resumed.
        run = dataclasses.replace(run, identity=f"{run.identity} {start.plan.spacing} {start.digest}")
        with cache_folder(job, keep_if_refused=False) as folder:
            return train_from(start, lesson, folder, run)
