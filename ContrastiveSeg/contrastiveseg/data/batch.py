"""The input of a training step: crops of several volumes as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B crops.

    Attributes:
        images: (B, C, *patch) float32, normalized.
        labels: (B, *patch) int64 class indices, -1 in crops of unlabeled volumes; or None when the method uses none.
        positions: (B, 3) float32; the crop's center in [0, 1]^3 of its volume's foreground box (axes z, y, x; MACL's
            slice i of n is at (i + 1) / n). Comparable within one data set only.
        extents: (B, 3) float32; the crop's size in those coordinates.
        data_sets: (B,) int64, number of the data set that the crop's volume belongs to.
        cases: (B,) int64, index of the volume that the crop comes from.
    """

    images: Tensor
    labels: Tensor | None
    positions: Tensor
    extents: Tensor
    data_sets: Tensor
    cases: Tensor

    @staticmethod
    def joined(parts: Sequence[Batch]) -> Batch:
        """The crops of ``parts`` in one batch, in order; without labels if one of them has none."""
        labels = [part.labels for part in parts if part.labels is not None]
        return Batch(
            torch.cat([part.images for part in parts]),
            torch.cat(labels) if len(labels) == len(parts) else None,
            torch.cat([part.positions for part in parts]),
            torch.cat([part.extents for part in parts]),
            torch.cat([part.data_sets for part in parts]),
            torch.cat([part.cases for part in parts]),
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        moved = {n: v.to(device, non_blocking=True) for n, v in vars(self).items() if v is not None}
        return replace(self, **moved)
