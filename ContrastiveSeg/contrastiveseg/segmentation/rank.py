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
from typing import NamedTuple

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
from ..volumes.dataset_json import described_by
from ..volumes.left_out import tell_left_out
from ..volumes.orientation import canonical_axes
from ..volumes.painted_slices import AXIS_NAMES
from ..volumes.reading import read_channels, read_labels
from ..volumes.volume import Geometry
from .features import FeatureExtractor, VolumeFeatures
from .slices_to_label import phase_of
from .sliding_window import OnTile


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
    given = [Path(p) for p in (*job.input, *job.labeled)]
    inputs = [Path(job.checkpoint), *given, *described_by(given)]
    inputs += [image for case in (*labeled, *unlabeled) for image in case.images]
    check_outputs([Path(job.output)] if job.output else [], inputs, job.overwrite)
    tell_left_out(given, emit)
    emit(events.StageStarted(events.Stage.LOAD))
    device = resolve_device(job.device)
    dtype = autocast_dtype(device, job.precision)
    extractor = FeatureExtractor.open(Path(job.checkpoint), [*labeled, *unlabeled], device, dtype)
    emit(events.StageStarted(events.Stage.RANK))
    progress = events.ProgressMeter(emit, len(labeled) + len(unlabeled), "volumes")
    known_features: list[np.ndarray] = []
    to_rank: list[_Extracted] = []
    failures: list[Failure] = []
    for done, case in enumerate([*labeled, *unlabeled]):

        def on_tile(tile: int, tiles: int, done: int = done) -> None:
            if cancelled():
                raise Cancelled("Stopped while ranking. Nothing was written.")
            progress(done + tile / tiles)

        try:
            extracted = _extracted(case, phase_of(done - len(labeled)), extractor, job, on_tile, emit)
        except (InputError, RuntimeError, MemoryError) as problem:
            failures.append(Failure(str(case.images[0]), str(problem)))
            emit(events.warning(f"{case.name} failed: {problem}"))
            continue
        if done < len(labeled):
            known_features.append(extracted.found.features)
        else:
            to_rank.append(extracted)
    if not to_rank:
        raise InputError(f"None of the {len(unlabeled)} volumes could be ranked. {failures[-1].what}")
    ranked = _ranked(to_rank, known_features)
    grids = {one.case.name: one.geometry for one in to_rank}
    for position, entry in enumerate(ranked, start=1):
        emit(events.log(f"{position}. {_line(entry, grids[entry.name])}"))
    if job.output:
        images = [image for case in (*labeled, *unlabeled) for image in case.images]
        _write(Path(job.output), ranked, failures, images)
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


class _Extracted(NamedTuple):
    """What the network made of a volume, whose grid is ``geometry``."""

    case: CaseFiles
    found: VolumeFeatures
    geometry: Geometry


def _extracted(
    case: CaseFiles, phase: float, extractor: FeatureExtractor, job: RankJob, on_tile: OnTile, emit: events.Emit
) -> _Extracted:
    """Read a volume and look at it; ``phase``: where its slices begin, see :func:`.slices_to_label.phase_of`."""
    channels = extractor.predictor.card.plan.channels
    check_channel_order(case.images, [channel.name for channel in channels])
    volume = read_channels(case.images, len(channels))
    if volume.doubt:
        emit(events.warning(f"{case.name}: {volume.doubt}."))
    painted = _painted(case, volume.geometry)
    found = extractor.extract(volume, on_tile, job.direction, job.slices, painted, phase)
    return _Extracted(case, found, volume.geometry)


def _write(output: Path, ranked: Sequence[RankedCase], failures: Sequence[Failure], images: Sequence[Path]) -> None:
    """The list as JSON, without the folders of ``images``."""
    told = [Failure(*(without_folders(text, images) for text in (f.input, f.what))) for f in failures]
    write_text(output, json.dumps({"cases": to_json(ranked), "failures": to_json(told)}, indent=1) + "\n")


def _painted(case: CaseFiles, geometry: Geometry) -> np.ndarray | None:
    """The mask (z, y, x) of what is painted in a volume that a list says is labeled on some slices."""
    if case.labels is None or case.labeling.part != "slices":
        return None
    return read_labels(case.labels, geometry).array > 0


def _files(case: CaseFiles) -> tuple[Path, ...]:
    return tuple(Path(os.path.realpath(image)) for image in case.images)


def _ranked(unlabeled: Sequence[_Extracted], labeled: Sequence[np.ndarray]) -> list[RankedCase]:
    values = [one.found.uncertainty for one in unlabeled]
    uncertainty = None if None in values else np.array(values, float)
    features = np.array([one.found.features for one in unlabeled])
    ranked = []
    for index, score, novelty in order(features, np.array(labeled), uncertainty):
        case, found, geometry = unlabeled[index]
        place = (found.slice_axis, found.voxel[found.slice_axis])
        world = geometry.position(found.voxel)
        ranked.append(RankedCase(case.name, score, found.uncertainty, novelty, place, world, found.slices))
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
