"""The fine-tune job: a few labeled volumes and a checkpoint (or none) in, a segmenter and its scores out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from .. import events
from ..checkpoints.header import read_card
from ..descriptions import FinetuneJob
from ..methods.configuration import configured
from ..methods.method import SegmentationMethod
from ..methods.registry import find_method
from ..networks.registry import build
from ..planning.presets import size_of
from ..results import FinetuneResult
from .compared_starts import check_comparison, compare_starts, compared_starts
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
    _warn_of_unused(job, emit)
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


def _warn_of_unused(job: FinetuneJob, emit: events.Emit) -> None:
    """Warn of options for a network of one's own where a checkpoint brings another, and the other way round."""
    given = compared_starts(job).values() if job.compares else [job.checkpoint]
    first = next((path for path in given if path and path != "none"), None)
    if first is None:
        if job.transferred_rate is not None:
            emit(events.warning("--transferred-rate does nothing here: no weights come from a checkpoint."))
        return
    spec = read_card(Path(first)).network
    kept = [f"{spec.dimensions}D"]
    unused = ["--dimensions 2"] if job.dimensions == 2 != spec.dimensions else []
    if job.network not in ("unet", spec.name):
        unused.append(f"--network {job.network}")
    if job.size != "auto" and job.size != (size := size_of(build(spec))):
        unused, kept = [*unused, f"--size {job.size}"], [*kept, size]
    if unused:
        text = f"{' and '.join(unused)} {'do' if len(unused) > 1 else 'does'} nothing here: the network is that of "
        text += f"{Path(first).stem} ({spec.name}, {', '.join(kept)}). To choose one, give --checkpoint none."
        emit(events.warning(text))
