"""How unsure a network is, voxel by voxel: the entropy of its predicted classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Voxels worked on at once.
_SLAB = 2**18


class Entropy:
    """Entropy of the softmax over classes whose logits are added one by one; memory does not grow with their number.

    With m the largest logit so far, s = sum exp(z - m) and t = sum (z - m) exp(z - m), the entropy is log s - t / s.
    """

    def __init__(self) -> None:
        self.classes = 0
        self._most = self._sum = self._weighted = torch.empty(0)

    def add(self, logits: Tensor) -> None:
        """The logits of one more class, float32 of any shape, always the same."""
        self.classes += 1
        if self.classes == 1:
            self._most, self._sum, self._weighted = logits.clone(), torch.ones_like(logits), torch.zeros_like(logits)
            return
        # In slabs that stay in the processor's cache, so that what is computed in between takes no room.
        rows = max(1, _SLAB * len(logits) // logits.numel())
        parts = (tensor.split(rows) for tensor in (logits, self._most, self._sum, self._weighted))
        for new, most, total, weighted in zip(*parts, strict=True):
            raised = (new - most).clamp_min_(0)
            weighted.addcmul_(raised, total, value=-1)
            shrunk = raised.neg_().exp_()
            weighted.mul_(shrunk)
            total.mul_(shrunk)
            torch.maximum(most, new, out=most)
            below = new - most
            share = below.exp()
            total.add_(share)
            weighted.addcmul_(below, share)

    def normalized(self) -> Tensor:
        """From 0 (certain) to 1 (all classes alike)."""
        entropy = self._sum.log() - self._weighted / self._sum
        return entropy.div_(math.log(max(self.classes, 2))).clamp_(0, 1)


def entropy_of(logits: Tensor) -> Tensor:
    """:class:`Entropy` of ``logits`` (classes, *grid), normalized to [0, 1]."""
    running = Entropy()
    for one in logits:
        running.add(one.float())
    return running.normalized()
