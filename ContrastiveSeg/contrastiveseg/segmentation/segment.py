"""The segment job: files in, label maps out, one by one; what fails is named and the rest is written."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import events
from ..checkpoints.licensing import tell_terms
from ..descriptions import SegmentJob
from ..device import autocast_dtype, resolve_device
from ..errors import Cancelled, InputError
from ..files import write_text
from ..planning.compatibility import incompatibilities, warning_text
from ..results import Failure, SegmentResult
from ..volumes.reading import read_channels
from ..volumes.volume import Volume
from ..volumes.writing import write_labels, write_maps
from .dicom_seg import Model, without_codes, write_dicom_seg
from .finished import checkpoint_digest, is_finished, origin_of
from .outputs import Output, as_dicom, outputs_of
from .predictor import Predictor
from .read_ahead import read_ahead
from .region import voxels_of
from .sliding_window import OnTile
from .timings import Timings

if TYPE_CHECKING:
    from .dicom_source import DicomSource

#: Stages in the order of the result; "import" is the time from the job's arrival until the libraries were loaded
#: (the interpreter's own start, some 0.1 s before that, is not in it).
STAGES = ("import", "load", "preprocess", "network", "blend", "restore", "write", "total")


@dataclass(frozen=True)
class Loaded:
    """A case's volume, the hash of what its label map follows from, and the series that a DICOM SEG refers to."""

    volume: Volume
    origin: str
    source: DicomSource | None


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
    finished = _finished(job, outputs) if job.continue_ else set()
    kept = tuple(str(output.labels) for output in outputs if output.labels in finished)
    if kept:
        emit(events.log(f"{len(kept)} of {len(outputs)} volumes are segmented already. Their label maps stay."))
    outputs = [output for output in outputs if output.labels not in finished]
    emit(events.StageStarted(events.Stage.LOAD))
    with timings.of("load"):
        device = resolve_device(job.device)
        checkpoint = checkpoint_digest(job)
        predictor = _predictor(os.path.realpath(job.checkpoint), _stamp(job.checkpoint), str(device), job.precision)
    tell_terms(predictor.card, emit)
    if job.mirror and not predictor.mirrored:
        emit(events.log("The model was trained without mirroring, so no mirrored copies are averaged."))
    model = Model(Path(job.checkpoint).stem, checkpoint)
    if outputs and as_dicom(job) and (told := without_codes(predictor.card.labels)):
        emit(events.log(told))
    written: list[str] = []
    failures: list[Failure] = []
    left_out: dict[str, Mapping[str, float]] = {}
    progress = events.ProgressMeter(emit, len(outputs), "volumes")
    emit(events.StageStarted(events.Stage.SEGMENT))

    def read(output: Output) -> Loaded:
        source = _source_of(output) if as_dicom(job) else None
        volume = read_channels(output.case.images, len(predictor.card.plan.channels))
        return Loaded(volume, origin_of(output.case, checkpoint, job), source)

    for done, (output, loaded) in enumerate(read_ahead(outputs, read)):

        def on_tile(tile: int, tiles: int, done: int = done) -> None:
            if cancelled():
                raise Cancelled(f"Stopped after {len(written)} of {len(outputs)} volumes. Those written stay.")
            progress(done + tile / tiles)

        try:
            if apart := _segment_case(job, predictor, model, output, loaded, timings, emit, on_tile):
                left_out[output.case.name] = apart
            written.append(str(output.labels))
        except (InputError, RuntimeError, MemoryError) as problem:
            if len(outputs) == 1:
                raise
            failures.append(Failure(str(output.case.images[0]), str(problem)))
            emit(events.warning(f"{output.case.name} failed: {problem}"))
        progress(done + 1)
    if not written and not kept:
        raise InputError(f"None of the {len(outputs)} volumes could be segmented. {failures[0].what}")
    timings.add("total", import_seconds + time.perf_counter() - start)
    seconds = {stage: round(timings.seconds.get(stage, 0.0), 4) for stage in STAGES}
    peak = peak_memory(device)
    if job.timings:
        write_text(Path(job.timings), json.dumps({**seconds, "peak_memory_bytes": peak}, indent=1))
    return SegmentResult(tuple(written), tuple(failures), left_out, seconds, peak, kept)


def _segment_case(
    job: SegmentJob,
    predictor: Predictor,
    model: Model,
    output: Output,
    loaded: Callable[[], Loaded],
    timings: Timings,
    emit: events.Emit,
    on_tile: OnTile,
) -> Mapping[str, float]:
    """Returns what was left out, see :class:`.predictor.Prediction`; ``loaded`` gives the case when it is read."""
    with timings.of("load"):
        case = loaded()
        volume, origin = case.volume, case.origin
        box = voxels_of(job.roi, volume.geometry, output.case.name) if job.roi else None
    prediction = predictor.predict(
        volume,
        mirror=job.mirror,
        pieces=job.pieces,
        box=box,
        probabilities=output.probabilities is not None,
        uncertainty=output.uncertainty is not None,
        on_tile=on_tile,
        timings=timings,
    )
    with timings.of("write"), ExitStack() as undo:
        compress = not job.uncompressed
        for path, array in (
            (output.probabilities, prediction.probabilities),
            (output.uncertainty, prediction.uncertainty),
        ):
            if path and array is not None:
                write_maps(path, array, volume.geometry, compress, origin)
                undo.callback(path.unlink, missing_ok=True)
        # Last: a case with a label map is complete.
        labels = prediction.labels.array
        if case.source:
            write_dicom_seg(output.labels, labels, case.source, predictor.card.labels, model, origin)
        else:
            write_labels(output.labels, labels, volume.geometry, compress, origin)
        undo.pop_all()
    name = output.case.name
    channels = predictor.card.plan.channels
    if len(channels) > 1 and len(output.case.images) == 1:
        listed = ", ".join(channel.name for channel in channels)
        emit(events.log(f"{name}: its one file is read as the channels {listed}, in this order."))
    if volume.geometry.doubt:
        emit(events.warning(f"{name}: {volume.geometry.doubt}."))
    if box is not None:
        share = np.prod([part.stop - part.start for part in box]) / np.prod(volume.geometry.shape)
        emit(events.log(f"{name}: only the region of interest was segmented, {share:.1%} of it; the rest is empty."))
    if prediction.left_out:
        volumes = ", ".join(f"{label} {ml:.3g} ml" for label, ml in prediction.left_out.items())
        emit(events.log(f"{name}: left out, apart from the largest piece: {volumes}. 'All pieces' keeps it."))
    for problem in incompatibilities(predictor.card.plan, volume.geometry, list(volume.array)):
        single = problem.channel is None or len(channels) == 1
        subject = name if single else f"{name}, channel {channels[problem.channel or 0].name!r},"
        emit(events.warning(warning_text(problem, subject)))
    return prediction.left_out


def _source_of(output: Output) -> DicomSource:
    from .dicom_source import read_source

    return read_source(output.case.images[0])


def _finished(job: SegmentJob, outputs: Sequence[Output]) -> set[Path]:
    """The label maps that an earlier run of ``job`` has finished.

    Raises:
        InputError: a file is there that is not of this job, and may not be overwritten.
    """
    begun = [output for output in outputs if any(path.exists() for path in output.files)]
    if not begun:
        return set()
    checkpoint = checkpoint_digest(job)
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


def _stamp(path: str) -> tuple[int, int]:
    if not Path(path).is_file():
        raise InputError(f"There is no checkpoint at {path}.")
    state = Path(path).stat()
    return state.st_mtime_ns, state.st_size


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
