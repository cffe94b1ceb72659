"""The rank job: which unlabeled volume to label next.

A volume is worth labeling when the network is unsure about it and when no labeled volume resembles it. The list is
made greedily: what is placed counts as labeled for those behind it, so that ten alike volumes do not fill it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from .. import events
from ..descriptions import RankJob
from ..device import autocast_dtype, resolve_device
from ..errors import Cancelled, InputError
from ..files import check_outputs, write_text
from ..serialization import to_json
from ..volumes.dataset import CaseFiles, find_cases
from ..volumes.reading import read_channels
from ..volumes.volume import Geometry
from .observe import Observation, Observer


@dataclass(frozen=True)
class Ranked:
    """An unlabeled volume in its place of the list.

    Attributes:
        score: what the list is sorted by, 0 to 1: the mean of novelty and of the uncertainty's rank, or novelty alone.
        uncertainty: mean normalized entropy in and around the predicted structures; None where no labels are known.
        novelty: distance of its features to the nearest volume that is labeled or stands before it, 0 (the same) to
            1 (as far as any volume of the list is from the labeled ones).
        slice: axis (0, 1, 2 for z, y, x of the file's array) and index of its most uncertain slice.
        world: (x, y, z) in mm (LPS) of the most uncertain place in it.
    """

    name: str
    score: float
    uncertainty: float | None
    novelty: float
    slice: tuple[int, int]
    world: tuple[float, float, float]


def rank(job: RankJob, emit: events.Emit = events.silent, cancelled: events.Cancelled = events.never) -> dict:
    """Run ``job``; returns {"cases": list of :class:`Ranked`, best first, "failures": what could not be read}.

    Raises:
        InputError: the checkpoint or the output cannot be used, nothing is left to rank, or no volume could be read.
        Cancelled: stopped; nothing is written.
    """
    if job.threads:
        torch.set_num_threads(job.threads)
    labeled = find_cases([Path(p) for p in job.labeled]) if job.labeled else []
    known = {_files(case) for case in labeled}
    unlabeled = [case for case in find_cases([Path(p) for p in job.input]) if _files(case) not in known]
    if not unlabeled:
        raise InputError("All volumes of --input are among the labeled ones: there is nothing left to label.")
    inputs = [Path(p) for p in (job.checkpoint, *job.input, *job.labeled)]
    inputs += [image for case in (*labeled, *unlabeled) for image in case.images]
    check_outputs([Path(job.output)] if job.output else [], inputs, job.overwrite)
    emit(events.stage("load"))
    device = resolve_device(job.device)
    dtype = autocast_dtype(device, job.precision)
    observer = Observer.open(Path(job.checkpoint), [*labeled, *unlabeled], device, dtype)
    emit(events.stage("rank"))
    progress = events.Progress(emit, len(labeled) + len(unlabeled), "volumes")
    failures: list[dict[str, str]] = []
    seen: list[tuple[CaseFiles, Observation, Geometry]] = []
    features: list[np.ndarray] = []
    for done, case in enumerate([*labeled, *unlabeled]):

        def on_tile(tile: int, tiles: int, done: int = done) -> None:
            if cancelled():
                raise Cancelled("Stopped while ranking. Nothing was written.")
            progress(done + tile / tiles)

        try:
            volume = read_channels(case.images)
            observation = observer.observe(volume, on_tile)
        except (InputError, RuntimeError, MemoryError) as problem:
            failures.append({"input": str(case.images[0]), "what": str(problem)})
            emit(events.warning(f"{case.name} failed: {problem}"))
            continue
        if done < len(labeled):
            features.append(observation.features)
        else:
            seen.append((case, observation, volume.geometry))
    if not seen:
        raise InputError(f"None of the {len(unlabeled)} volumes could be ranked. {failures[-1]['what']}")
    ranked = _ranked(seen, features)
    for place, one in enumerate(ranked, start=1):
        unsure = "" if one.uncertainty is None else f"uncertainty {one.uncertainty:.3f}, "
        emit(events.log(f"{place}. {one.name}: score {one.score:.3f} ({unsure}novelty {one.novelty:.3f})"))
    result: dict[str, Any] = {"cases": to_json(ranked), "failures": failures}
    if job.output:
        write_text(Path(job.output), json.dumps(result, indent=1) + "\n")
        result["output"] = job.output
    return result


def _files(case: CaseFiles) -> tuple[Path, ...]:
    return tuple(image.resolve() for image in case.images)


def _ranked(seen: Sequence[tuple[CaseFiles, Observation, Geometry]], labeled: Sequence[np.ndarray]) -> list[Ranked]:
    unsure = [observation.uncertainty for _, observation, _ in seen]
    known = None if None in unsure else np.array(unsure, float)
    made = []
    for index, score, novelty in order(np.array([o.features for _, o, _ in seen]), np.array(labeled), known):
        case, observation, geometry = seen[index]
        axis = observation.slice_axis
        made.append(
            Ranked(
                case.name,
                score,
                observation.uncertainty,
                novelty,
                (axis, observation.place[axis]),
                geometry.position(observation.place),
            )
        )
    return made


def order(features: np.ndarray, labeled: np.ndarray, uncertainty: np.ndarray | None) -> list[tuple[int, float, float]]:
    """(index, score, novelty) of every row of ``features``, best first, by greedy farthest-first traversal.

    Novelty is the distance to the nearest row of ``labeled`` or one placed before, read off the distribution of the
    distances to ``labeled`` alone: scales differ between networks, ranks do not. Scores fall along the list.

    Args:
        features: (N, D) of the volumes to order. labeled: (M, D), or empty: then all are equally novel at first.
        uncertainty: (N,), or None to go by novelty alone.
    """
    ours, theirs = cdist(features, features), cdist(features, labeled.reshape(-1, features.shape[1]))
    nearest = theirs.min(1) if theirs.size else np.full(len(features), np.inf)
    reference = np.sort(nearest if theirs.size else ours[~np.eye(len(ours), dtype=bool)])
    steps = np.unique(reference[reference > 0])
    shares = np.searchsorted(reference, steps, "right") / max(len(reference), 1)
    unsure = None if uncertainty is None else rankdata(uncertainty, "max") / len(uncertainty)
    left, placed = list(range(len(features))), []
    while left:
        novelty = np.interp(nearest[left], [0, *steps, np.inf], [0, *shares, 1])
        score = novelty if unsure is None else (novelty + unsure[left]) / 2
        # Among equals the most typical comes first.
        best = int(np.lexsort((ours[left].mean(1), -score))[0])
        index = left.pop(best)
        placed.append((index, float(score[best]), float(novelty[best])))
        nearest = np.minimum(nearest, ours[:, index])
    return placed
