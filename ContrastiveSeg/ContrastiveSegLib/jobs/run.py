"""Running a described job; the heavy rooms are imported when a job needs them."""

from __future__ import annotations

import importlib
import time
from typing import Any

from .. import events
from ..descriptions import Job, SegmentJob

#: Which function does which kind of job.
_DOERS = {
    "pretrain": ("training.pretrain", "pretrain"),
    "finetune": ("training.finetune", "finetune"),
    "segment": ("segmentation.segment", "segment"),
    "evaluate": ("evaluation.job", "run_evaluation"),
}


def run(job: Job, emit: events.Emit = events.silent, cancelled: events.Cancelled = events.never) -> dict[str, Any]:
    """Do ``job`` and return its result as JSON types.

    Raises:
        ContrastiveSegError: as the job's own function; nothing else is expected.
    """
    module, name = _DOERS[job.kind]
    emit(events.stage("import"))
    start = time.perf_counter()
    function = getattr(importlib.import_module(f"..{module}", __package__), name)
    # Only segmenting tells its seconds, and what a user waits for includes the libraries.
    told = {"import_seconds": time.perf_counter() - start} if isinstance(job, SegmentJob) else {}
    return function(job, emit, cancelled, **told)
