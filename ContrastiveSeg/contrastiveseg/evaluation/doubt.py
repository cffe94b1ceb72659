"""Doubt about the segmentations of a batch.

Nothing here says whether a segmentation is right. What is unlike the others of its batch, or what the network was
unsure of, is worth a look first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..checkpoints.familiarity import FAR, far_text
from ..results import QualityCase

#: A structure this many times larger or smaller than the median is told of.
_FACTOR = 2.0


@dataclass(frozen=True)
class Measured:
    """What one case is by itself; the other fields are those of :class:`.results.QualityCase`.

    Attributes:
        volumes: label value -> ml. pieces: label value -> number of connected pieces.
        world: (x, y, z) in mm (LPS) of the place to look at.
        distance: from the training, as the segmentation's header says it; None where it does not.
    """

    name: str
    volumes: Mapping[int, float]
    pieces: Mapping[int, int]
    uncertainty: float | None
    unlike: tuple[str, ...]
    world: tuple[float, float, float]
    distance: float | None = None


def by_doubt(measured: Sequence[Measured], names: Mapping[int, str]) -> list[QualityCase]:
    """``measured`` as cases with their doubt and its reasons, the most doubtful first.

    Doubt is the mean, over what is known of all cases, of the share of the other cases that have less of it: of
    uncertainty; of the distance from the training; of the largest deviation of a structure's volume from its median, as
    the logarithm of their ratio; of pieces beyond the median number; of ways in which the volume is unlike those
    trained on. A structure that more than half of the cases have and one lacks deviates infinitely.

    Args:
        names: label value -> name of the structures to look for.
    """
    usual = {value: _usual_volume(measured, value) for value in names}
    pieces = {value: median([case.pieces.get(value, 0) for case in measured]) for value in names}
    signs: list[list[float]] = [
        [max((_deviation(case.volumes.get(v, 0.0), usual[v]) for v in names), default=0.0) for case in measured],
        [sum(max(case.pieces.get(v, 0) - pieces[v], 0) for v in names) for case in measured],
        [len(case.unlike) for case in measured],
    ]
    for known in ([case.uncertainty for case in measured], [case.distance for case in measured]):
        if None not in known:
            signs.append([float(value or 0) for value in known])
    cases = []
    for index, case in enumerate(measured):
        shares = [sum(other < values[index] for other in values) / max(len(values) - 1, 1) for values in signs]
        cases.append(
            QualityCase(
                name=case.name,
                doubt=sum(shares) / len(shares),
                volumes_ml={name: case.volumes.get(value, 0.0) for value, name in names.items()},
                pieces={name: case.pieces.get(value, 0) for value, name in names.items()},
                uncertainty=case.uncertainty,
                unlike=case.unlike,
                reasons=_reasons(case, names, usual, pieces),
                world=case.world,
                distance=case.distance,
            )
        )
    return sorted(cases, key=lambda case: (-case.doubt, -(case.uncertainty or 0), case.name))


def _usual_volume(measured: Sequence[Measured], value: int) -> float | None:
    """The median ml of a structure where it is, by its logarithm; None where half of the cases or more lack it."""
    there = [math.log(case.volumes[value]) for case in measured if case.volumes.get(value)]
    return math.exp(median(there)) if 2 * len(there) > len(measured) else None


def _deviation(ml: float, usual: float | None) -> float:
    if usual is None:
        return 0.0
    # Rounded, so that what is equal but for the last digits counts as equal.
    return round(abs(math.log(ml / usual)), 6) if ml else math.inf


def _reasons(
    case: Measured, names: Mapping[int, str], usual: Mapping[int, float | None], pieces: Mapping[int, float]
) -> tuple[str, ...]:
    reasons = []
    for value, name in names.items():
        ml, expected = case.volumes.get(value, 0.0), usual[value]
        if expected is not None and not ml:
            reasons.append(f"no {name}")
        elif expected is not None and not 1 / _FACTOR <= ml / expected <= _FACTOR:
            reasons.append(f"{name} {ml / expected:.2g} times the median")
        if case.pieces.get(value, 0) > max(pieces[value], 1):
            reasons.append(f"{name} in {case.pieces[value]} pieces")
    if case.distance is not None and case.distance > FAR:
        reasons.append(far_text(case.distance, "the volume").removesuffix("."))
    return (*reasons, *case.unlike)
