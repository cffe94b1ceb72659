"""Drawing crops by their position in the body, in groups that share a position across volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from ..data.batch import Batch
from ..data.sampling import PatchSource, network_axes
from ..planning.plan import Plan

#: Which coordinates of positions are compared: "axis" the one along the slice axis, "center3d" all three.
Mode = Literal["axis", "center3d"]

#: Random centers that are tried before the one farthest from the others is taken.
TRIES = 50


@dataclass(frozen=True)
class CropPosition:
    """Where a crop of the plan's patch lies, axes z, y, x.

    Attributes:
        case: index of the volume. data_set: number of the volume's data set.
        start: first voxel of the patch.
        position: center of the patch in [0, 1]^3 of the volume's foreground box.
        extent: size of the patch in the same coordinates.
    """

    case: int
    data_set: int
    start: tuple[int, int, int]
    position: tuple[float, float, float]
    extent: tuple[float, float, float]


def paired_positions(
    source: PatchSource,
    plan: Plan,
    mode: Mode,
    groups: int,
    per_group: int,
    threshold: float,
    random: np.random.Generator,
) -> list[CropPosition]:
    """Crops of the plan's patch in groups around common centers (MACL specification, section 4).

    ``groups`` centers lie at least ``threshold`` apart on some compared axis where the volumes leave room for it;
    around each, ``per_group`` different volumes of one data set are cropped with a jitter of at most ``threshold / 4``
    an axis. Where a data set has fewer volumes there are more groups instead, so that the number of crops stays.
    Crops stay inside the foreground box on axes on which it is larger than the patch, else they are centered on it.
    """
    cases = len(source)
    data_sets = np.array([source.data_set(case) for case in range(cases)])
    compared = compared_axes(plan, mode)
    centers: list[np.ndarray] = []
    crops: list[CropPosition] = []
    while left := groups * per_group - len(crops):
        leader = int(random.integers(cases))
        members = min(per_group, left, int(np.sum(data_sets == data_sets[leader])))
        center = _center_apart(centers, *_reach(source, leader, plan.patch), compared, threshold, random)
        centers.append(center)
        # A few more candidates than needed: volumes in which the center can be reached come first.
        others = random.permutation(np.flatnonzero(data_sets == data_sets[leader]))[: 4 * members]
        near = sorted((c for c in others if c != leader), key=lambda c: _miss(source, int(c), plan.patch, center))
        for case in [leader, *map(int, near[: members - 1])]:
            low, high = _reach(source, case, plan.patch)
            jittered = center + random.uniform(-threshold / 4, threshold / 4, 3)
            crops.append(_crop_at(source, plan, case, np.clip(jittered, low, high)))
    return crops


def random_positions(source: PatchSource, plan: Plan, count: int, random: np.random.Generator) -> list[CropPosition]:
    """``count`` crops of the plan's patch anywhere in the foreground boxes, of all volumes as equally as possible."""
    rounds = [random.permutation(len(source)) for _ in range(math.ceil(count / len(source)))]
    cases = [int(case) for case in np.concatenate(rounds)[:count]]
    return [_crop_at(source, plan, case, random.uniform(*_reach(source, case, plan.patch))) for case in cases]


def compared_axes(plan: Plan, mode: Mode) -> list[int]:
    """The axes on which ``mode`` compares positions."""
    return [plan.slice_axis] if mode == "axis" else [0, 1, 2]


def cut_crops(source: PatchSource, plan: Plan, crops: Sequence[CropPosition], margin: float) -> Batch:
    """The images at ``crops``, ``margin`` times the patch (rounded up by pairs of voxels), concentric; no labels."""
    border = [math.ceil(n * (margin - 1) / 2) if n > 1 else 0 for n in plan.patch]
    size = [n + 2 * b for n, b in zip(plan.patch, border, strict=True)]
    images = [source.crop(c.case, [s - b for s, b in zip(c.start, border, strict=True)], size) for c in crops]
    batch = Batch(
        images=torch.from_numpy(np.stack(images)),
        labels=None,
        positions=torch.tensor([crop.position for crop in crops], dtype=torch.float32),
        extents=torch.tensor([crop.extent for crop in crops], dtype=torch.float32),
        data_sets=torch.tensor([crop.data_set for crop in crops]),
        cases=torch.tensor([crop.case for crop in crops]),
    )
    return network_axes(batch, plan)


def _box(source: PatchSource, case: int) -> tuple[np.ndarray, np.ndarray]:
    box = np.asarray(source.box(case), dtype=float)
    return box[:, 0], box[:, 1] - box[:, 0]


def _reach(source: PatchSource, case: int, patch: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest relative center of a crop that stays in the box; 0.5 where the box is the smaller."""
    half = np.minimum(0.5, np.asarray(patch) / 2 / _box(source, case)[1])
    return half, 1 - half


def _miss(source: PatchSource, case: int, patch: tuple[int, int, int], center: np.ndarray) -> float:
    low, high = _reach(source, case, patch)
    return float(np.abs(np.clip(center, low, high) - center).max())


def _center_apart(
    centers: list[np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    compared: list[int],
    threshold: float,
    random: np.random.Generator,
) -> np.ndarray:
    best, farthest = random.uniform(low, high), -1.0
    for _ in range(TRIES):
        center = random.uniform(low, high)
        distance = min((np.abs(center - c)[compared].max() for c in centers), default=np.inf)
        if distance > farthest:
            best, farthest = center, distance
        if farthest >= threshold:
            break
    return best


def _crop_at(source: PatchSource, plan: Plan, case: int, center: np.ndarray) -> CropPosition:
    first, size = _box(source, case)
    start = np.round(first + center * size - np.asarray(plan.patch) / 2).astype(int)
    position = (start + np.asarray(plan.patch) / 2 - first) / size
    if plan.dimensions == 2:
        # Slice i of n is at (i + 1) / n, as published.
        axis = plan.slice_axis
        position[axis] = (start[axis] - first[axis] + 1) / size[axis]
    extent = np.asarray(plan.patch) / size
    return CropPosition(
        case,
        source.data_set(case),
        (int(start[0]), int(start[1]), int(start[2])),
        (float(position[0]), float(position[1]), float(position[2])),
        (float(extent[0]), float(extent[1]), float(extent[2])),
    )
