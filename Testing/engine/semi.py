"""Small plans, networks and batches for tests of semi-supervised methods."""

from __future__ import annotations

from typing import Any

import torch

from contrastiveseg.data.augment_intensity import IntensitySettings, RandomRange
from contrastiveseg.data.augment_spatial import SpatialSettings
from contrastiveseg.data.batch import Batch
from contrastiveseg.methods.method import SegmentationMethod
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel, Plan

#: Nothing is moved and no intensity changed, so that a test knows what the network saw.
NEVER = RandomRange(0.0, 0.0, 0.0)
STILL: dict[str, Any] = {
    "margin": 1.0,
    "spatial": SpatialSettings(0.0, 0.0),
    "late_spatial": SpatialSettings(0.0, 0.0),
    "structures": NEVER,
    "intensity": IntensitySettings(*[NEVER] * 8),
}
SIDE = 8


def method(
    cls: type[SegmentationMethod], settings: Any, share: float = 0.5, norm: str = "instance", dimensions: int = 3
) -> Any:
    """``cls`` with 3 classes on a network of three levels, in training."""
    torch.manual_seed(0)
    strides = [[2] * dimensions] * 2
    spec = NetworkSpec("unet", dimensions, 1, {"widths": [4, 8, 8], "strides": strides, "norm": norm})
    patch = (SIDE, SIDE, SIDE) if dimensions == 3 else (1, SIDE, SIDE)
    made = cls(build(spec), Plan(dimensions, (Channel(),), (1.0, 1.0, 1.0), patch), settings, classes=3)
    made.progress = share
    return made.train()


def batch(labeled: int = 2, unlabeled: int = 2, dimensions: int = 3) -> Batch:
    """Random crops, the darkest voxels of class 0, the brightest of class 2; labeled ones first, then unlabeled."""
    generator = torch.Generator().manual_seed(1)
    count, shape = labeled + unlabeled, [SIDE] * dimensions
    images = torch.randn(count, 1, *shape, generator=generator)
    labels = torch.bucketize(images[:, 0], torch.tensor([-0.4, 0.4]))
    labels[labeled:] = -1
    zeros, data_sets = torch.zeros(count, 3), torch.zeros(count, dtype=torch.int64)
    return Batch(images, labels, zeros, zeros, data_sets, torch.arange(count))


def falls(made: SegmentationMethod, given: Batch, steps: int = 12, to: float = 0.8) -> bool:
    """Whether the loss falls to less than ``to`` of what it was, over a few steps on one batch."""
    optimizer = torch.optim.AdamW(made.parameters(), 5e-3)
    losses = []
    for _ in range(steps):
        loss = made.step(given)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        made.after_step()
        losses.append(loss.item())
    return losses[-1] < to * losses[0]
