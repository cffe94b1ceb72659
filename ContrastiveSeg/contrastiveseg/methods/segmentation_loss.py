"""Dice + cross-entropy, the loss of fine-tuning, over what is labeled."""

from __future__ import annotations

import torch
from torch import Tensor

#: MONAI's, in numerator and denominator of the Dice term.
_SMOOTH = 1e-5


def dice_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    region: Tensor | None = None,
    missing: Tensor | None = None,
) -> Tensor:
    """Soft Dice loss + cross-entropy over the labeled voxels of ``region``.

    The overlap is pooled over the crops, and averaged over the structures that occur in them: one that does not occur
    has no Dice, and the background has none.

    Args:
        logits: (B, classes, ...). labels: (B, ...) class indices; voxels of -1 are left out.
        weights: (classes,) of each class in the cross-entropy, which is a weighted mean.
        region: (B, ...) boolean; all voxels by default.
        missing: (B, classes) or (B, classes, ...) boolean: structures that were not looked for. There a label of
            background means any of them or background, see :func:`merged_with_background`.
    """
    classes = logits.shape[1]
    log_probabilities, inside, labels = _compared(logits, labels, region, missing)
    # The probability that each voxel gives its own class is all that overlap and cross-entropy need of the labels.
    own = log_probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
    flat = labels.flatten()
    overlap = inside.new_zeros(classes).index_add(0, flat, (inside * own.exp()).flatten())[1:]
    wanted = inside.new_zeros(classes).index_add(0, flat, inside.flatten())[1:]
    predicted = (log_probabilities[:, 1:].exp() * inside.unsqueeze(1)).sum([0, *range(2, logits.ndim)])
    dice = 1 - (2 * overlap + _SMOOTH) / (predicted + wanted + _SMOOTH)
    occurs = (wanted > 0).float()
    return _entropy(own, labels, inside, weights) + (dice * occurs).sum() / occurs.sum().clamp_min(1)


def squared_dice(logits: Tensor, labels: Tensor, region: Tensor | None = None, missing: Tensor | None = None) -> Tensor:
    """Soft Dice loss with squares in the denominator, pooled over the crops, mean over all classes with background.

    Where everything is labeled: MONAI's ``DiceLoss(squared_pred=True, batch=True)``. Arguments as in
    :func:`dice_cross_entropy`.
    """
    log_probabilities, labeled, labels = _compared(logits, labels, region, missing)
    inside = labeled.unsqueeze(1)
    probabilities = log_probabilities.exp() * inside
    wanted = torch.zeros_like(probabilities).scatter_(1, labels.unsqueeze(1), 1.0) * inside
    over = [0, *range(2, logits.ndim)]
    both, total = (probabilities * wanted).sum(over), (probabilities.square() + wanted).sum(over)
    return (1 - (2 * both + _SMOOTH) / (total + _SMOOTH)).mean()


def cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, missing: Tensor | None = None
) -> Tensor:
    """Cross-entropy, a weighted mean over the labeled voxels; 0 where there are none.

    Arguments as in :func:`dice_cross_entropy`.
    """
    log_probabilities, inside, labels = _compared(logits, labels, None, missing)
    return _entropy(log_probabilities.gather(1, labels.unsqueeze(1)).squeeze(1), labels, inside, weights)


def merged_with_background(log_probabilities: Tensor, missing: Tensor) -> Tensor:
    """The marginal distribution of a case in which the classes ``missing`` were not looked for.

    Their probabilities go to the background, with which their voxels are labeled, and they have none left (Fang and
    Yan, "Multi-organ segmentation over partially labeled datasets", IEEE TMI 2020; Shi et al., MedIA 2021).

    Args:
        log_probabilities: (B, classes, ...). missing: (B, classes) or (B, classes, ...) boolean, never the background.
    """
    missing = missing.view(*missing.shape, *[1] * (log_probabilities.ndim - missing.ndim))
    merged = torch.cat([torch.ones_like(missing[:, :1]), missing[:, 1:]], 1)
    background = log_probabilities.masked_fill(~merged, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([background, log_probabilities[:, 1:].masked_fill(missing[:, 1:], -torch.inf)], 1)


def _compared(
    logits: Tensor, labels: Tensor, region: Tensor | None, missing: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (B, classes, ...), 1 where a voxel counts and else 0 (B, ...), and the labels of those."""
    log_probabilities = logits.float().log_softmax(1)
    if missing is not None:
        log_probabilities = merged_with_background(log_probabilities, missing)
    inside = labels >= 0
    if region is not None:
        inside = inside & region
    # Elsewhere a label may be of a class without probability, whose logarithm is infinite.
    return log_probabilities, inside.float(), labels.masked_fill(~inside, 0)


def _entropy(own: Tensor, labels: Tensor, inside: Tensor, weights: Tensor | None) -> Tensor:
    """Cross-entropy from the log-probability ``own`` (B, ...) of each voxel's class."""
    weight = inside if weights is None else inside * weights.to(inside)[labels]
    return -(weight * own).sum() / weight.sum().clamp_min(_SMOOTH)
