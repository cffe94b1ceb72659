"""The V-Net of the left-atrium literature (UA-MT, DTC, MC-Net, BCP, ...): plain blocks, skips that are added."""

from __future__ import annotations

from torch import nn

from ..errors import InputError
from .backbone import Backbone
from .blocks import Norm, convolution
from .registry import register_backbone
from .unet import AddingDecoderBlock

#: Convolutions of each encoder level, and of each decoder block, deepest first.
_DOWN, _UP = (1, 2, 3, 3, 3), (3, 3, 2, 1)


class VNet(Backbone):
    """V-Net without its head; the arguments are those of :func:`vnet`."""

    def __init__(self, dimensions: int, in_channels: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.channels = tuple(width << level for level in range(len(_DOWN)))
        self.decoder_channels = tuple(reversed(self.channels[:-1]))
        self.strides = ((2,) * dimensions,) * (len(_DOWN) - 1)

        def step(channels: int, out: int) -> nn.Module:
            return convolution(dimensions, channels, out, norm=norm, slope=0.0)

        def block(channels: int, count: int) -> list[nn.Module]:
            return [step(channels, channels) for _ in range(count)]

        def resized(channels: int, out: int, up: bool) -> nn.Module:
            return convolution(
                dimensions, channels, out, kernel=2, stride=2, padding=0, transposed=up, norm=norm, slope=0.0
            )

        self.encoder = nn.ModuleList(
            nn.Sequential(
                step(in_channels, width) if level == 0 else resized(channels // 2, channels, up=False),
                *block(channels, count if level else count - 1),
            )
            for level, (channels, count) in enumerate(zip(self.channels, _DOWN, strict=True))
        )
        self.decoder = nn.ModuleList(
            AddingDecoderBlock(resized(2 * channels, channels, up=True), nn.Sequential(*block(channels, count)))
            for channels, count in zip(self.decoder_channels, _UP, strict=True)
        )


@register_backbone("vnet")
def vnet(dimensions: int, in_channels: int, *, width: int = 16, norm: Norm = "batch") -> Backbone:
    """V-Net of four down-samplings (9.4 M parameters at the literature's width 16, head included).

    The literature's dropout at the bottleneck and before the head is left out: it has no weights, and a few-label
    fine-tuning here is regularized by augmentation and averaged weights instead.

    Args:
        width: channels at full resolution, doubled at each level. norm: batch in the literature.

    Raises:
        InputError: a width below 1.
    """
    if width < 1:
        raise InputError(f"A V-Net needs a width of 1 or more, not {width}.")
    return VNet(dimensions, in_channels, width, norm)
