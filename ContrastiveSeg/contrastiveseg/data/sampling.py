"""Drawing training patches from preprocessed volumes, of which only the crops are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from ..planning.plan import Plan
from .batch import Batch


class PatchSource(Protocol):
    """Preprocessed volumes to cut crops from; only what a crop needs is read."""

    def __len__(self) -> int:
        """Number of volumes."""

    @property
    def labeled(self) -> tuple[int, ...]:
        """Indices of the volumes that have labels, which may all be background."""

    @property
    def unlabeled(self) -> tuple[int, ...]:
        """Indices of the others."""

    def shape(self, case: int) -> tuple[int, int, int]:
        """(z, y, x) of a volume at the plan's spacing."""

    def box(self, case: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Foreground (body) box: (start, stop) in voxels on z, y, x."""

    def crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Image crop (C, z, y, x) float32; outside the volume it is filled with the volume's corner value."""

    def label_crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Label crop (z, y, x) int16 of class indices, -1 for voxels without a label: all of an unlabeled volume.

        Outside the volume it is 0, or -1 where the volume is not labeled throughout.
        """

    def data_set(self, case: int) -> int:
        """Which of the pooled data sets a volume belongs to; positions in the body compare only within one."""

    def foreground_voxels(self, case: int) -> np.ndarray:
        """(n, 4) rows class, z, y, x: voxels of the foreground classes to center crops on."""

    def labeled_voxels(self, case: int) -> np.ndarray | None:
        """(n, 3) rows z, y, x: voxels with a label to center crops on; None where all voxels have one, or none has."""

    def missing(self, case: int) -> np.ndarray | None:
        """(classes,) boolean: the structures that were not looked for in a volume; None where all were."""


def draw_patches(
    source: PatchSource,
    size: Sequence[int],
    batch: int,
    foreground: float,
    random: np.random.Generator,
    cases: Sequence[int] | None = None,
) -> Batch:
    """``batch`` crops of ``size`` (z, y, x) with labels; a share ``foreground`` is centered on a voxel of a structure.

    Those are drawn class by class, so that a small structure is seen as often as a large one; a case that lacks a
    class is simply not drawn for it. The others lie anywhere; in volumes of which only a part is labeled, around any
    voxel with a label.

    Args:
        cases: the volumes to draw from, by default the labeled ones; in crops of others all labels are -1.
    """
    drawn = _spread(source.labeled if cases is None else cases, batch, random)
    centered, remainder = divmod(batch * foreground, 1)
    if remainder:
        centered += random.random() < remainder
    images, labels, positions, extents = [], [], [], []
    for index, case in enumerate(drawn):
        voxels = source.foreground_voxels(case)
        if index < centered and len(voxels):
            label = random.choice(np.unique(voxels[:, 0]))
            # The voxel's middle: without the half, a crop one voxel thick would miss the voxel it is centered on.
            center = tuple(n + 0.5 for n in random.choice(voxels[voxels[:, 0] == label])[1:])
        elif (anywhere := source.labeled_voxels(case)) is not None and len(anywhere):
            center = tuple(n + 0.5 for n in random.choice(anywhere))
        else:
            center = tuple(random.uniform(0, n) for n in source.shape(case))
        start = crop_start(center, size, source.shape(case))
        images.append(source.crop(case, start, size))
        labels.append(source.label_crop(case, start, size))
        box = source.box(case)
        positions.append(position(start, size, box))
        extents.append([n / max(high - low, 1) for n, (low, high) in zip(size, box, strict=True)])
    return Batch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(labels)).long(),
        torch.tensor(positions, dtype=torch.float32),
        torch.tensor(extents, dtype=torch.float32),
        torch.tensor([source.data_set(case) for case in drawn]),
        torch.tensor(drawn),
        stacked_missing([source.missing(case) for case in drawn]),
    )


def stacked_missing(drawn: Sequence[np.ndarray | None]) -> torch.Tensor | None:
    """(B, classes) boolean of crops of which each has (classes,) or None; None if all have."""
    given = next((one for one in drawn if one is not None), None)
    if given is None:
        return None
    return torch.from_numpy(np.stack([np.zeros_like(given) if one is None else one for one in drawn]))


def crop_start(center: Sequence[float], size: Sequence[int], shape: Sequence[int]) -> tuple[int, int, int]:
    """First voxel of a crop around ``center``, moved inside the volume where the volume is large enough.

    On an axis where the volume is smaller than the crop, the volume lies in the crop's middle.
    """
    starts = []
    for middle, n, full in zip(center, size, shape, strict=True):
        starts.append(-((n - full) // 2) if full <= n else int(np.clip(round(middle - n / 2), 0, full - n)))
    return (starts[0], starts[1], starts[2])


def position(start: Sequence[int], size: Sequence[int], box: Sequence[tuple[int, int]]) -> tuple[float, float, float]:
    """Center of a crop in [0, 1]^3 of the foreground box, axes z, y, x."""
    z, y, x = (
        float(np.clip((s + n / 2 - low) / max(high - low, 1), 0, 1))
        for s, n, (low, high) in zip(start, size, box, strict=True)
    )
    return (z, y, x)


def class_frequencies(source: PatchSource, classes: int) -> list[float]:
    """The share of each of ``classes`` (background first) in the voxels of the labeled volumes, at most 16 of them.

    The share of a structure is that in the volumes in which it was looked for. Voxels without a label do not count.
    """
    shares, looked_for = np.zeros(classes), np.zeros(classes)
    for index in np.unique(np.linspace(0, len(source.labeled) - 1, 16).astype(int)):
        case = source.labeled[int(index)]
        labels = source.label_crop(case, (0, 0, 0), source.shape(case))
        count = np.bincount(labels[labels >= 0], minlength=classes)
        missing = source.missing(case)
        voxels = count.sum() * np.ones(classes) if missing is None else count.sum() * ~missing
        shares, looked_for = shares + count, looked_for + voxels
    shares[1:] /= np.maximum(looked_for[1:], 1)
    shares[0] = max(1 - shares[1:].sum(), 0.0)
    return [float(share) for share in shares / shares.sum()]


def network_axes(batch: Batch, plan: Plan) -> Batch:
    """In 2D, take the one-voxel slice axis out of a batch of (B, C, z, y, x) crops."""
    if plan.dimensions == 3:
        return batch
    axis = plan.slice_axis
    labels = None if batch.labels is None else batch.labels.squeeze(1 + axis)
    return replace(batch, images=batch.images.squeeze(2 + axis), labels=labels)


def _spread(cases: Sequence[int], batch: int, random: np.random.Generator) -> list[int]:
    """``batch`` of ``cases``, all equally often as far as possible."""
    if not cases:
        raise ValueError("there is no such volume to draw from")
    order: list[int] = []
    while len(order) < batch:
        order.extend(cases[int(i)] for i in random.permutation(len(cases)))
    return order[:batch]
