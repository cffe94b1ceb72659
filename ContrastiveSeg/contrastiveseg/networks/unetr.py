"""A Transformer that speaks the pyramid language: UNETR (Hatamizadeh et al., WACV 2022), with the plan's strides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from ..errors import InputError
from .backbone import Backbone
from .blocks import convolution
from .registry import register_backbone
from .unet import DecoderBlock


class _TransformerEncoder(nn.Module):
    """Tokens of one bottleneck cell each; level l of the pyramid is read from ever later blocks, as in UNETR."""

    def __init__(
        self,
        dimensions: int,
        in_channels: int,
        widths: Sequence[int],
        strides: Sequence[tuple[int, ...]],
        embedding: int,
        heads: int,
        depth: int,
    ) -> None:
        super().__init__()
        #: cell[l]: input voxels an axis in one cell of level l.
        cells = list(
            accumulate(strides, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True)), initial=(1,) * dimensions)
        )
        embed = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.patches = embed(in_channels, embedding, cells[-1], cells[-1])  # type: ignore[arg-type]
        self.blocks = nn.ModuleList(
            # torch's own layer: MONAI's needs one more dependency for the same thing.
            nn.TransformerEncoderLayer(embedding, heads, 4 * embedding, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(embedding) for _ in strides)
        #: After which block level 1..L is read.
        self.taps = [round(depth * level / len(strides)) for level in range(1, len(strides) + 1)]
        self.stem = _convolution(dimensions, in_channels, widths[0])
        self.rise = nn.ModuleList(
            nn.Sequential(
                _convolution(dimensions, embedding, width, tuple(n // c for n, c in zip(cells[-1], cell, strict=True))),
                _convolution(dimensions, width, width),
            )
            for width, cell in zip(widths[1:], cells[1:], strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        tokens = self.patches(x)
        grid = tokens.shape[2:]
        place = sine_cosine_places(grid, tokens.shape[1])
        tokens = tokens.flatten(2).transpose(1, 2) + place.to(tokens)
        features = [self.stem(x)]
        levels = zip(pairwise([0, *self.taps]), self.norms, self.rise, strict=True)
        for (first, last), norm, rise in levels:
            for block in self.blocks[first:last]:
                tokens = block(tokens)
            features.append(rise(norm(tokens).transpose(1, 2).unflatten(2, grid)))
        return features


class UNETR(Backbone):
    """Transformer encoder, convolutional decoder; the arguments are those of :func:`unetr`."""

    def __init__(
        self,
        dimensions: int,
        in_channels: int,
        *,
        widths: Sequence[int],
        strides: Sequence[Sequence[int]],
        embedding: int,
        heads: int,
        depth: int,
    ) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.decoder_channels = tuple(reversed(widths[:-1]))
        self.strides = tuple(tuple(s) for s in strides)
        self.encoder = _TransformerEncoder(dimensions, in_channels, widths, self.strides, embedding, heads, depth)
        transposed = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d
        self.decoder = nn.ModuleList(
            DecoderBlock(
                transposed(widths[level + 1], widths[level], self.strides[level], self.strides[level]),  # type: ignore[arg-type]
                _convolution(dimensions, 2 * widths[level], widths[level]),
            )
            for level in reversed(range(len(strides)))
        )

    def encode(self, x: Tensor) -> list[Tensor]:
        return self.encoder(x)


@register_backbone("unetr")
def unetr(
    dimensions: int,
    in_channels: int,
    *,
    widths: Sequence[int] = (16, 32, 64, 128),
    strides: Sequence[Sequence[int]] | None = None,
    embedding: int = 96,
    heads: int = 6,
    depth: int = 6,
) -> Backbone:
    """UNETR of modest size: one token a bottleneck cell, sine-cosine places, so that any grid of tokens will do.

    Args:
        widths: channels of level 0..L.
        strides: L down-samplings, one factor an axis; halving every axis by default. A token covers their product.
        embedding: width of a token; heads: attention heads; depth: Transformer blocks.

    Raises:
        InputError: the numbers do not fit each other.
    """
    steps = strides if strides is not None else [[2] * dimensions] * (len(widths) - 1)
    if len(widths) < 2 or len(steps) != len(widths) - 1 or any(len(s) != dimensions for s in steps):
        raise InputError(f"A {dimensions}D UNETR with {len(widths)} widths needs {len(widths) - 1} strides.")
    if embedding % heads or embedding % (2 * dimensions) or depth < len(steps):
        raise InputError(
            f"A {dimensions}D UNETR needs an embedding that is a multiple of {2 * dimensions} and of its heads, and at "
            f"least {len(steps)} blocks; it got {embedding}, {heads} and {depth}."
        )
    return UNETR(
        dimensions,
        in_channels,
        widths=widths,
        strides=steps,
        embedding=embedding,
        heads=heads,
        depth=depth,
    )


def sine_cosine_places(grid: Sequence[int], embedding: int) -> Tensor:
    """(1, cells, ``embedding``): where a cell of ``grid`` lies, by sines and cosines of falling frequency an axis.

    The order of axes is that of MONAI's ``build_sincos_position_embedding``: the first two are exchanged.
    """
    count = embedding // (2 * len(grid))
    frequencies = 10000.0 ** -(torch.arange(count, dtype=torch.float32) / count)
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid), indexing="ij")
    angles = [axis.flatten()[:, None] * frequencies for axis in (axes[1], axes[0], *axes[2:])]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)[None]


def _convolution(dimensions: int, channels: int, width: int, up: tuple[int, ...] | None = None) -> nn.Module:
    """Convolution of size 3, or a transposed one that enlarges by ``up``; instance norm, leaky ReLU."""
    if up is None:
        return convolution(dimensions, channels, width, norm="instance")
    return convolution(dimensions, channels, width, kernel=up, stride=up, padding=0, transposed=True, norm="instance")
