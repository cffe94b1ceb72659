"""The segment job: files in, label maps out; what fails is named and the rest is written."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .. import events
from ..checkpoints.header import checkpoint_digest, stamp
from ..checkpoints.licensing import tell_terms
from ..descriptions import SegmentJob
from ..device import autocast_dtype, resolve_device
from ..errors import InputError
from ..files import write_text
from ..results import SegmentResult
from ..volumes.left_out import tell_left_out
from ..volumes.origin import read_distance
from .batch import VolumeBatch
from .dicom_seg import model_of, without_codes
from .finished import is_finished, origin_of
from .outputs import Output, as_dicom, outputs_of
from .predictor import Predictor
from .timings import Timings

#: Stages in the order of the result; "import" is the time from the job's arrival until the libraries were loaded
#: (the interpreter's own start, some 0.1 s before that, is not in it).
STAGES = ("import", "load", "preprocess", "network", "blend", "restore", "write", "total")


def segment(
    job: SegmentJob,
    emit: events.Emit = events.silent,
    cancelled: events.CancelCheck = events.never,
    import_seconds: float = 0.0,
) -> SegmentResult:
    """Run ``job``; returns the files written, the failures, what was left out by case, and seconds per stage.

    Args:
        import_seconds: what loading the libraries took before this call; reported as "import" and part of "total".

    Raises:
        InputError: the checkpoint or the outputs cannot be used, or not one input could be segmented.
        Cancelled: stopped; finished label maps stay.
    """
    start = time.perf_counter()
    timings = Timings({"import": import_seconds})
    if job.threads:
        torch.set_num_threads(job.threads)
    outputs = outputs_of(job)
    tell_left_out(map(Path, job.input), emit)
    finished = _finished(job, outputs) if job.continue_ else set()
    kept = tuple(str(output.labels) for output in outputs if output.labels in finished)
    if kept:
        emit(events.log(f"{len(kept)} of {len(outputs)} volumes are segmented already. Their label maps stay."))
    earlier = {output.case.name: read_distance(output.labels) for output in outputs if output.labels in finished}
    distances = {name: distance for name, distance in earlier.items() if distance is not None}
    outputs = [output for output in outputs if output.labels not in finished]
    emit(events.StageStarted(events.Stage.LOAD))
    with timings.of("load"):
        device = resolve_device(job.device)
        model = model_of(Path(job.checkpoint))
        predictor = _predictor(
            os.path.realpath(job.checkpoint), stamp(Path(job.checkpoint)), str(device), job.precision
        )
    tell_terms(predictor.card, emit)
    if job.mirror and not predictor.mirrored:
        emit(events.log("The model was trained without mirroring, so no mirrored copies are averaged."))
    if outputs and as_dicom(job) and (told := without_codes(predictor.card.labels)):
        emit(events.log(told))
    emit(events.StageStarted(events.Stage.SEGMENT))
    batch = VolumeBatch(job, outputs, predictor, model, timings, emit, cancelled)
    batch.segment()
    if batch.left_out:
        emit(events.log("--pieces all keeps what was left out (in the panel: Keep all pieces)."))
    if not batch.written and not kept:
        raise InputError(f"None of the {len(outputs)} volumes could be segmented. {batch.failures[0].what}")
    timings.add("total", import_seconds + time.perf_counter() - start)
    seconds = {stage: round(timings.seconds.get(stage, 0.0), 4) for stage in STAGES}
    peak = peak_memory(device)
    if job.timings:
        write_text(Path(job.timings), json.dumps({**seconds, "peak_memory_bytes": peak}, indent=1))
    return SegmentResult(
        tuple(batch.written), tuple(batch.failures), batch.left_out, seconds, peak, kept, distances | batch.distances
    )


def _finished(job: SegmentJob, outputs: Sequence[Output]) -> set[Path]:
    """The label maps that an earlier run of ``job`` has finished.

    Raises:
        InputError: a file is there that is not of this job, and may not be overwritten.
    """
    begun = [output for output in outputs if any(path.exists() for path in output.files)]
    if not begun:
        return set()
    checkpoint = checkpoint_digest(Path(job.checkpoint))
    return {
        output.labels
        for output in begun
        if is_finished(output.files, origin_of(output.case, checkpoint, job), job.overwrite)
    }


@functools.lru_cache(maxsize=2)
def _predictor(path: str, stamp: tuple[int, int], device: str, precision: Any) -> Predictor:
    """Kept between jobs of a worker; a checkpoint file that changed (``stamp``) is read anew."""
    chosen = torch.device(device)
    return Predictor.open(Path(path), chosen, autocast_dtype(chosen, precision))


def peak_memory(device: torch.device) -> int:
    """The most memory this process has held, in bytes: on the GPU if it computes there, else resident (0: unknown)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows has no such count
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
