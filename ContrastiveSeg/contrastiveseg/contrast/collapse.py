"""Stops contrastive training that has collapsed or does not learn."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..errors import ContrastiveSegError


class CollapseGuard(nn.Module):
    """Watches the bottleneck's scale and the contrastive loss (MACL specification, section 8 item 8).

    Its counters are buffers, so a resumed run goes on counting; they are read only every ``EVERY`` steps, which keeps
    a GPU from waiting.
    """

    EVERY = 50
    #: Collapsed: a bottleneck this many times smaller than at the start, or a loss as near to that of equal rows.
    SHRUNK, NEAR = 100.0, 0.005
    first_scale: Tensor
    scale: Tensor
    stalled: Tensor
    steps: Tensor

    def __init__(self, warmup: int, window: int) -> None:
        super().__init__()
        self.warmup, self.window = warmup, window
        self.register_buffer("first_scale", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(0.0))
        self.register_buffer("stalled", torch.tensor(0))
        self.register_buffer("steps", torch.tensor(0))

    @torch.no_grad()
    def watch(self, scale: Tensor, loss: Tensor, rows: int) -> None:
        """Note this step's mean |bottleneck| and contrastive loss over ``rows`` rows (factor kappa taken out)."""
        self.steps += 1
        self.scale.copy_(scale)
        self.first_scale.copy_(torch.where(self.steps == 1, self.scale, self.first_scale))
        equal = math.log(rows - 1)
        stuck = ((loss - equal).abs() <= self.NEAR * equal) & (self.steps > self.warmup)
        self.stalled.copy_(torch.where(stuck, self.stalled + 1, torch.zeros_like(self.stalled)))

    def check(self) -> None:
        """Stop a collapsed run.

        Raises:
            ContrastiveSegError: the scale fell 100-fold, or all rows stayed equally similar for the window.
        """
        steps = int(self.steps)
        if steps % self.EVERY:
            return
        first, now = float(self.first_scale), float(self.scale)
        if now * self.SHRUNK < first:
            raise ContrastiveSegError(
                f"Pre-training collapsed: the bottleneck shrank from {first:.3g} to {now:.3g} in {steps} steps. "
                'Use equivariance_norm "channel", a smaller lambda_equivariance or a lower learning rate.'
            )
        if int(self.stalled) >= self.window:
            raise ContrastiveSegError(
                f"Pre-training does not learn: for {int(self.stalled)} steps every crop has looked equally similar to "
                "every other. Lower --learning-rate, or check that the volumes are not empty."
            )
