"""From logits at the working spacing to classes, probabilities and uncertainty on a volume's own voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.card import Decision
from ..volumes.resample_nnunet import resample_logits
from ..volumes.volume import label_type
from .region import VoxelBox, in_place
from .strongest import classes_of, strongest_classes
from .uncertainty import Entropy, entropy_of

Change: TypeAlias = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Restored:
    """Class indices (z, y, x) uint8 on a grid; on request softmax values (classes, z, y, x) and uncertainty."""

    classes: np.ndarray
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None

    def each(self, change: Change, soft: Change | None = None) -> Restored:
        """With ``change`` applied to all, or ``soft`` to the probabilities."""
        return Restored(
            change(self.classes),
            None if self.probabilities is None else (soft or change)(self.probabilities),
            None if self.uncertainty is None else change(self.uncertainty),
        )

    def only_in(self, box: VoxelBox, shape: tuple[int, ...], cut: bool) -> Restored:
        """What is in ``box``, which all of this is from where it was ``cut`` out, on a grid of ``shape`` (z, y, x);
        elsewhere background for certain."""
        inside = (..., *box)

        def placed(array: np.ndarray, outside: float = 0) -> np.ndarray:
            return in_place(box, array if cut else array[inside], shape, outside)

        return self.each(placed, lambda soft: np.concatenate([placed(soft[:1], 1), placed(soft[1:])]))


def labels_of_classes(classes: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """The labels of ``classes`` (z, y, x): 0 for the background, then ``values``. Not copied where equal."""
    every = [0, *values]
    if every == list(range(len(every))):
        return classes
    return np.array(every, label_type(max(every)))[classes]


def restore(
    logits: Tensor,
    shape: tuple[int, ...],
    probabilities: bool = False,
    uncertainty: bool = False,
    decision: Decision = "largest",
    thick: int | None = None,
) -> Restored:
    """The classes of ``logits`` (classes, z, y, x) on a grid of ``shape``.

    Logits are interpolated, not labels. On a CPU slab by slab, else class by class with a running maximum, so that
    memory holds no whole interpolated classes unless probabilities are requested.

    Args:
        decision: see :class:`.checkpoints.card.Card`; with "last" probabilities and uncertainty are those of each class
            alone, and the background's is that of the least certain one.
        thick: the axis along which the nearest slice is copied.
    """
    if decision == "last":
        return _last_above_half(logits, shape, probabilities, uncertainty, thick)
    if probabilities:
        full = _resized(logits, shape, thick)
        unsure = entropy_of(full).cpu().numpy() if uncertainty else None
        soft = full.softmax(0)
        return Restored(classes_of(soft).to(torch.uint8).cpu().numpy(), soft.cpu().numpy(), unsure)
    resized = tuple(logits.shape[1:]) != tuple(shape)
    if resized and logits.device.type == "cpu" and thick is None and not uncertainty:
        return Restored(strongest_classes(logits, shape).numpy())
    best = _resized(logits[:1], shape, thick)[0]
    classes = torch.zeros(shape, dtype=torch.uint8, device=best.device)
    entropy = Entropy()
    if uncertainty:
        entropy.add(best)
    for index in range(1, len(logits)):
        candidate = _resized(logits[index : index + 1], shape, thick)[0]
        if uncertainty:
            entropy.add(candidate)
        classes.masked_fill_(candidate > best, index)
        torch.maximum(best, candidate, out=best)
    return Restored(classes.cpu().numpy(), None, entropy.normalized().cpu().numpy() if uncertainty else None)


def _last_above_half(
    logits: Tensor, shape: tuple[int, ...], probabilities: bool, uncertainty: bool, thick: int | None
) -> Restored:
    """Every class but the background decides by itself; of those that are there, the last one holds the voxel."""
    classes = torch.zeros(shape, dtype=torch.uint8, device=logits.device)
    most, unsure, soft = (
        torch.zeros_like(classes, dtype=torch.float32),
        torch.zeros_like(classes, dtype=torch.float32),
        [],
    )
    for index in range(1, len(logits)):
        one = _resized(logits[index : index + 1], shape, thick)[0]
        classes.masked_fill_(one > 0, index)
        probability = one.sigmoid()
        torch.maximum(most, probability, out=most)
        if uncertainty:
            torch.maximum(unsure, entropy_of(torch.stack((torch.zeros_like(one), one))), out=unsure)
        if probabilities:
            soft.append(probability.cpu())
    return Restored(
        classes.cpu().numpy(),
        torch.stack(((1 - most).cpu(), *soft)).numpy() if probabilities else None,
        unsure.cpu().numpy() if uncertainty else None,
    )


def _resized(logits: Tensor, shape: tuple[int, ...], thick: int | None) -> Tensor:
    if tuple(logits.shape[1:]) == tuple(shape):
        return logits.float().clone()
    return resample_logits(logits.float(), shape, thick)
