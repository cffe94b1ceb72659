"""Supervised fine-tuning: Dice and cross-entropy on a few labeled volumes, with strong augmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from monai.losses import DiceCELoss
from torch import Tensor
from torch.nn import functional as F

from ..data.batch import Batch
from ..data.sampling import PatchSource, draw_patches, network_axes
from ..errors import InputError
from ..networks.backbone import Backbone
from ..planning.plan import Plan
from ..volumes.augment import IntensitySettings, RandomRange, SpatialSettings, spatial
from .method import Optimization, SegmentationMethod
from .registry import register_method


def _unflipped() -> SpatialSettings:
    # Volumes come in one orientation and bodies are not symmetric: in a short budget, learning that a mirrored body
    # may also occur costs more than it gains.
    return SpatialSettings(flip=0.0)


def _varied() -> IntensitySettings:
    # Blood pool, liver and lung change places on the gray scale from one patient to the next, more than a handful of
    # labeled volumes shows; a network that has only seen those takes a bright liver for a bright atrium. As networks
    # with instance norm do not see brightness and contrast, what makes them look at shapes is bias and gamma.
    return IntensitySettings(
        brightness=RandomRange(0.8, -0.5, 0.5),
        contrast=RandomRange(0.8, 0.5, 1.5),
        gamma=RandomRange(0.5, 0.5, 2.0),
        bias=RandomRange(0.7, 0.2, 0.8),
    )


@dataclass(frozen=True)
class SupervisedSettings:
    """Hyper-parameters; the values are ours unless a source is named.

    Attributes:
        batch: crops a step (nnU-Net: 2). Many small steps beat few large ones of the same cost.
        foreground: share of crops centered on a labeled voxel (nnU-Net: one third).
        margin: crops are drawn this much larger than the patch, so that rotation brings in no padding.
        deep_levels: lower decoder levels that are supervised too.
        deep_weight: weight of each such level's loss relative to the one above it (nnU-Net: 0.5).
    """

    batch: int = 2
    foreground: float = 0.5
    margin: float = 1.15
    deep_levels: int = 1
    deep_weight: float = 0.5
    spatial: SpatialSettings = field(default_factory=_unflipped)
    intensity: IntensitySettings = field(default_factory=_varied)

    def __post_init__(self) -> None:
        if self.batch < 1 or not 0 <= self.foreground <= 1 or self.margin < 1 or self.deep_levels < 0:
            raise InputError(
                "batch must be 1 or more, foreground from 0 to 1, margin 1 or more, deep_levels 0 or more."
            )
        if not 0 <= self.deep_weight < math.inf:
            raise InputError(f"deep_weight must be 0 or more, not {self.deep_weight}.")


@register_method("supervised", stage="finetune")
class Supervised(SegmentationMethod):
    """Minimizes Dice + cross-entropy, averaged over the decoder's levels with falling weights."""

    Settings = SupervisedSettings
    optimization = Optimization("adamw", 6e-3, weight_decay=1e-4, schedule="poly", warm_up=0.05, ema=0.99)
    description = "Supervised fine-tuning with Dice + cross-entropy."
    citation = "Isensee et al., nnU-Net, Nature Methods 2021 (recipe of loss and sampling)."

    def __init__(self, backbone: Backbone, plan: Plan, settings: SupervisedSettings, classes: int) -> None:
        super().__init__(backbone, plan, settings, classes, settings.deep_levels)
        # batch=True pools the overlap over the crops, so a class absent from one crop does not count as missed there.
        self.criterion = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)

    def draw(self, source: PatchSource, random: np.random.Generator) -> Batch:
        size = [math.ceil(n * self.settings.margin) if n > 1 else 1 for n in self.plan.patch]
        batch = draw_patches(source, size, self.settings.batch, self.settings.foreground, random)
        return network_axes(batch, self.plan)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        images, labels = self.augment_spatial(batch)
        levels = self.segmenter.forward_deep(self.augment_intensity(images))
        total, finest = self.deep_loss(levels, labels)
        return {"loss": total, "dice_ce": finest.detach()}

    def augment_spatial(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The crops, each rotated, scaled and shifted on its own, and their labels with them."""
        assert batch.labels is not None
        images, labels, _ = spatial(
            batch.images, batch.labels, self.settings.spatial, self.plan.aspect, self.plan.patch_shape
        )
        assert labels is not None
        return images, labels

    def deep_loss(self, levels: Sequence[Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
        """Dice + cross-entropy of logits at falling resolutions: their weighted mean, and that of the finest."""
        losses = [self.criterion(logits.float(), at_level(labels, logits).unsqueeze(1)) for logits in levels]
        return self.over_levels(losses), losses[0]

    def over_levels(self, losses: Sequence[Tensor]) -> Tensor:
        """The mean of one loss a level, finest first, with falling weights."""
        weights = [self.settings.deep_weight**level for level in range(len(losses))]
        return torch.stack([w * loss for w, loss in zip(weights, losses, strict=True)]).sum() / sum(weights)


def at_level(labels: Tensor, logits: Tensor) -> Tensor:
    """(B, *grid) labels on the grid of ``logits``, by nearest neighbor."""
    if labels.shape[1:] == logits.shape[2:]:
        return labels
    return F.interpolate(labels.unsqueeze(1).float(), size=logits.shape[2:], mode="nearest-exact").squeeze(1).long()
