"""Convolution, norm and activation as one block, and two of them with a shortcut.

Names, initialization and results are those of MONAI's ``Convolution`` and ``UnetResBlock``, so that checkpoints written
with these load. Importing MONAI takes as long as importing torch: it brings pyplot and scipy's signal processing along.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import gcd
from typing import Literal

from torch import Tensor, nn

#: Of the leaky ReLU.
SLOPE = 0.01

Norm = Literal["instance", "batch", "group"]
PerAxis = int | Sequence[int]


def norm_layer(dimensions: int, kind: Norm, width: int) -> nn.Module:
    """A norm over ``width`` channels with learned scale and shift."""
    if kind == "group":
        return nn.GroupNorm(gcd(8, width), width)
    if kind == "batch":
        return (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d)(width)
    return (nn.InstanceNorm2d if dimensions == 2 else nn.InstanceNorm3d)(width, affine=True)


def activation(slope: float) -> nn.Module:
    """Leaky ReLU, or ReLU for a ``slope`` of 0."""
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)


def convolution(
    dimensions: int,
    channels: int,
    width: int,
    *,
    kernel: PerAxis = 3,
    stride: PerAxis = 1,
    padding: PerAxis | None = None,
    transposed: bool = False,
    bias: bool = True,
    norm: Norm | None = None,
    slope: float | None = SLOPE,
) -> nn.Sequential:
    """A convolution ("conv"), and behind it ("adn") a norm ("N") and an activation ("A").

    Args:
        kernel, stride, padding: one number, or one an axis; by default padded to keep the size where it does not
            stride.
        transposed: a transposed convolution. norm: none by default. slope: of the leaky ReLU; None for no activation.

    Raises:
        ValueError: an even ``kernel`` without ``padding``.
    """
    if transposed:
        kind = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d
    else:
        kind = nn.Conv2d if dimensions == 2 else nn.Conv3d  # type: ignore[assignment]
    size, steps = _each(kernel, dimensions), _each(stride, dimensions)
    around = _same(size) if padding is None else _each(padding, dimensions)
    block = nn.Sequential(OrderedDict(conv=kind(channels, width, size, steps, around, bias=bias)))  # type: ignore[arg-type]
    behind: OrderedDict[str, nn.Module] = OrderedDict()
    if norm is not None:
        behind["N"] = norm_layer(dimensions, norm, width)
    if slope is not None:
        behind["A"] = activation(slope)
    if behind:
        block.add_module("adn", nn.Sequential(behind))
    return block


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which is a convolution of size 1 where the shape changes."""

    def __init__(
        self, dimensions: int, channels: int, width: int, kernel: Sequence[int], stride: PerAxis, norm: Norm
    ) -> None:
        super().__init__()
        steps = _each(stride, dimensions)

        def plain(channels: int, kernel: Sequence[int], stride: Sequence[int]) -> nn.Module:
            padding = [max(0, (k - s + 1) // 2) for k, s in zip(kernel, stride, strict=True)]
            return convolution(
                dimensions, channels, width, kernel=kernel, stride=stride, padding=padding, bias=False, slope=None
            )

        self.conv1 = plain(channels, kernel, steps)
        self.conv2 = plain(width, kernel, [1] * dimensions)
        self.lrelu = activation(SLOPE)
        self.norm1 = norm_layer(dimensions, norm, width)
        self.norm2 = norm_layer(dimensions, norm, width)
        self.reshaped = channels != width or max(steps) > 1
        if self.reshaped:
            self.conv3 = plain(channels, [1] * dimensions, steps)
            self.norm3 = norm_layer(dimensions, norm, width)

    def forward(self, x: Tensor) -> Tensor:
        # In MONAI's order, which the sums of gradients follow.
        y = self.norm2(self.conv2(self.lrelu(self.norm1(self.conv1(x)))))
        y += self.norm3(self.conv3(x)) if self.reshaped else x
        return self.lrelu(y)


class PooledResidualBlock(nn.Module):
    """Two convolutions and a shortcut, averaged where the block strides, then widened by a convolution of size 1.

    ResNet-D (He et al., Bag of tricks, CVPR 2019), the block of nnU-Net's residual encoders.
    """

    def __init__(
        self, dimensions: int, channels: int, width: int, kernel: PerAxis, stride: PerAxis, norm: Norm, bias: bool
    ) -> None:
        super().__init__()
        pool, steps = nn.AvgPool2d if dimensions == 2 else nn.AvgPool3d, _each(stride, dimensions)
        self.first = convolution(dimensions, channels, width, kernel=kernel, stride=steps, bias=bias, norm=norm)
        self.second = convolution(dimensions, width, width, kernel=kernel, bias=bias, norm=norm, slope=None)
        self.shrink = pool(steps, steps) if max(steps) > 1 else nn.Identity()  # type: ignore[arg-type]
        self.widen: nn.Module = nn.Identity()
        if channels != width:
            self.widen = convolution(dimensions, channels, width, kernel=1, bias=False, norm=norm, slope=None)
        self.lrelu = activation(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (B, C, *spatial) to (B, width, *spatial / stride)."""
        return self.lrelu(self.second(self.first(x)) + self.widen(self.shrink(x)))


def _each(size: PerAxis, dimensions: int) -> tuple[int, ...]:
    return (size,) * dimensions if isinstance(size, int) else tuple(size)


def _same(kernel: Sequence[int]) -> tuple[int, ...]:
    if any(k % 2 == 0 for k in kernel):
        raise ValueError(f"a kernel of {'x'.join(map(str, kernel))} has no middle; take odd sizes")
    return tuple((k - 1) // 2 for k in kernel)
