"""The preview job: strokes and a volume in, a label map of the whole volume out, within seconds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch

from .. import events
from ..checkpoints.header import checkpoint_digest, read_card
from ..checkpoints.licensing import tell_terms
from ..descriptions import PreviewJob
from ..device import autocast_dtype, resolve_device
from ..errors import Cancelled, InputError, system_refusals
from ..files import check_outputs
from ..results import PreviewResult
from ..segmentation.restoring import labels_of_classes, restore
from ..segmentation.timings import Timings
from ..volumes.channel_files import check_channel_order
from ..volumes.orientation import oriented_axes
from ..volumes.reading import read_channels
from ..volumes.volume import Volume
from ..volumes.writing import check_writable_kind, write_labels
from .computing import feature_maps, open_network
from .feature_cache import default_folder, key_of, store, stored
from .feature_maps import FeatureMaps
from .spreading import class_scores
from .strokes import read_strokes

#: Stages in the order of the result; "import" as in segmenting, "load" is reading the volume and the strokes.
STAGES = ("import", "load", "features", "spread", "write", "total")


def preview(
    job: PreviewJob,
    emit: events.Emit = events.silent,
    cancelled: events.CancelCheck = events.never,
    import_seconds: float = 0.0,
) -> PreviewResult:
    """Run ``job``; the label map written has the values of the strokes, on the volume's own grid.

    Args:
        import_seconds: what loading the libraries took before this call; reported as "import" and part of "total".

    Raises:
        InputError: checkpoint, volume or strokes cannot be used, or the output cannot be written.
        Cancelled: stopped; nothing is written, but features that were complete stay in the cache.
    """
    start = time.perf_counter()
    timings = Timings({"import": import_seconds})
    if job.threads:
        torch.set_num_threads(job.threads)
    output = Path(job.output)
    check_writable_kind(output)
    images = [Path(p) for p in job.image]
    check_outputs([output], [Path(job.checkpoint), Path(job.labels), *images], job.overwrite)
    emit(events.StageStarted(events.Stage.LOAD))
    with timings.of("load"):
        card = read_card(Path(job.checkpoint))
        check_channel_order(images, [channel.name for channel in card.plan.channels])
        volume = read_channels(images, len(card.plan.channels))
        axes = oriented_axes(volume.geometry, card.plan.conventions.orientation)
        strokes = read_strokes(Path(job.labels), volume.geometry, axes, job.background)
    tell_terms(card, emit)
    if volume.doubt:
        emit(events.warning(f"{volume.name}: {volume.doubt}."))
    with timings.of("features"):
        features, computed = _features(job, volume, emit, cancelled)
    _stop_if(cancelled)
    emit(events.StageStarted(events.Stage.PREVIEW))
    with timings.of("spread"):
        scores = class_scores(features, strokes)
        _stop_if(cancelled)
        classes = restore(scores, strokes.grid).classes
        array = labels_of_classes(np.ascontiguousarray(axes.undo(classes)), strokes.values)
    _stop_if(cancelled)
    with timings.of("write"):
        write_labels(output, array, volume.geometry, compress=not job.uncompressed)
    if not strokes.background:
        emit(
            events.log(
                "No background was painted: it was assumed where the volume is unlike the strokes. A stroke of "
                "background where the preview is too large helps most."
            )
        )
    timings.add("total", import_seconds + time.perf_counter() - start)
    seconds = {stage: round(timings.seconds.get(stage, 0.0), 4) for stage in STAGES}
    return PreviewResult(job.output, strokes.background, computed, seconds)


def _features(
    job: PreviewJob, volume: Volume, emit: events.Emit, cancelled: events.CancelCheck
) -> tuple[FeatureMaps, bool]:
    """The volume's features, and whether they had to be computed."""
    device = resolve_device(job.device)
    checkpoint = checkpoint_digest(Path(job.checkpoint))
    precision = f"{device.type} {autocast_dtype(device, job.precision)}"
    folder, key = Path(job.cache) if job.cache else default_folder(), key_of(volume, checkpoint, precision)
    found = stored(folder, key)
    if found is not None:
        return found, False
    emit(events.StageStarted(events.Stage.FEATURES))
    path = os.path.realpath(job.checkpoint)
    network = open_network(path, checkpoint, len(volume.array), str(device), job.precision)
    features = feature_maps(network, volume, cancelled)
    try:
        with system_refusals():
            store(folder, key, features)
    except InputError as problem:
        text = f"The features are not kept, so the next preview takes as long. {problem} --cache names another folder."
        emit(events.warning(text))
    return features, True


def _stop_if(cancelled: events.CancelCheck) -> None:
    if cancelled():
        raise Cancelled("Stopped. Nothing was written.")
