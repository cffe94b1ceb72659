"""The volumes of a segment job, one after the other: the next is read, and the last written, while one is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import events
from ..checkpoints.card import Label
from ..checkpoints.familiarity import FAR, far_text
from ..descriptions import SegmentJob
from ..errors import Cancelled, InputError
from ..files import check_output
from ..planning.compatibility import incompatibilities, warning_text
from ..planning.plan import Plan
from ..results import Failure
from ..volumes.channel_files import check_channel_order
from ..volumes.content import unchanged
from ..volumes.origin import with_distance
from ..volumes.reading import read_channels
from ..volumes.volume import Volume
from ..volumes.writing import write_labels, write_maps
from .dicom_seg import Model, write_dicom_seg
from .finished import is_finished, origin_of
from .outputs import Output, as_dicom
from .predictor import Prediction, Predictor
from .read_ahead import read_ahead
from .region import VoxelBox, voxels_of
from .sliding_window import OnTile
from .timings import Timings
from .write_behind import WriteBehind

if TYPE_CHECKING:
    from .dicom_source import DicomSource


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


class VolumeBatch:
    """What is to be segmented, and what came of it.

    Args:
        model: what DICOM SEGs say of the checkpoint, and label maps of where they come from.

    Attributes:
        written: the label maps. failures, left_out, distances: as in :class:`.SegmentResult`.
    """

    def __init__(
        self,
        job: SegmentJob,
        outputs: Sequence[Output],
        predictor: Predictor,
        model: Model,
        timings: Timings,
        emit: events.Emit,
        cancelled: events.CancelCheck,
    ) -> None:
        self._job, self._outputs, self._predictor, self._model = job, outputs, predictor, model
        self._timings, self._emit, self._cancelled = timings, emit, cancelled
        self._progress = events.ProgressMeter(emit, len(outputs), "volumes")
        self.written: list[str] = []
        self.failures: list[Failure] = []
        self.left_out: dict[str, Mapping[str, float]] = {}
        self.distances: dict[str, float] = {}

    def segment(self) -> None:
        """Segment all, and name what fails.

        Raises:
            Cancelled: stopped; finished label maps stay.
            InputError: the only volume cannot be segmented.
        """
        with WriteBehind(self._write, self._ended) as writing:
            for done, (output, loaded) in enumerate(read_ahead(self._outputs, self._read)):
                self._segment_one(done, output, loaded, writing)
                self._progress(done + 1)
            writing.finish()

    def _segment_one(
        self, done: int, output: Output, loaded: Callable[[], Loaded], writing: WriteBehind[Segmented]
    ) -> None:
        """``done`` volumes were segmented before."""

        def on_tile(tile: int, tiles: int) -> None:
            if self._cancelled():
                writing.finish()
                raise Cancelled(
                    f"Stopped after {len(self.written)} of {len(self._outputs)} volumes. Those written stay; "
                    "--continue goes on with the others."
                )
            self._progress(done + tile / tiles)

        try:
            case = self._computed(output, loaded, on_tile)
        except (InputError, RuntimeError, MemoryError) as problem:
            writing.finish()
            self._failed(output, problem)
            return
        writing.put(case)
        # Probabilities are too large to be kept beside the next volume; the last one has nothing to wait for.
        if case.prediction.probabilities is not None or done + 1 == len(self._outputs):
            writing.finish()

    def _read(self, output: Output) -> Loaded:
        source = _source_of(output) if as_dicom(self._job) else None
        channels = [channel.name for channel in self._predictor.card.plan.channels]
        check_channel_order(output.case.images, channels)
        with unchanged(output.case.images):
            volume = read_channels(output.case.images, len(channels))
            origin = origin_of(output.case, self._model.digest, self._job)
        return Loaded(volume, origin, source)

    def _computed(self, output: Output, loaded: Callable[[], Loaded], on_tile: OnTile) -> Segmented:
        """``loaded`` gives the case when it is read."""
        job = self._job
        with self._timings.of("load"):
            case = loaded()
            box = voxels_of(job.roi, case.volume.geometry, output.case.name) if job.roi else None
        prediction = self._predictor.predict(
            case.volume,
            mirror=job.mirror,
            pieces=job.pieces,
            box=box,
            probabilities=output.probabilities is not None,
            uncertainty=output.uncertainty is not None,
            on_tile=on_tile,
            timings=self._timings,
            tell=lambda text: self._emit(events.warning(f"{output.case.name}: {text}")),
        )
        return Segmented(output, case, box, prediction)

    def _write(self, case: Segmented) -> None:
        with self._timings.of("write"):
            _write(self._job, self._predictor.card.labels, self._model, case)

    def _failed(self, output: Output, problem: BaseException) -> None:
        if len(self._outputs) == 1 or not isinstance(problem, (InputError, RuntimeError, MemoryError)):
            raise problem
        self.failures.append(Failure(str(output.case.images[0]), str(problem)))
        self._emit(events.warning(f"{output.case.name} failed: {problem}"))

    def _ended(self, case: Segmented, problem: BaseException | None) -> None:
        """It is written, or could not be."""
        if problem is not None:
            return self._failed(case.output, problem)
        _tell(case, self._predictor.card.plan, self._emit)
        self.written.append(str(case.output.labels))
        if apart := case.prediction.left_out:
            self.left_out[case.output.case.name] = apart
        if case.prediction.distance is not None:
            self.distances[case.output.case.name] = round(case.prediction.distance, 2)


def _write(job: SegmentJob, known: Sequence[Label], model: Model, case: Segmented) -> None:
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
            write_dicom_seg(output.labels, labels, case.loaded.source, known, model, mark)
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
