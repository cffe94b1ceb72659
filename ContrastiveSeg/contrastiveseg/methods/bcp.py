"""Bidirectional copy-paste (Bai et al., CVPR 2023): labeled and unlabeled crops pasted into each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.batch import Batch
from ..errors import InputError
from ..volumes.components import keep_largest_component
from .registry import register_method
from .semisupervised import Taught, TaughtSettings, labeled_count
from .supervised import at_level


@dataclass(frozen=True)
class BCPSettings(TaughtSettings):
    """Hyper-parameters (the paper's where not ours).

    Attributes:
        batch, unlabeled: 2 crops each, mixed both ways, make 4.
        weight: of the part of a mixed crop that carries pseudo-labels (alpha), relative to 1 for the labeled part.
        ramp: not used by the paper: 0.
        first: share of the budget in which labeled crops are pasted into each other alone (2000 of 17 000 iterations
            in the paper; more here, as a short run's first teacher would otherwise be a bad one).
        box: side of the pasted box, as a share of the crop's (beta = 2/3).
        largest_component: keep only the largest piece of each class in a crop's pseudo-labels. The paper does. It is
            right for an organ in one piece (7 % fewer wrong voxels on crops of the left atrium, for a network of 200
            steps) and wrong where true pieces lie apart, hence off.
    """

    weight: float = 0.5
    ramp: float = 0.0
    first: float = 0.3
    box: float = 2 / 3
    largest_component: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.first < 1 or not 0 < self.box < 1:
            raise InputError("first must be at least 0 and below 1, box between 0 and 1.")


#: MONAI's, in the Dice loss of supervised training.
_SMOOTH = 1e-5


@register_method("bcp", stage="finetune")
class BCP(Taught):
    """Every mixed crop has a box of one crop in another; its loss is taken apart for the two origins."""

    Settings = BCPSettings
    settings: BCPSettings
    description = (
        "Bidirectional copy-paste: labeled and unlabeled crops pasted into each other, a momentum teacher. Unlike in "
        "the paper's code, the first stage takes 30 % of the budget and half as many crops a step, and Dice is pooled "
        "over the crops, without background."
    )
    citation = "Bai et al., Bidirectional Copy-Paste for Semi-Supervised Medical Image Segmentation, CVPR 2023."

    def step(self, batch: Batch) -> dict[str, Tensor]:
        images, labels = self.augment_spatial(batch)
        known = labeled_count(labels)
        if known == len(labels) or self.progress < self.settings.first:
            return self._labeled_step(images[:known], labels[:known])
        pseudo = self._pseudo_labels(images[known:])
        # Each labeled crop meets an unlabeled one; the fewer are met again.
        index = torch.arange(max(known, len(pseudo)), device=labels.device)
        ours, theirs = index % known, index % len(pseudo)
        box = self._box(images.shape[2:]).to(labels.device)
        pairs = ((images[ours], images[known:][theirs]), (labels[ours], pseudo[theirs]))
        mixed, targets = (torch.cat([torch.where(box, b, a), torch.where(box, a, b)]) for a, b in pairs)
        given = torch.cat([~box.expand_as(labels[ours]), box.expand_as(labels[ours])])
        levels = self.segmenter.forward_deep(self.augment_intensity(mixed))
        grids = [(level, at_level(targets, level), at_level(given, level).bool()) for level in levels]
        labeled = [regional_loss(*grid) for grid in grids]
        pasted = [regional_loss(logits, wanted, ~region) for logits, wanted, region in grids]
        total = self.over_levels(labeled) + self.unsupervised_weight * self.over_levels(pasted)
        return {"loss": total, "dice_ce": labeled[0].detach(), "pseudo": pasted[0].detach()}

    def _pseudo_labels(self, images: Tensor) -> Tensor:
        """(B, ...): the teacher's classes."""
        found = self.taught(images).argmax(1)
        if not self.settings.largest_component:
            return found
        kept = [keep_largest_component(one) for one in found.to(torch.int16).cpu().numpy()]
        return torch.from_numpy(np.stack(kept)).to(found)

    def _labeled_step(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        box = self._box(images.shape[2:]).to(labels.device)
        mixed, targets = (torch.where(box, one.roll(1, 0), one) for one in (images, labels))
        levels = self.segmenter.forward_deep(self.augment_intensity(mixed))
        total, finest = self.deep_loss(levels, targets)
        return {"loss": total, "dice_ce": finest.detach()}

    def _box(self, shape: torch.Size) -> Tensor:
        """Boolean (*shape): a box at a random place, its sides ``box`` times the crop's."""
        inside = torch.zeros(shape, dtype=torch.bool)
        window = []
        for n in shape:
            side = max(1, round(n * self.settings.box))
            start = int(torch.randint(n - side + 1, ()))
            window.append(slice(start, start + side))
        inside[tuple(window)] = True
        return inside


def regional_loss(logits: Tensor, labels: Tensor, region: Tensor) -> Tensor:
    """Dice + cross-entropy over the voxels of ``region`` alone; over all voxels it is supervised training's loss.

    Args:
        logits: (B, classes, ...). labels: (B, ...) class indices. region: (B, ...) boolean.
    """
    logits, inside = logits.float(), region.float()
    entropy = (F.cross_entropy(logits, labels, reduction="none") * inside).sum() / inside.sum().clamp_min(1)
    found = logits.softmax(1)[:, 1:] * inside.unsqueeze(1)
    wanted = F.one_hot(labels, logits.shape[1]).movedim(-1, 1)[:, 1:] * inside.unsqueeze(1)
    axes = [0, *range(2, found.ndim)]
    overlap, sizes = (found * wanted).sum(axes), found.sum(axes) + wanted.sum(axes)
    return entropy + (1 - (2 * overlap + _SMOOTH) / (sizes + _SMOOTH)).mean()
