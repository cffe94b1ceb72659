"""Supervised fine-tuning: Dice and cross-entropy on a few labeled volumes, with strong augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.augment_intensity import IntensitySettings, RandomRange, shift_structures
from ..data.augment_spatial import SpatialSettings, augment_spatial
from ..data.batch import Batch
from ..data.sampling import PatchSource, draw_patches, network_axes
from ..networks.backbone import Backbone
from ..parameters import Parameters, parameter
from ..planning.plan import Plan
from .method import Optimization, SegmentationMethod, margin, with_margin
from .recall_watch import RecallWatch
from .registry import register_method
from .segmentation_loss import dice_cross_entropy

# Blood pool, liver and lung change places on the gray scale from one patient to the next, more than a handful of
# labeled volumes shows; a network that has only seen those takes a bright liver for a bright atrium. As networks with
# instance norm do not see brightness and contrast, what makes them look at shapes is bias and gamma.
_VARIED = IntensitySettings(
    brightness=RandomRange(0.8, -0.5, 0.5),
    contrast=RandomRange(0.8, 0.5, 1.5),
    gamma=RandomRange(0.5, 0.5, 2.0),
    bias=RandomRange(0.7, 0.2, 0.8),
)


@dataclass(frozen=True)
class SupervisedSettings(Parameters):
    """Hyper-parameters; the values are ours unless a source is named."""

    # Many small steps beat few large ones of the same cost.
    batch: int = parameter(2, help="labeled crops a step", source="nnU-Net", at_least=1)
    foreground: float = parameter(
        0.5,
        help="share of the labeled crops that are centered on a labeled voxel",
        source="[A], nnU-Net: one third",
        at_least=0,
        at_most=1,
    )
    margin: float = margin()
    deep_levels: int = parameter(1, help="lower decoder levels that are supervised too", source="[A]", at_least=0)
    deep_weight: float = parameter(
        0.5,
        help="weight of the loss of each lower level, relative to the level above it",
        source="nnU-Net",
        at_least=0,
    )
    # Volumes come in one orientation and bodies are not symmetric: in a short budget, learning that a mirrored body may
    # also occur costs more than it gains.
    spatial: SpatialSettings = parameter(SpatialSettings(flip=0.0), help="moves of the crops at first", source="[A]")
    # In 150 steps wide moves cost a point of Dice or two, in 2,000 they gain one.
    late_spatial: SpatialSettings = parameter(
        SpatialSettings(flip=0.0, rotation=25.0, scale=(0.75, 1.33), elastic=0.06), help="moves of the crops later on"
    )
    late_from: int = parameter(
        1500,
        help="steps after which crops have the moves of late_spatial; until then those of spatial grow into them",
        unit="steps",
        at_least=1,
    )
    structures: RandomRange = parameter(
        RandomRange(0.5, -1.0, 1.0),
        help="number added to the intensities of the structures of a crop, all together; not in CT",
        unit="standard deviations of the crop",
    )
    intensity: IntensitySettings = parameter(_VARIED, help="intensities of the crops", source="[A]")


@register_method("supervised", stage="finetune")
class Supervised(SegmentationMethod):
    """Minimizes Dice + cross-entropy, averaged over the decoder's levels with falling weights."""

    Settings = SupervisedSettings
    optimization = Optimization(
        optimizer="adamw", learning_rate=6e-3, weight_decay=1e-4, schedule="poly", warm_up=0.05, ema=0.99
    )
    description = "Supervised fine-tuning with Dice + cross-entropy."
    citation = "Isensee et al., nnU-Net, Nature Methods 2021 (recipe of loss and sampling)."

    def __init__(self, backbone: Backbone, plan: Plan, settings: SupervisedSettings, classes: int) -> None:
        super().__init__(backbone, plan, settings, classes, settings.deep_levels)
        self.watch = RecallWatch(classes)

    def draw(self, source: PatchSource, random: np.random.Generator) -> Batch:
        size = with_margin(self.plan.patch, self.settings.margin)
        batch = draw_patches(source, size, self.settings.batch, self.settings.foreground, random)
        return network_axes(batch, self.plan)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """:meth:`step`, before which structures that are being missed are helped."""
        self.watch.intervene(self.segmenter, self.progress)
        return self.step(batch)

    def set_prior(self, frequencies: Sequence[float]) -> None:
        super().set_prior(frequencies)
        self.watch.frequencies.copy_(torch.tensor(frequencies))

    @property
    def interventions(self) -> tuple[str, ...]:
        return self.watch.interventions(self.class_names)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        images, labels = self.moved(batch)
        levels = self.segmenter.forward_deep(self.augment_intensity(images))
        total, finest = self.deep_loss(levels, labels, batch.missing)
        self.watch.update(levels[0], labels)
        return {"loss": total, "dice_ce": finest.detach()}

    def moved(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The crops, each moved on its own, their labels with them, and their structures in another contrast."""
        assert batch.labels is not None
        s = self.settings
        moves = s.spatial.toward(s.late_spatial, min(self.steps_done / s.late_from, 1.0))
        images, labels, _ = augment_spatial(batch.images, batch.labels, moves, self.plan.aspect, self.plan.patch_shape)
        assert labels is not None
        return images if self.plan.has_ct else shift_structures(images, labels, s.structures), labels

    def deep_loss(
        self, levels: Sequence[Tensor], labels: Tensor, missing: Tensor | None = None, region: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Dice + cross-entropy of logits at falling resolutions: their weighted mean, and that of the finest.

        Arguments as in :func:`.segmentation_loss.dice_cross_entropy`, at the resolution of the finest.
        """
        losses = []
        for logits in levels:
            inside = None if region is None else at_level(region, logits)
            unseen = missing
            if missing is not None and missing.ndim > 2:
                unseen = at_level(missing.flatten(0, 1), logits).unflatten(0, missing.shape[:2])
            losses.append(dice_cross_entropy(logits, at_level(labels, logits), self.watch.weights, inside, unseen))
        return self.over_levels(losses), losses[0]

    def over_levels(self, losses: Sequence[Tensor]) -> Tensor:
        """The mean of one loss a level, finest first, with falling weights."""
        weights = [self.settings.deep_weight**level for level in range(len(losses))]
        return torch.stack([w * loss for w, loss in zip(weights, losses, strict=True)]).sum() / sum(weights)


def at_level(labels: Tensor, logits: Tensor) -> Tensor:
    """(B, *grid) labels, or a mask, on the grid of ``logits``, by nearest neighbor."""
    if labels.shape[1:] == logits.shape[2:]:
        return labels
    nearest = F.interpolate(labels.unsqueeze(1).float(), size=logits.shape[2:], mode="nearest-exact").squeeze(1)
    return nearest.to(labels.dtype)
