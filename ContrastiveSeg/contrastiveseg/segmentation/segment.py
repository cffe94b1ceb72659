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
from ..checkpoints.card import Card
from ..checkpoints.familiarity import FAR, far_text
from ..checkpoints.header import check_checkpoint, checkpoint_digest
from ..checkpoints.licensing import tell_terms
from ..descriptions import SegmentJob
from ..device import autocast_dtype, resolve_device
from ..errors import Cancelled, InputError
from ..files import check_output, write_text
from ..planning.compatibility import incompatibilities, warning_text
from ..planning.plan import Plan
from ..results import Failure, SegmentResult
from ..volumes.origin import read_distance, with_distance
from ..volumes.reading import read_channels
from ..volumes.volume import Volume
from ..volumes.writing import write_labels, write_maps
from .dicom_seg import Model, model_of, without_codes, write_dicom_seg
from .finished import is_finished, origin_of
from .outputs import Output, as_dicom, outputs_of
from .predictor import Prediction, Predictor
from .read_ahead import read_ahead
from .region import VoxelBox, voxels_of
from .sliding_window import OnTile
from .timings import Timings
from .write_behind import WriteBehind

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


@dataclass(frozen=True)
class Segmented:
    """A case that was computed and is to be written; ``box`` is the part that was segmented, None for all."""

    output: Output
    loaded: Loaded
    box: VoxelBox | None
    prediction: Prediction


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
    earlier = {output.case.name: read_distance(output.labels) for output in outputs if output.labels in finished}
    distances = {name: distance for name, distance in earlier.items() if distance is not None}
    outputs = [output for output in outputs if output.labels not in finished]
    emit(events.StageStarted(events.Stage.LOAD))
    with timings.of("load"):
        device = resolve_device(job.device)
        model = model_of(Path(job.checkpoint))
        predictor = _predictor(os.path.realpath(job.checkpoint), _stamp(job.checkpoint), str(device), job.precision)
    tell_terms(predictor.card, emit)
    if job.mirror and not predictor.mirrored:
        emit(events.log("The model was trained without mirroring, so no mirrored copies are averaged."))
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
        return Loaded(volume, origin_of(output.case, model.digest, job), source)

    def write(case: Segmented) -> None:
        with timings.of("write"):
            _write(job, predictor.card, model, case)

    def failed(output: Output, problem: BaseException) -> None:
        if len(outputs) == 1 or not isinstance(problem, (InputError, RuntimeError, MemoryError)):
            raise problem
        failures.append(Failure(str(output.case.images[0]), str(problem)))
        emit(events.warning(f"{output.case.name} failed: {problem}"))

    def ended(case: Segmented, problem: BaseException | None) -> None:
        if problem is not None:
            return failed(case.output, problem)
        _tell(case, predictor.card.plan, emit)
        written.append(str(case.output.labels))
        if apart := case.prediction.left_out:
            left_out[case.output.case.name] = apart
        if case.prediction.distance is not None:
            distances[case.output.case.name] = round(case.prediction.distance, 2)

    with WriteBehind(write, ended) as writing:
        for done, (output, loaded) in enumerate(read_ahead(outputs, read)):

            def on_tile(tile: int, tiles: int, done: int = done) -> None:
                if cancelled():
                    writing.finish()
                    raise Cancelled(
                        f"Stopped after {len(written)} of {len(outputs)} volumes. Those written stay; "
                        "--continue goes on with the others."
                    )
                progress(done + tile / tiles)

            try:
                case = _segment_case(job, predictor, output, loaded, timings, on_tile, emit)
            except (InputError, RuntimeError, MemoryError) as problem:
                writing.finish()
                failed(output, problem)
            else:
                writing.put(case)
                # Probabilities are too large to be kept beside the next volume; the last one has nothing to wait for.
                if case.prediction.probabilities is not None or done + 1 == len(outputs):
                    writing.finish()
            progress(done + 1)
        writing.finish()
    if left_out:
        emit(events.log("--pieces all keeps what was left out (in the panel: Keep all pieces)."))
    if not written and not kept:
        raise InputError(f"None of the {len(outputs)} volumes could be segmented. {failures[0].what}")
    timings.add("total", import_seconds + time.perf_counter() - start)
    seconds = {stage: round(timings.seconds.get(stage, 0.0), 4) for stage in STAGES}
    peak = peak_memory(device)
    if job.timings:
        write_text(Path(job.timings), json.dumps({**seconds, "peak_memory_bytes": peak}, indent=1))
    return SegmentResult(tuple(written), tuple(failures), left_out, seconds, peak, kept, distances)


def _segment_case(
    job: SegmentJob,
    predictor: Predictor,
    output: Output,
    loaded: Callable[[], Loaded],
    timings: Timings,
    on_tile: OnTile,
    emit: events.Emit,
) -> Segmented:
    """``loaded`` gives the case when it is read."""
    with timings.of("load"):
        case = loaded()
        box = voxels_of(job.roi, case.volume.geometry, output.case.name) if job.roi else None
    prediction = predictor.predict(
        case.volume,
        mirror=job.mirror,
        pieces=job.pieces,
        box=box,
        probabilities=output.probabilities is not None,
        uncertainty=output.uncertainty is not None,
        on_tile=on_tile,
        timings=timings,
        tell=lambda text: emit(events.warning(f"{output.case.name}: {text}")),
    )
    return Segmented(output, case, box, prediction)


def _write(job: SegmentJob, card: Card, model: Model, case: Segmented) -> None:
    """All files of ``case``, or none.

    Raises:
        InputError: a file is there that was not when the job began, as where two runs have one output.
    """
    output, geometry, origin = case.output, case.loaded.volume.geometry, case.loaded.origin
    if job.continue_:
        is_finished(output.files, origin, job.overwrite)
    elif not job.overwrite:
        for file in output.files:
            check_output(file, hint=" Another run has written it meanwhile.")
    compress = not job.uncompressed
    with ExitStack() as undo:
        for path, array in (
            (output.probabilities, case.prediction.probabilities),
            (output.uncertainty, case.prediction.uncertainty),
        ):
            if path and array is not None:
                write_maps(path, array, geometry, compress, origin)
                undo.callback(path.unlink, missing_ok=True)
        # Last: a case with a label map is complete.
        labels, mark = case.prediction.labels.array, with_distance(origin, case.prediction.distance)
        if case.loaded.source:
            write_dicom_seg(output.labels, labels, case.loaded.source, card.labels, model, mark)
        else:
            write_labels(output.labels, labels, geometry, compress, mark)
        undo.pop_all()


def _tell(case: Segmented, plan: Plan, emit: events.Emit) -> None:
    """What is to be known of a written ``case``."""
    name, volume, channels = case.output.case.name, case.loaded.volume, plan.channels
    if len(channels) > 1 and len(case.output.case.images) == 1:
        listed = ", ".join(channel.name for channel in channels)
        emit(events.log(f"{name}: its one file is read as the channels {listed}, in this order."))
    if volume.doubt:
        emit(events.warning(f"{name}: {volume.doubt}."))
    if case.box is not None:
        share = np.prod([part.stop - part.start for part in case.box]) / np.prod(volume.geometry.shape)
        emit(events.log(f"{name}: only the region of interest was segmented, {share:.1%} of it; the rest is empty."))
    if case.prediction.left_out:
        volumes = ", ".join(f"{label} {ml:.3g} ml" for label, ml in case.prediction.left_out.items())
        emit(events.log(f"{name}: left out, apart from the largest piece: {volumes}."))
    if case.prediction.distance is not None and case.prediction.distance > FAR:
        emit(events.warning(far_text(case.prediction.distance, name)))
    for problem in incompatibilities(plan, volume.geometry, list(volume.array)):
        single = problem.channel is None or len(channels) == 1
        subject = name if single else f"{name}, channel {channels[problem.channel or 0].name!r},"
        emit(events.warning(warning_text(problem, subject)))


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


def _stamp(path: str) -> tuple[int, int]:
    check_checkpoint(Path(path))
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
