"""Maps with their channels last, in which oneDNN's convolutions compute without a copy before and after each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: The order of maps and weights with their channels last, by the number of their dimensions.
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(weight: Tensor) -> Tensor:
    """The ``weight`` of a convolution in the order by which torch computes maps with their channels last."""
    # Not contiguous(), which takes the weights of one input channel for ordered: the first map would not be.
    return weight.to(memory_format=LAST[weight.dim()])


def has_fast_convolutions() -> bool:
    """Whether oneDNN has 3D convolutions for this processor; elsewhere it falls back to a slow reference."""
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX")


def has_instance_norms_only(network: nn.Module) -> bool:
    """Whether all norms of ``network`` are instance norms by each sample's own statistics."""
    instance = (nn.InstanceNorm2d, nn.InstanceNorm3d)
    others = (nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm)
    norms = [part for part in network.modules() if isinstance(part, (*instance, *others))]
    return all(isinstance(norm, instance) and not norm.track_running_stats for norm in norms)


def keep_channels_last(norm: nn.InstanceNorm2d | nn.InstanceNorm3d) -> None:
    """Have ``norm``, which takes each sample's own statistics, give its maps in the order in which they came."""
    norm.__class__ = ChannelsLastNorm3d if isinstance(norm, nn.InstanceNorm3d) else ChannelsLastNorm2d


class ChannelsLastNorm2d(nn.InstanceNorm2d):
    """Instance norm that keeps channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return _normed(self, x)


class ChannelsLastNorm3d(nn.InstanceNorm3d):
    """Instance norm that keeps channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return _normed(self, x)


def _normed(norm: nn.InstanceNorm2d | nn.InstanceNorm3d, x: Tensor) -> Tensor:
    """Of one sample it is batch norm by its own statistics."""
    normed = [F.batch_norm(one, None, None, norm.weight, norm.bias, True, 0.0, norm.eps) for one in x.split(1)]
    return normed[0] if len(normed) == 1 else torch.cat(normed)
