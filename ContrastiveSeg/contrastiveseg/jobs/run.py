"""Running a described job; the heavy rooms are imported when a job needs them."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import overload

from .. import events
from ..checkpoints.starters import PREFIX, checkpoint_path
from ..descriptions import (
    EvaluateJob,
    ExportJob,
    FinetuneJob,
    ImportJob,
    Job,
    ModelsJob,
    PretrainJob,
    PreviewJob,
    QualityJob,
    RankJob,
    SegmentJob,
)
from ..garbage import unsearched
from ..results import (
    EvaluateResult,
    ExportResult,
    FinetuneResult,
    ImportResult,
    JobResult,
    ModelsResult,
    PretrainResult,
    PreviewResult,
    QualityResult,
    RankResult,
    SegmentResult,
)

#: Which function does which kind of job.
_DOERS = {
    "pretrain": ("training.pretrain", "pretrain"),
    "finetune": ("training.finetune", "finetune"),
    "segment": ("segmentation.processes", "segment_by_processes"),
    "evaluate": ("evaluation.job", "run_evaluation"),
    "rank": ("segmentation.rank", "rank"),
    "quality": ("evaluation.quality", "quality"),
    "import": ("checkpoints.foreign", "import_weights"),
    "preview": ("previewing.job", "preview"),
    "export": ("exports.job", "export"),
    "models": ("checkpoints.models_job", "models"),
}


@overload
def run(job: PretrainJob, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> PretrainResult: ...
@overload
def run(job: FinetuneJob, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> FinetuneResult: ...
@overload
def run(job: SegmentJob, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> SegmentResult: ...
@overload
def run(job: EvaluateJob, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> EvaluateResult: ...
@overload
def run(job: RankJob, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> RankResult: ...
@overload
def run(job: QualityJob, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> QualityResult: ...
@overload
def run(job: ImportJob, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> ImportResult: ...
@overload
def run(job: PreviewJob, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> PreviewResult: ...
@overload
def run(job: ExportJob, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> ExportResult: ...
@overload
def run(job: ModelsJob, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> ModelsResult: ...
@overload
def run(job: Job, emit: events.Emit = ..., cancelled: events.CancelCheck = ...) -> JobResult: ...
def run(job: Job, emit: events.Emit = events.silent, cancelled: events.CancelCheck = events.never) -> JobResult:
    """Do ``job`` and return its result. Its checkpoint is a path, or ``starter:NAME``.

    Raises:
        InputError: no starter has that name.
        ContrastiveSegError: as the job's own function; nothing else is expected.
    """
    job = _with_checkpoint_path(job)
    # Of the processes that torchrun starts the first one writes.
    if getattr(job, "report", None) and os.environ.get("RANK", "0") == "0":
        from .report import run_with_report

        return run_with_report(job, emit, cancelled, _run)  # type: ignore[arg-type]
    return _run(job, emit, cancelled)


def _run(job: Job, emit: events.Emit, cancelled: events.CancelCheck) -> JobResult:
    module, name = _DOERS[job.kind]
    start = time.perf_counter()
    if "torch" not in sys.modules:
        with unsearched():
            from .early import check_early  # with libraries of its own that no worker waits for

        check_early(job)
    if not isinstance(job, ModelsJob):
        emit(events.StageStarted(events.Stage.IMPORT))
    with unsearched():
        function = getattr(importlib.import_module(f"..{module}", __package__), name)
    # These report their seconds, and what a user waits for includes the libraries.
    timed = isinstance(job, (SegmentJob, PreviewJob))
    more = {"import_seconds": time.perf_counter() - start} if timed else {}
    with _threads_given_back(job):
        return function(job, emit, cancelled, **more)


def _with_checkpoint_path(job: Job) -> Job:
    """``job`` with its starter's file; a path stays as typed, since a run to resume is known by it."""
    if not isinstance(job, (PretrainJob, ImportJob, ModelsJob)) and (job.checkpoint or "").startswith(PREFIX):
        return dataclasses.replace(job, checkpoint=str(checkpoint_path(job.checkpoint or "")))
    return job


@contextmanager
def _threads_given_back(job: Job) -> Iterator[None]:
    """A worker's next job should not inherit the number of threads that this one has set."""
    if not getattr(job, "threads", None):
        yield
        return
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
