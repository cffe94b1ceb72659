"""From logits at the working spacing to classes, probabilities and uncertainty on a volume's own voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .uncertainty import Entropy, entropy_of


@dataclass(frozen=True)
class Restored:
    """Class indices (z, y, x) uint8 on a volume's canonical grid, and on request softmax values there."""

    classes: np.ndarray
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None


def restore(logits: Tensor, shape: tuple[int, ...], probabilities: bool = False, uncertainty: bool = False) -> Restored:
    """The classes of ``logits`` (classes, z, y, x) on a grid of ``shape``.

    Logits are interpolated, not labels. Class by class with a running maximum, so that memory does not grow with the
    number of classes unless probabilities are requested.
    """
    if probabilities:
        full = _resized(logits, shape)
        unsure = entropy_of(full).cpu().numpy() if uncertainty else None
        soft = full.softmax(0)
        return Restored(soft.argmax(0).to(torch.uint8).cpu().numpy(), soft.cpu().numpy(), unsure)
    best = _resized(logits[:1], shape)[0]
    classes = torch.zeros(shape, dtype=torch.uint8, device=best.device)
    entropy = Entropy()
    if uncertainty:
        entropy.add(best)
    for index in range(1, len(logits)):
        candidate = _resized(logits[index : index + 1], shape)[0]
        if uncertainty:
            entropy.add(candidate)
        classes.masked_fill_(candidate > best, index)
        torch.maximum(best, candidate, out=best)
    return Restored(classes.cpu().numpy(), None, entropy.normalized().cpu().numpy() if uncertainty else None)


def _resized(logits: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(logits.shape[1:]) == tuple(shape):
        return logits.float().clone()
    return F.interpolate(logits.float()[None], size=shape, mode="trilinear", align_corners=False)[0]
