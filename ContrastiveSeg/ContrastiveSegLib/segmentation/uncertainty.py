"""How unsure a network is, voxel by voxel: the entropy of its predicted classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
        raised = (logits - self._most).clamp_min_(0)
        self._weighted.addcmul_(raised, self._sum, value=-1)
        shrunk = raised.neg_().exp_()
        self._weighted.mul_(shrunk)
        self._sum.mul_(shrunk)
        torch.maximum(self._most, logits, out=self._most)
        below = logits - self._most
        share = below.exp()
        self._sum.add_(share)
        self._weighted.addcmul_(below, share)

    def normalised(self) -> Tensor:
        """From 0 (certain) to 1 (all classes alike)."""
        entropy = self._sum.log() - self._weighted / self._sum
        return entropy.div_(math.log(max(self.classes, 2))).clamp_(0, 1)


def entropy_of(logits: Tensor) -> Tensor:
    """:class:`Entropy` of ``logits`` (classes, *grid), normalised to [0, 1]."""
    running = Entropy()
    for one in logits:
        running.add(one.float())
    return running.normalised()
