"""The rank job: which unlabeled volume to label next, and which slices of it.

A volume is worth labeling when the network is uncertain about it and when no labeled volume resembles it. The list is
made greedily: a volume on the list counts as labeled for those behind it, so that ten similar volumes do not fill its
top.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import cdist

from .. import events
from ..descriptions import RankJob
from ..device import autocast_dtype, resolve_device
from ..errors import Cancelled, InputError
from ..files import check_outputs, without_folders, write_text
from ..results import Failure, RankedCase, RankResult
from ..serialization import to_json
from ..volumes.channel_files import check_channel_order
from ..volumes.dataset import CaseFiles, find_cases
from ..volumes.left_out import tell_left_out
from ..volumes.orientation import canonical_axes
from ..volumes.painted_slices import AXIS_NAMES
from ..volumes.reading import read_channels, read_labels
from ..volumes.volume import Geometry
from .features import FeatureExtractor, VolumeFeatures
from .slices_to_label import phase_of


def rank(job: RankJob, emit: events.Emit = events.silent, cancelled: events.CancelCheck = events.never) -> RankResult:
    """Run ``job``; returns the volumes, best first.

    Raises:
        InputError: the checkpoint or the output cannot be used, nothing is left to rank, or no volume could be read.
        Cancelled: stopped; nothing is written.
    """
    if job.threads:
        torch.set_num_threads(job.threads)
    labeled = _labeled(job, emit)
    known = {_files(case) for case in labeled}
    unlabeled = [case for case in find_cases([Path(p) for p in job.input]) if _files(case) not in known]
    if not unlabeled:
        raise InputError("All volumes of --input are among the labeled ones: there is nothing left to label.")
    inputs = [Path(p) for p in (job.checkpoint, *job.input, *job.labeled)]
    inputs += [image for case in (*labeled, *unlabeled) for image in case.images]
    check_outputs([Path(job.output)] if job.output else [], inputs, job.overwrite)
    tell_left_out(map(Path, (*job.input, *job.labeled)), emit)
    emit(events.StageStarted(events.Stage.LOAD))
    device = resolve_device(job.device)
    dtype = autocast_dtype(device, job.precision)
    extractor = FeatureExtractor.open(Path(job.checkpoint), [*labeled, *unlabeled], device, dtype)
    emit(events.StageStarted(events.Stage.RANK))
    progress = events.ProgressMeter(emit, len(labeled) + len(unlabeled), "volumes")
    failures: list[Failure] = []
    unlabeled_features: list[tuple[CaseFiles, VolumeFeatures, Geometry]] = []
    labeled_features: list[np.ndarray] = []
    for done, case in enumerate([*labeled, *unlabeled]):

        def on_tile(tile: int, tiles: int, done: int = done) -> None:
            if cancelled():
                raise Cancelled("Stopped while ranking. Nothing was written.")
            progress(done + tile / tiles)

        try:
            channels = extractor.predictor.card.plan.channels
            check_channel_order(case.images, [channel.name for channel in channels])
            volume = read_channels(case.images, len(channels))
            if volume.doubt:
                emit(events.warning(f"{case.name}: {volume.doubt}."))
            painted = _painted(case, volume.geometry)
            phase = phase_of(done - len(labeled))
            extracted = extractor.extract(volume, on_tile, job.direction, job.slices, painted, phase)
        except (InputError, RuntimeError, MemoryError) as problem:
            failures.append(Failure(str(case.images[0]), str(problem)))
            emit(events.warning(f"{case.name} failed: {problem}"))
            continue
        if done < len(labeled):
            labeled_features.append(extracted.features)
        else:
            unlabeled_features.append((case, extracted, volume.geometry))
    if not unlabeled_features:
        raise InputError(f"None of the {len(unlabeled)} volumes could be ranked. {failures[-1].what}")
    ranked = _ranked(unlabeled_features, labeled_features)
    grids = {case.name: geometry for case, _, geometry in unlabeled_features}
    for position, entry in enumerate(ranked, start=1):
        emit(events.log(f"{position}. {_line(entry, grids[entry.name])}"))
    if job.output:
        images = [image for case in (*labeled, *unlabeled) for image in case.images]
        told = [Failure(*(without_folders(text, images) for text in (f.input, f.what))) for f in failures]
        written = {"cases": to_json(ranked), "failures": to_json(told)}
        write_text(Path(job.output), json.dumps(written, indent=1) + "\n")
    return RankResult(tuple(ranked), tuple(failures), job.output)


def _labeled(job: RankJob, emit: events.Emit) -> list[CaseFiles]:
    """The volumes of ``--labeled``; where that names label maps, as a data set does, only those that have one."""
    given = find_cases([Path(p) for p in job.labeled]) if job.labeled else []
    with_labels = [case for case in given if case.labels or case.candidates]
    if not with_labels or len(with_labels) == len(given):
        return given
    emit(
        events.log(
            f"{len(with_labels)} of {len(given)} volumes of --labeled have a label map; the others do not count."
        )
    )
    return with_labels


def _line(ranked: RankedCase, geometry: Geometry) -> str:
    uncertainty = "" if ranked.uncertainty is None else f"uncertainty {ranked.uncertainty:.3f}, "
    axis, index = ranked.slice
    direction = AXIS_NAMES[canonical_axes(geometry).permutation.index(axis)]
    where = ", ".join(f"{mm:.1f}" for mm in ranked.world)
    few = ", ".join(map(str, ranked.slices))
    return (
        f"{ranked.name}: score {ranked.score:.3f} ({uncertainty}novelty {ranked.novelty:.3f}); "
        f"{direction} slice {index} first (at {where} mm LPS), or a few: {few}"
    )


def _painted(case: CaseFiles, geometry: Geometry) -> np.ndarray | None:
    """The mask (z, y, x) of what is painted in a volume that a list says is labeled on some slices."""
    if case.labels is None or case.labeling.part != "slices":
        return None
    return read_labels(case.labels, geometry).array > 0


def _files(case: CaseFiles) -> tuple[Path, ...]:
    return tuple(Path(os.path.realpath(image)) for image in case.images)


def _ranked(
    unlabeled: Sequence[tuple[CaseFiles, VolumeFeatures, Geometry]], labeled: Sequence[np.ndarray]
) -> list[RankedCase]:
    values = [extracted.uncertainty for _, extracted, _ in unlabeled]
    uncertainty = None if None in values else np.array(values, float)
    features = np.array([extracted.features for _, extracted, _ in unlabeled])
    ranked = []
    for index, score, novelty in order(features, np.array(labeled), uncertainty):
        case, extracted, geometry = unlabeled[index]
        axis, voxel = extracted.slice_axis, extracted.voxel
        ranked.append(
            RankedCase(
                case.name,
                score,
                extracted.uncertainty,
                novelty,
                (axis, voxel[axis]),
                geometry.position(voxel),
                extracted.slices,
            )
        )
    return ranked


def order(features: np.ndarray, labeled: np.ndarray, uncertainty: np.ndarray | None) -> list[tuple[int, float, float]]:
    """(index, score, novelty) of every row of ``features``, best first, by greedy farthest-first traversal.

    Novelty is the distance to the nearest row of ``labeled`` or of an earlier row of the list, as a rank among the
    distances to ``labeled`` alone: scales differ between networks, ranks do not. Scores fall along the list.

    Args:
        features: (N, D) of the volumes to order. labeled: (M, D), or empty: then all are equally novel at first.
        uncertainty: (N,), or None to use novelty alone.
    """
    mutual, to_labeled = cdist(features, features), cdist(features, labeled.reshape(-1, features.shape[1]))
    nearest = to_labeled.min(1) if to_labeled.size else np.full(len(features), np.inf)
    reference = np.sort(nearest if to_labeled.size else mutual[~np.eye(len(mutual), dtype=bool)])
    steps = np.unique(reference[reference > 0])
    shares = np.searchsorted(reference, steps, "right") / max(len(reference), 1)
    uncertainty_rank = None
    if uncertainty is not None:  # the share that is no more uncertain; scipy.stats would take half a second to load
        uncertainty_rank = np.searchsorted(np.sort(uncertainty), uncertainty, "right") / len(uncertainty)
    remaining, ordered = list(range(len(features))), []
    while remaining:
        novelty = np.interp(nearest[remaining], [0, *steps, np.inf], [0, *shares, 1])
        score = novelty if uncertainty_rank is None else (novelty + uncertainty_rank[remaining]) / 2
        # Among equals the most typical comes first.
        best = int(np.lexsort((mutual[remaining].mean(1), -score))[0])
        index = remaining.pop(best)
        ordered.append((index, float(score[best]), float(novelty[best])))
        nearest = np.minimum(nearest, mutual[:, index])
    return ordered
