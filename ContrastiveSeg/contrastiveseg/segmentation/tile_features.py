"""What a network makes of a volume, in a few numbers: mean and deviation of its feature maps over all tiles.

They are read from the pass that segments the volume anyway, and stay on its device until the last tile is done.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..networks.segmenter import Segmenter

#: Of larger maps every so manieth voxel along each axis is read, so that about as many remain.
_VOXELS = 2**15
#: As many numbers of bfloat16 a vector of the processor holds.
_NARROW = 32


class Moments(NamedTuple):
    """Of so many ``tiles`` together, the mean and variance of each channel in each of P equal parts: (P, C) float32."""

    tiles: int
    means: Tensor
    variances: Tensor


class TileFeatures:
    """The moments of a network's maps of each tile: of those that its decoder blocks take and make."""

    def __init__(self) -> None:
        self._seen: list[list[Moments]] = []
        self._copies = 1

    @contextmanager
    def of(self, network: Segmenter, copies: int = 1) -> Iterator[None]:
        """Read the maps of ``network`` while inside; what was read before is forgotten.

        Args:
            copies: the network is called so often in turn for the same tiles: with them as they are, then mirrored.
                Only the first counts, as there were no mirrored ones in training.
        """
        blocks = list(network.backbone.decoder)
        self._seen, self._copies = [], copies
        maps: list[Tensor] = []

        def note(block: nn.Module, given: tuple[Tensor, Tensor], made: Tensor) -> None:
            maps.extend((*(given if block is blocks[0] else given[1:]), made))
            if block is blocks[-1]:
                # All maps at once, which takes less time than block by block: the code is still in the cache.
                self._seen.append([moments(one) for one in maps])
                maps.clear()

        handles = [block.register_forward_hook(note) for block in blocks]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def levels(self) -> list[list[float]]:
        """(2C,) of each map of the pyramid: the means of its channels over all tiles, then their deviations.

        The bottleneck comes first, then the encoder's and the decoder's map of each level, deepest first. Empty where
        no tile was seen.
        """
        found = [over_tiles(map_) for map_ in zip(*_fetched(self._seen[:: self._copies]), strict=True)]
        return [[*mean.tolist(), *deviation.tolist()] for mean, deviation in found]


def moments(maps: Tensor) -> Moments:
    """Those of each channel of ``maps`` (B, C, *spatial)."""
    axes, channels = maps.dim() - 2, maps.shape[1]
    step = max(1, math.ceil((math.prod(maps.shape[2:]) / _VOXELS) ** (1 / axes)))
    some = maps if step == 1 else maps[(slice(None), slice(None)) + axes * (slice(None, None, step),)]
    if maps.device.type != "cpu":
        over = (0, *range(2, 2 + axes))
        mean = some.mean(over, dtype=torch.float32)
        return Moments(len(maps), mean[None], (some.float().square().mean(over) - mean * mean)[None])
    # One kernel, that of batch norm: several small ones take as long again as they compute.
    if maps.is_contiguous():
        some, parts = some.contiguous(), 1
    else:
        some = some.movedim(1, -1).reshape(-1, channels)
        # Where the channels of a voxel do not fill a vector of the processor, several voxels do: twice as fast.
        parts = math.gcd(len(some), 512 // channels) if channels < _NARROW else 1
        some = some.view(-1, parts * channels)
    unused = torch.zeros(2, parts * channels)
    mean, variance = torch.batch_norm_update_stats(some, unused[0], unused[1], 0.0)
    return Moments(len(maps), mean.view(parts, channels), variance.view(parts, channels))


def _fetched(tiles: Sequence[Sequence[Moments]]) -> list[list[Moments]]:
    """``tiles`` on the CPU. All in one copy, as each one from a GPU waits for it."""
    parts = [part for tile in tiles for one in tile for part in (one.means, one.variances)]
    if not parts:
        return []
    values = torch.cat([part.flatten() for part in parts]).cpu().split([part.numel() for part in parts])
    fetched = (value.view(part.shape) for value, part in zip(values, parts, strict=True))
    return [[Moments(one.tiles, next(fetched), next(fetched)) for one in tile] for tile in tiles]


def over_tiles(tiles: Sequence[Moments]) -> tuple[np.ndarray, np.ndarray]:
    """(C,): mean and deviation of each channel over all ``tiles``, which are on the CPU."""
    means = torch.cat([each.means for each in tiles]).numpy().astype(np.float64)
    variances = torch.cat([each.variances for each in tiles]).numpy()
    parts = [len(each.means) for each in tiles]
    counts = np.repeat([each.tiles for each in tiles], parts) / np.repeat(parts, parts)
    shares = counts / counts.sum()
    mean = shares @ means
    return mean, np.sqrt(np.maximum(shares @ (variances + means * means) - mean * mean, 0))
