"""Bidirectional copy-paste (Bai et al., CVPR 2023): labeled and unlabeled crops pasted into each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.batch import Batch
from ..parameters import as_in, parameter
from ..volumes.components import keep_largest_component
from .registry import register_method
from .segmentation_loss import dice_cross_entropy
from .semisupervised import Taught, TaughtSettings, labeled_count
from .supervised import at_level


@dataclass(frozen=True)
class BCPSettings(TaughtSettings):
    """Hyper-parameters, the paper's where not ours; two labeled and two unlabeled crops, mixed both ways, make four."""

    weight: float = parameter(
        0.5,
        help="alpha, weight of the part of a mixed crop that carries pseudo-labels, relative to 1 for the labeled part",
        source="[P]",
        at_least=0,
    )
    ramp: float = as_in(TaughtSettings, "ramp", 0.0, source="[P] uses none")
    first: float = parameter(
        0.3,
        help="part in which labeled crops are pasted into each other alone; more than in the paper, as a short run's "
        "first teacher would otherwise be a bad one",
        unit="share of the budget",
        source="[A], 2000 of 17 000 iterations [P]",
        at_least=0,
        below=1,
    )
    box: float = parameter(
        2 / 3, help="beta, side of the pasted box", unit="share of the crop's side", source="[P]", above=0, below=1
    )
    # Right for an organ in one piece (7 % fewer wrong voxels on crops of the left atrium, for a network of 200 steps)
    # and wrong where true pieces lie apart, hence off.
    largest_component: bool = parameter(
        False,
        help="keep only the largest piece of each class in a crop's pseudo-labels, as the paper does",
        source="[A], on [P]",
    )


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
        weights = self.watch.weights
        labeled = [dice_cross_entropy(logits, wanted, weights, region) for logits, wanted, region in grids]
        pasted = [dice_cross_entropy(logits, wanted, weights, ~region) for logits, wanted, region in grids]
        self.watch.update(levels[0], torch.where(given, targets, -1))
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
        self.watch.update(levels[0], targets)
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
