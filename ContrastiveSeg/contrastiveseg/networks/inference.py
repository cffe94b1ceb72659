"""Networks that only predict: on a CPU the same results through the faster of torch's kernels."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from .channels_last import channels_last, has_fast_convolutions, has_instance_norms_only, keep_channels_last

Built = TypeVar("Built", bound=nn.Module)


def for_inference(network: Built, device: torch.device) -> Built:
    """A copy of ``network`` on ``device`` in evaluation mode.

    On x86 processors 3D maps are kept with their channels last, which saves oneDNN's convolutions a copy before and
    after each, and torch's heuristics, which choose a convolution without oneDNN for small maps of one sample, are
    passed over. So are 2D maps of networks whose norms are instance norms, which takes three quarters of the time.
    Measured by Testing/benchmarks/tile_time.py. Logits differ by rounding alone.
    """
    network = copy.deepcopy(network).to(device).eval()
    if device.type == "cpu" and has_fast_convolutions():
        in_2d = has_instance_norms_only(network)
        for part in network.modules():
            if isinstance(part, (nn.Conv3d, nn.ConvTranspose3d)) or (
                in_2d and isinstance(part, (nn.Conv2d, nn.ConvTranspose2d))
            ):
                part.weight.data = channels_last(part.weight.data)
            if isinstance(part, nn.Conv3d) and part.padding_mode == "zeros" and not isinstance(part.padding, str):
                part.__class__ = _OneDnnConv3d
            elif isinstance(part, (nn.InstanceNorm2d, nn.InstanceNorm3d)) and not part.track_running_stats:
                keep_channels_last(part)
    return network


class _OneDnnConv3d(nn.Conv3d):
    """A convolution that oneDNN computes, whatever the size of its input. It has no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            return super().forward(x)  # in bfloat16 it is oneDNN's
        assert not isinstance(self.padding, str)
        where = (self.padding, self.stride, self.dilation, self.groups)
        return torch.mkldnn_convolution(x, self.weight, self.bias, *where)
