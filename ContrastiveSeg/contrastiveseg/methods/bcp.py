"""Bidirectional copy-paste (Bai et al., CVPR 2023): labeled and unlabeled crops pasted into each other.

Specification: docs/methods/bcp.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.batch import Batch
from ..parameters import as_in, parameter
from ..volumes.components import keep_largest_component
from .registry import register_method
from .semisupervised import Taught, TaughtSettings, labeled_count


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
        images, labels = self.moved(batch)
        known, unlabeled = labeled_count(labels), labels < 0
        missing = _everywhere(batch.missing, labels)
        crops = unlabeled.flatten(1).any(1)
        if self.progress < self.settings.first or not crops.any():
            return self._labeled_step(images[:known], labels[:known], None if missing is None else missing[:known])
        filled = labels.clone()
        filled[crops] = torch.where(unlabeled[crops], self._pseudo_labels(images[crops]), labels[crops])
        # Each labeled crop meets an unlabeled one; the fewer are met again. Without any it meets the next labeled one.
        others = len(labels) - known
        index = torch.arange(max(known, others), device=labels.device)
        ours, theirs = index % known, known + index % others if others else (index + 1) % known
        box = self._box(images.shape[2:]).to(labels.device)

        def pasted(of: Tensor) -> Tensor:
            return torch.cat([torch.where(box, of[theirs], of[ours]), torch.where(box, of[ours], of[theirs])])

        targets, given = pasted(filled), pasted(~unlabeled)
        levels = self.segmenter.forward_deep(self.augment_intensity(pasted(images)))
        mixed_missing = None if missing is None else pasted(missing)
        labeled, finest = self.deep_loss(levels, targets, mixed_missing, given)
        pseudo, finest_pseudo = self.deep_loss(levels, targets, region=~given)
        self.watch.update(levels[0], torch.where(given, targets, -1))
        total = labeled + self.unsupervised_weight * pseudo
        return {"loss": total, "dice_ce": finest.detach(), "pseudo": finest_pseudo.detach()}

    def _pseudo_labels(self, images: Tensor) -> Tensor:
        """(B, ...): the teacher's classes."""
        found = self.taught(images).max(1).indices
        if not self.settings.largest_component:
            return found
        kept = [keep_largest_component(one) for one in found.to(torch.int16).cpu().numpy()]
        return torch.from_numpy(np.stack(kept)).to(found)

    def _labeled_step(self, images: Tensor, labels: Tensor, missing: Tensor | None) -> dict[str, Tensor]:
        box = self._box(images.shape[2:]).to(labels.device)
        mixed, targets = (torch.where(box, one.roll(1, 0), one) for one in (images, labels))
        if missing is not None:
            missing = torch.where(box, missing.roll(1, 0), missing)
        levels = self.segmenter.forward_deep(self.augment_intensity(mixed))
        total, finest = self.deep_loss(levels, targets, missing)
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


def _everywhere(missing: Tensor | None, labels: Tensor) -> Tensor | None:
    """``missing`` (B, classes) for every voxel of ``labels`` (B, ...): (B, classes, ...), as crops are mixed."""
    if missing is None:
        return None
    return missing.view(*missing.shape, *[1] * (labels.ndim - 1)).expand(*missing.shape, *labels.shape[1:])
