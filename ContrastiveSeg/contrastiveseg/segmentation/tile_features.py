"""What a network makes of a volume, in a few numbers: mean and deviation of its feature maps over all tiles.

They are read from the pass that segments the volume anyway, and stay on its device until the last tile is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..networks.segmenter import Segmenter

#: Of larger maps every so manieth voxel along each axis is read, so that about as many remain.
_VOXELS = 2**15


class TileFeatures:
    """The moments of a network's maps of each tile: of those that its decoder blocks take and make."""

    def __init__(self) -> None:
        self._seen: list[list[list[Tensor]]] = []
        self._copies = 1

    @contextmanager
    def of(self, network: Segmenter, copies: int = 1) -> Iterator[None]:
        """Read the maps of ``network`` while inside; what was read before is forgotten.

        Args:
            copies: the network is called so often in turn for the same tiles: with them as they are, then mirrored.
                Only the first counts, as there were no mirrored ones in training.
        """
        blocks = list(network.backbone.decoder)
        self._seen, self._copies = [[] for _ in blocks], copies
        handles = [
            block.register_forward_hook(_noting(seen, first=block is blocks[0]))
            for block, seen in zip(blocks, self._seen, strict=True)
        ]
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
        if not self._seen or not all(self._seen):
            return []
        kept = [map_ for seen in self._seen for map_ in zip(*seen[:: self._copies], strict=True)]
        means = [torch.cat(tiles).mean(0) for tiles in kept]
        # All at once: each copy from a GPU waits for it.
        found = torch.cat(means).cpu().split([len(level) for level in means])
        levels = []
        for mean, square in (level.chunk(2) for level in found):
            deviation = (square - mean * mean).clamp_min(0).sqrt()
            levels.append([*mean.tolist(), *deviation.tolist()])
        return levels


def _noting(seen: list[list[Tensor]], first: bool) -> Callable[[nn.Module, tuple[Tensor, Tensor], Tensor], None]:
    """A hook of a decoder block, which takes the map from below, noted only of the ``first``, and the encoder's."""

    def note(block: nn.Module, given: tuple[Tensor, Tensor], made: Tensor) -> None:
        seen.append([moments(one) for one in (*(given if first else given[1:]), made)])

    return note


def moments(maps: Tensor) -> Tensor:
    """(B, 2C): means of each channel of ``maps`` (B, C, *spatial) and of its squares, in float32."""
    axes = maps.dim() - 2
    step = max(1, math.ceil((math.prod(maps.shape[2:]) / _VOXELS) ** (1 / axes)))
    some = maps[(slice(None), slice(None)) + axes * (slice(None, None, step),)].float()
    spatial = tuple(range(2, 2 + axes))
    return torch.cat([some.mean(spatial), some.square().mean(spatial)], 1)
