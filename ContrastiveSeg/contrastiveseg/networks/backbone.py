"""The language every network of ours speaks, so that a method can tap any level of any of them."""

from __future__ import annotations

from torch import Tensor, nn

from .spec import NetworkSpec


class Backbone(nn.Module):
    """Encoder and decoder as a feature pyramid with L down-samplings.

    Level 0 is full resolution, level L the bottleneck. Decoder block n (1 = deepest) brings level L-n+1 to level L-n
    and fuses the encoder map of level L-n.

    Attributes:
        spec: how to build it again.
        channels: width of encoder level 0..L; decoder block n has ``decoder_channels[n-1]`` channels.
        strides: ``strides[l]`` is the down-sampling from level l to l+1, one factor an axis.
        encoder, decoder: named sub-modules; ``decoder`` is an ``nn.ModuleList`` with the deepest block first, so that
            "decoder.0" .. "decoder.N-1" are the blocks 1..N of the MACL paper.

    >>> import contrastiveseg as cs
    >>> from contrastiveseg.networks.registry import build
    >>> from contrastiveseg.networks.spec import NetworkSpec
    >>> network = build(NetworkSpec("vnet", 3, 1, {"width": 4}))
    >>> isinstance(network, cs.Backbone), network.channels, network.total_stride
    (True, (4, 8, 16, 32, 64), (16, 16, 16))
    """

    spec: NetworkSpec
    channels: tuple[int, ...]
    decoder_channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    encoder: nn.Module
    decoder: nn.ModuleList

    @property
    def levels(self) -> int:
        """L, the number of down-samplings."""
        return len(self.strides)

    @property
    def total_stride(self) -> tuple[int, ...]:
        """Down-sampling from input to bottleneck, one factor an axis; inputs must be multiples of it."""
        total = [1] * len(self.strides[0])
        for stride in self.strides:
            total = [t * s for t, s in zip(total, stride, strict=True)]
        return tuple(total)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Feature maps of level 0..L for ``x`` (B, Cin, [D,] H, W); here of an ``encoder`` that is a list of levels."""
        features: list[Tensor] = []
        for level in self.encoder:  # type: ignore[attr-defined]
            x = level(x)
            features.append(x)
        return features

    def decode(self, features: list[Tensor], blocks: int | None = None) -> list[Tensor]:
        """Maps after decoder block 1..``blocks`` (all L by default), deepest first. A block takes (map, skip)."""
        x, maps = features[-1], []
        for block, skip in zip(self.decoder[:blocks], features[-2::-1], strict=False):
            x = block(x, skip)
            maps.append(x)
        return maps
