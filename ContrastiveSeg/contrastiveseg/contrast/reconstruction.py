"""Reconstructing a view from one with noise boxes; without them, skip connections would make it trivial."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

ErrorNorm = Literal["squared", "absolute"]


def cut_out(images: Tensor, share: tuple[float, float], side: int) -> Tensor:
    """A copy of ``images`` (B, C, [D,] H, W) in which boxes of ``side`` voxels are noise, the same in all channels.

    Each sample loses a share of its voxels drawn from ``share``, on average; the noise has deviation 1, as images have.
    Where boxes lie is drawn from torch's global CPU generator, the noise on the device.
    """
    shape, count = images.shape[2:], len(images)
    wanted = share[0] + (share[1] - share[0]) * torch.rand(count, *[1] * len(shape))
    lost = torch.rand(count, *(math.ceil(n / side) + 1 for n in shape)) < wanted
    for axis, length in enumerate(shape, start=1):
        start = int(torch.randint(side, ()))
        lost = lost.repeat_interleave(side, axis).narrow(axis, start, length)
    return torch.where(lost.unsqueeze(1).to(images.device), torch.randn_like(images), images)


def reconstruction_loss(rebuilt: Tensor, target: Tensor, error: ErrorNorm) -> Tensor:
    """Mean error over all voxels of ``rebuilt`` against the undamaged ``target``, in float32."""
    measure = F.mse_loss if error == "squared" else F.l1_loss
    return measure(rebuilt.float(), target.float())
