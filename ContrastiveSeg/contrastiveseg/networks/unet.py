"""The plan-driven U-Net: plain, or with a residual encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import InputError
from .backbone import Backbone
from .blocks import SLOPE, Norm, PerAxis, PooledResidualBlock, ResidualBlock, convolution
from .registry import register_backbone


@dataclass(frozen=True)
class _Design:
    """The arguments of :func:`unet`, one of each a level, and the layers that follow from them."""

    dimensions: int
    in_channels: int
    widths: Sequence[int]
    strides: Sequence[Sequence[int]]
    kernels: Sequence[Sequence[int]]
    residual: bool
    norm: Norm
    down: Literal["stride", "max"]
    bottleneck_norm: bool
    convolutions: Sequence[int]
    decoder_convolutions: Sequence[int]
    bias: bool
    shortcut: Literal["stride", "pool"]

    def encoder_level(self, level: int) -> nn.Module:
        """From the map above, or from the image, to that of ``level``."""
        blocks: list[nn.Module] = []
        stride: PerAxis = 1 if level == 0 else tuple(self.strides[level - 1])
        channels = self.in_channels if level == 0 else self.widths[level - 1]
        if level and self.down == "max":
            pool = nn.MaxPool2d if self.dimensions == 2 else nn.MaxPool3d
            blocks.append(pool(stride, stride))  # type: ignore[arg-type]
            stride = 1
        if level == 0 and self.residual:
            blocks.append(self._convolution(0, channels))
            channels = self.widths[0]
        for _ in range(self.convolutions[level]):
            blocks.append(self._encoder_block(level, channels, stride))
            channels, stride = self.widths[level], 1
        return nn.Sequential(*blocks)

    def decoder_block(self, level: int) -> DecoderBlock:
        """From the map below ``level`` and its skip to its own."""
        transposed = nn.ConvTranspose2d if self.dimensions == 2 else nn.ConvTranspose3d
        stride, width = tuple(self.strides[level]), self.widths[level]
        up = transposed(self.widths[level + 1], width, stride, stride)  # type: ignore[arg-type]
        fused = [self._convolution(level, 2 * width)]
        fused += [self._convolution(level, width) for _ in range(self.decoder_convolutions[-1 - level] - 1)]
        return DecoderBlock(up, nn.Sequential(*fused))

    def _encoder_block(self, level: int, channels: int, stride: PerAxis) -> nn.Module:
        dimensions, width, kernel = self.dimensions, self.widths[level], self.kernels[level]
        if self.residual and self.shortcut == "pool":
            return PooledResidualBlock(dimensions, channels, width, kernel, stride, self.norm, self.bias)
        if self.residual:
            return ResidualBlock(dimensions, channels, width, kernel, stride, self.norm)
        return self._convolution(level, channels, stride, self.bottleneck_norm or level < len(self.strides))

    def _convolution(self, level: int, channels: int, stride: PerAxis = 1, normed: bool = True) -> nn.Module:
        return convolution(
            self.dimensions,
            channels,
            self.widths[level],
            kernel=self.kernels[level],
            stride=stride,
            bias=self.bias or not normed,
            norm=self.norm if normed else None,
            slope=SLOPE if normed else 0.0,
        )


class UNet(Backbone):
    """U-Net whose down-samplings and kernels follow the plan; :func:`unet` makes it."""

    def __init__(self, design: _Design) -> None:
        super().__init__()
        self.channels = tuple(design.widths)
        self.decoder_channels = tuple(reversed(design.widths[:-1]))
        self.strides = tuple(tuple(s) for s in design.strides)
        self.encoder = nn.ModuleList(design.encoder_level(level) for level in range(len(self.channels)))
        self.decoder = nn.ModuleList(design.decoder_block(level) for level in reversed(range(len(self.strides))))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class DecoderBlock(nn.Module):
    """Bring the deeper map to the skip's grid, concatenate, convolve."""

    def __init__(self, up: nn.Module, fuse: nn.Module) -> None:
        super().__init__()
        self.up, self.fuse = up, fuse

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``x`` (B, C', *coarse) and ``skip`` (B, C, *fine) to (B, C, *fine)."""
        return self.fuse(torch.cat((self.up(x), skip), dim=1))


class AddingDecoderBlock(nn.Module):
    """Bring the deeper map to the skip's grid, add the skip, convolve."""

    def __init__(self, up: nn.Module, fuse: nn.Module) -> None:
        super().__init__()
        self.up, self.fuse = up, fuse

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``x`` (B, C', *coarse) and ``skip`` (B, C, *fine) to (B, C, *fine)."""
        return self.fuse(self.up(x) + skip)


@register_backbone("unet")
def unet(
    dimensions: int,
    in_channels: int,
    *,
    widths: Sequence[int],
    strides: Sequence[Sequence[int]],
    kernels: Sequence[Sequence[int]] | None = None,
    residual: bool = False,
    norm: Norm = "instance",
    down: Literal["stride", "max"] = "stride",
    bottleneck_norm: bool = True,
    convolutions: int | Sequence[int] = 2,
    decoder_convolutions: int | Sequence[int] = 2,
    bias: bool = False,
    shortcut: Literal["stride", "pool"] = "stride",
) -> Backbone:
    """U-Net with leaky ReLU (slope 0.01) and Kaiming initialization.

    Args:
        widths: channels of level 0..L.
        strides: L down-samplings, one factor an axis.
        kernels: kernel sizes of level 0..L, one an axis; 3 everywhere by default.
        residual: encoder levels are residual blocks behind a convolutional stem (nnU-Net's ResEnc).
        norm: normalization after each convolution, with learned scale and shift.
        down: the first convolution of a level strides, or a max-pooling goes before it.
        bottleneck_norm: false makes the bottleneck convolution-ReLU without norm (MACL's network).
        convolutions: convolutions (or residual blocks) of each encoder level.
        decoder_convolutions: convolutions of each decoder block, deepest first.
        bias: convolutions before a norm have a bias too, which the norm cancels (MACL's network has them).
        shortcut: of residual blocks that stride: a strided convolution, or a pooling and a convolution (nnU-Net's).

    Raises:
        InputError: the numbers of widths, strides and kernels do not fit each other.
    """
    levels = len(widths)
    kernels = kernels if kernels is not None else [[3] * dimensions] * levels
    counts = [convolutions] * levels if isinstance(convolutions, int) else list(convolutions)
    fused = decoder_convolutions
    fused = [fused] * (levels - 1) if isinstance(fused, int) else list(fused)
    if levels < 2 or not len(strides) + 1 == len(fused) + 1 == len(kernels) == len(counts) == levels:
        raise InputError(
            f"A U-Net with {levels} widths needs {levels - 1} strides, {levels} kernels and {levels} numbers of "
            f"convolutions, and {levels - 1} of its decoder; it got {len(strides)}, {len(kernels)}, {len(counts)} and "
            f"{len(fused)}."
        )
    if any(len(axes) != dimensions for axes in (*strides, *kernels)):
        raise InputError(f"Each stride and kernel of a {dimensions}D U-Net needs {dimensions} numbers.")
    if norm not in ("instance", "batch", "group") or down not in ("stride", "max"):
        raise InputError("A U-Net's norm is instance, batch or group, and it goes down by stride or max.")
    if shortcut not in ("stride", "pool"):
        raise InputError("The shortcut of a U-Net's residual blocks is stride or pool.")
    design = _Design(
        dimensions=dimensions,
        in_channels=in_channels,
        widths=widths,
        strides=strides,
        kernels=kernels,
        residual=residual,
        norm=norm,
        down=down,
        bottleneck_norm=bottleneck_norm,
        convolutions=counts,
        decoder_convolutions=fused,
        bias=bias,
        shortcut=shortcut,
    )
    return UNet(design)
