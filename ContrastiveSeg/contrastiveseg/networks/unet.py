"""The plan-driven U-Net: plain, or with a residual encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import InputError
from .backbone import Backbone
from .blocks import SLOPE, Norm, PooledResidualBlock, ResidualBlock, convolution
from .registry import register_backbone


class UNet(Backbone):
    """U-Net whose down-samplings and kernels follow the plan.

    The arguments are those of :func:`unet`.
    """

    def __init__(
        self,
        dimensions: int,
        in_channels: int,
        *,
        widths: Sequence[int],
        strides: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[int]],
        residual: bool,
        norm: Norm,
        down: Literal["stride", "max"],
        bottleneck_norm: bool,
        convolutions: Sequence[int],
        decoder_convolutions: Sequence[int],
        bias: bool,
        shortcut: Literal["stride", "pool"],
    ) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.decoder_channels = tuple(reversed(widths[:-1]))
        self.strides = tuple(tuple(s) for s in strides)
        pool = nn.MaxPool2d if dimensions == 2 else nn.MaxPool3d
        transposed = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d

        def block(level: int, channels: int, stride: Sequence[int] | int = 1, normed: bool = True) -> nn.Module:
            return convolution(
                dimensions,
                channels,
                widths[level],
                kernel=kernels[level],
                stride=stride,
                bias=bias or not normed,
                norm=norm if normed else None,
                slope=SLOPE if normed else 0.0,
            )

        levels: list[nn.Module] = []
        for level, width in enumerate(widths):
            blocks: list[nn.Module] = []
            stride: Sequence[int] | int = 1 if level == 0 else self.strides[level - 1]
            channels = in_channels if level == 0 else widths[level - 1]
            if level and down == "max":
                blocks.append(pool(stride, stride))  # type: ignore[arg-type]
                stride = 1
            if level == 0 and residual:
                blocks.append(block(0, in_channels))
                channels = width
            normed = bottleneck_norm or level < len(self.strides)
            for _ in range(convolutions[level]):
                if residual and shortcut == "pool":
                    blocks.append(PooledResidualBlock(dimensions, channels, width, kernels[level], stride, norm, bias))
                elif residual:
                    blocks.append(ResidualBlock(dimensions, channels, widths[level], kernels[level], stride, norm))
                else:
                    blocks.append(block(level, channels, stride, normed))
                channels, stride = width, 1
            levels.append(nn.Sequential(*blocks))
        self.encoder = nn.ModuleList(levels)

        self.decoder = nn.ModuleList()
        for level in reversed(range(len(self.strides))):
            up = transposed(widths[level + 1], widths[level], self.strides[level], self.strides[level])  # type: ignore[arg-type]
            fused = [block(level, 2 * widths[level])]
            fused += [block(level, widths[level]) for _ in range(decoder_convolutions[len(self.decoder)] - 1)]
            self.decoder.append(DecoderBlock(up, nn.Sequential(*fused)))

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
    return UNet(
        dimensions,
        in_channels,
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
