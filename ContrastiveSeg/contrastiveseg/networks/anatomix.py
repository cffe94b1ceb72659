"""The U-Net of anatomix (Dey et al., ICLR 2025): pooling, up-sampling without weights, mirrored borders."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .backbone import Backbone
from .registry import register_backbone


class _Convolution(nn.Module):
    """Convolution of size 3 over mirrored borders."""

    def __init__(self, dimensions: int, channels: int, width: int, bias: bool) -> None:
        super().__init__()
        self.conv = (nn.Conv2d if dimensions == 2 else nn.Conv3d)(channels, width, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        # A map one voxel thick has nothing to mirror.
        mode = "reflect" if min(x.shape[2:]) > 1 else "replicate"
        return self.conv(functional.pad(x, [1, 1] * (x.ndim - 2), mode=mode))


class _SkipFirstBlock(nn.Module):
    """Bring the deeper map to the skip's grid, concatenate it behind the skip, convolve."""

    def __init__(self, up: nn.Module, fuse: nn.Module) -> None:
        super().__init__()
        self.up, self.fuse = up, fuse

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``x`` (B, C', *coarse) and ``skip`` (B, C, *fine) to (B, C, *fine)."""
        return self.fuse(torch.cat((skip, self.up(x)), dim=1))


class Anatomix(Backbone):
    """Anatomix's network without its last convolution; the arguments are those of :func:`anatomix`."""

    def __init__(self, dimensions: int, in_channels: int, width: int, levels: int, smooth: bool) -> None:
        super().__init__()
        self.channels = tuple(width << level for level in range(levels + 1))
        self.decoder_channels = tuple(reversed(self.channels[:-1]))
        self.strides = ((2,) * dimensions,) * levels
        linear = "bilinear" if dimensions == 2 else "trilinear"

        def step(channels: int, out: int) -> nn.Module:
            norm: nn.Module
            if smooth:
                norm = (nn.InstanceNorm2d if dimensions == 2 else nn.InstanceNorm3d)(out)
            else:
                norm = (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d)(out)
            convolution = _Convolution(dimensions, channels, out, bias=smooth)
            return nn.Sequential(OrderedDict(pad=convolution, norm=norm, act=nn.ReLU(inplace=True)))

        def pool() -> nn.Module:
            if smooth:
                return (nn.AvgPool2d if dimensions == 2 else nn.AvgPool3d)(2)
            return (nn.MaxPool2d if dimensions == 2 else nn.MaxPool3d)(2)

        self.encoder = nn.ModuleList(
            nn.Sequential(
                step(in_channels, width) if level == 0 else pool(),
                step(self.channels[max(level - 1, 0)], channels),
                step(channels, channels),
            )
            for level, channels in enumerate(self.channels)
        )
        self.decoder = nn.ModuleList(
            _SkipFirstBlock(
                nn.Upsample(scale_factor=2, mode=linear if smooth else "nearest"),
                nn.Sequential(step(3 * channels, channels), step(channels, channels)),
            )
            for channels in self.decoder_channels
        )


@register_backbone("anatomix")
def anatomix(dimensions: int, in_channels: int, *, width: int = 16, levels: int = 4, smooth: bool = False) -> Backbone:
    """The U-Net of anatomix, with ``levels`` down-samplings by 2.

    Args:
        width: channels of level 0, doubled at each level.
        smooth: average pooling, linear up-sampling and instance norm, as its later networks have, in place of
            max-pooling, copied voxels and batch norm.

    Raises:
        InputError: there is no level or no channel.
    """
    if width < 1 or not 1 <= levels <= 8:
        raise InputError("An anatomix U-Net needs a width of 1 or more, and 1 to 8 levels.")
    return Anatomix(dimensions, in_channels, width, levels, smooth)
