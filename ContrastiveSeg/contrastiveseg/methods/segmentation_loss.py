"""Dice + cross-entropy, the loss of fine-tuning."""

from __future__ import annotations

import torch
from torch import Tensor

#: MONAI's, in numerator and denominator of the Dice term.
_SMOOTH = 1e-5


def dice_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, region: Tensor | None = None
) -> Tensor:
    """Soft Dice loss + cross-entropy over the voxels of ``region``.

    The overlap is pooled over the crops, and averaged over the structures that occur in them: one that does not occur
    has no Dice, and the background has none.

    Args:
        logits: (B, classes, ...). labels: (B, ...) class indices.
        weights: (classes,) of each class in the cross-entropy, which is a weighted mean.
        region: (B, ...) boolean; all voxels by default.
    """
    classes = logits.shape[1]
    log_probabilities = logits.float().log_softmax(1)
    probabilities = log_probabilities.exp()
    inside = torch.ones_like(labels, dtype=torch.float32) if region is None else region.float()
    # The probability that each voxel gives its own class is all that overlap and cross-entropy need of the labels.
    own = log_probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
    weight = inside if weights is None else inside * weights.to(inside)[labels]
    entropy = -(weight * own).sum() / weight.sum().clamp_min(_SMOOTH)
    flat = labels.flatten()
    overlap = inside.new_zeros(classes).index_add(0, flat, (inside * own.exp()).flatten())[1:]
    wanted = inside.new_zeros(classes).index_add(0, flat, inside.flatten())[1:]
    found = (probabilities[:, 1:] * inside.unsqueeze(1)).sum([0, *range(2, logits.ndim)])
    dice = 1 - (2 * overlap + _SMOOTH) / (found + wanted + _SMOOTH)
    occurs = (wanted > 0).float()
    return entropy + (dice * occurs).sum() / occurs.sum().clamp_min(1)
