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
        labels: (B, *patch) int64 class indices, -1 for voxels without a label, as all are in crops of unlabeled
            volumes; or None when the method uses none.
        positions: (B, 3) float32; the crop's center in [0, 1]^3 of its volume's foreground box (axes z, y, x; MACL's
            slice i of n is at (i + 1) / n). Comparable within one data set only.
        extents: (B, 3) float32; the crop's size in those coordinates.
        data_sets: (B,) int64, number of the data set that the crop's volume belongs to.
        cases: (B,) int64, index of the volume that the crop comes from.
        missing: (B, classes) boolean, the structures that were not looked for in the crop's volume: they may lie where
            it says background. None where all were looked for in all volumes.
    """

    images: Tensor
    labels: Tensor | None
    positions: Tensor
    extents: Tensor
    data_sets: Tensor
    cases: Tensor
    missing: Tensor | None = None

    @staticmethod
    def joined(parts: Sequence[Batch]) -> Batch:
        """The crops of ``parts`` in one batch, in order; without labels if one of them has none."""
        labels = [part.labels for part in parts if part.labels is not None]
        width = next((part.missing.shape[1] for part in parts if part.missing is not None), None)
        missing = [
            torch.zeros(len(part.images), width or 0, dtype=torch.bool) if part.missing is None else part.missing
            for part in parts
        ]
        return Batch(
            torch.cat([part.images for part in parts]),
            torch.cat(labels) if len(labels) == len(parts) else None,
            torch.cat([part.positions for part in parts]),
            torch.cat([part.extents for part in parts]),
            torch.cat([part.data_sets for part in parts]),
            torch.cat([part.cases for part in parts]),
            torch.cat(missing) if width else None,
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        moved = {n: v.to(device, non_blocking=True) for n, v in vars(self).items() if v is not None}
        return replace(self, **moved)


def certain(labels: Tensor, missing: Tensor | None) -> Tensor:
    """``labels`` (B, ...), and -1 also where background may be one of the structures ``missing`` (B, classes)."""
    if missing is None:
        return labels
    open_crops = missing.any(1).view(-1, *[1] * (labels.ndim - 1))
    return labels.masked_fill(open_crops & (labels == 0), -1)
