"""3D maps with their channels last, in which oneDNN's convolutions compute without a copy before and after each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def has_fast_convolutions() -> bool:
    """Whether oneDNN has 3D convolutions for this processor; elsewhere it falls back to a slow reference."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX")


class ChannelsLastNorm(nn.InstanceNorm3d):
    """Instance norm that keeps channels last: of one sample it is batch norm by its own statistics."""

    def forward(self, x: Tensor) -> Tensor:
        normed = [F.batch_norm(one, None, None, self.weight, self.bias, True, 0.0, self.eps) for one in x.split(1)]
        return normed[0] if len(normed) == 1 else torch.cat(normed)
