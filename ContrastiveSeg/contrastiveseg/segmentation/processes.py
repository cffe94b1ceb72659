"""A batch of volumes in several processes, as ``torchrun`` starts them: each segments a part, the first tells all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist

from .. import events
from ..descriptions import SegmentJob
from ..errors import Cancelled, ContrastiveSegError, InputError
from ..results import Failure, SegmentResult
from .outputs import Output, check_several, outputs_of
from .segment import segment

#: The first process waits so long for the slowest.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class ProcessOutcome:
    """What became of a process's part of the volumes: its result, or the error that ended it; and what it said."""

    result: SegmentResult | None
    problem: str
    exit_code: int
    said: tuple[events.Log, ...]


def segment_by_processes(
    job: SegmentJob,
    emit: events.Emit = events.silent,
    cancelled: events.CancelCheck = events.never,
    import_seconds: float = 0.0,
) -> SegmentResult:
    """Run ``job`` as :func:`.segment.segment` does, by all processes that ``torchrun`` has started, on any machines
    that see the same files. The volumes are dealt out in turn; every process returns the result of all.

    Raises:
        InputError, Cancelled: as :func:`.segment.segment`; files of one process alone are asked for.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if "RANK" not in os.environ or world < 2:
        return segment(job, emit, cancelled, import_seconds)
    check_several(job)
    outputs = outputs_of(job)
    dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        # What a quicker process writes must not pass for what was there before.
        dist.barrier()
        emit(events.log(f"{len(outputs)} volumes are shared by {world} processes."))
        own = _part(job, len(outputs), rank, world, emit, cancelled, import_seconds)
        parts: list[Any] = [None] * world
        dist.all_gather_object(parts, own)
    finally:
        dist.destroy_process_group()
    for part in parts[:rank] + parts[rank + 1 :]:
        for log in part.said:
            emit(log)
    return joined(parts, outputs)


def _part(
    job: SegmentJob,
    count: int,
    rank: int,
    world: int,
    emit: events.Emit,
    cancelled: events.CancelCheck,
    import_seconds: float,
) -> ProcessOutcome:
    """Segment this process's volumes, of ``count``."""
    said: list[events.Log] = []

    def tell(event: events.Event) -> None:
        if isinstance(event, events.Log):
            said.append(event)
        emit(event)

    if rank >= count:
        return ProcessOutcome(SegmentResult((), (), {}, {}, 0), "", 0, ())
    part, parts = (int(number) for number in (job.shard or "1/1").split("/"))
    own = replace(job, shard=f"{part + parts * rank}/{parts * world}", device=_own_device(job.device))
    try:
        return ProcessOutcome(segment(own, tell, cancelled, import_seconds), "", 0, tuple(said))
    except ContrastiveSegError as problem:
        return ProcessOutcome(None, str(problem), problem.exit_code, tuple(said))


def _own_device(name: str) -> str:
    """Of several GPUs the one that torchrun means for this process, where any may be taken."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return f"cuda:{local}" if name in ("auto", "cuda") and local < torch.cuda.device_count() else name


def joined(parts: Sequence[ProcessOutcome], outputs: Sequence[Output]) -> SegmentResult:
    """The result of all ``parts``, of which part r has segmented every so manieth of ``outputs`` from number r.

    Raises:
        Cancelled: one was.
        InputError: none could segment anything.
    """
    ended = [part for part in parts if part.result is None]
    for part in ended:
        if part.exit_code == Cancelled.exit_code:
            raise Cancelled(part.problem)
    results = [part.result for part in parts if part.result is not None]
    if ended and not any(result.written or result.kept for result in results):
        raise InputError(ended[0].problem)
    failures = [failure for result in results for failure in result.failures]
    for rank, part in enumerate(parts):
        if part.result is None:
            failures += [Failure(str(one.case.images[0]), part.problem) for one in outputs[rank :: len(parts)]]
    stages = {stage for result in results for stage in result.seconds}
    return SegmentResult(
        tuple(sorted(path for result in results for path in result.written)),
        tuple(failures),
        {case: apart for result in results for case, apart in result.left_out.items()},
        {stage: max(result.seconds.get(stage, 0.0) for result in results) for stage in sorted(stages)},
        max(result.peak_memory for result in results),
        tuple(sorted(path for result in results for path in result.kept)),
        {case: distance for result in results for case, distance in result.distances.items()},
    )
