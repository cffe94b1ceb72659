"""Tiles fitted to a volume: as few voxels computed twice, or outside of it, as the memory allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod

import numpy as np

#: Of the tile. At 0.25 a tile of 256 voxels in two would round up from 147 to 160 (stride 16), a quarter more work.
OVERLAP = 0.2


@dataclass(frozen=True)
class Tiling:
    """Equal tiles on a regular grid that covers a volume. All tuples have one entry an axis.

    Attributes:
        shape: the volume in voxels.
        padded: the volume grown to the tile where it is smaller; :attr:`before` of that goes in front.
        tile: tile size in voxels.
        starts: first voxel of the tiles along each axis of the padded volume; tiles are all their combinations.
    """

    shape: tuple[int, ...]
    padded: tuple[int, ...]
    tile: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    @property
    def count(self) -> int:
        """Number of tiles."""
        return prod(len(s) for s in self.starts)

    @property
    def before(self) -> tuple[int, ...]:
        """Padding in front of the volume in voxels; the other half, rounded up, goes behind it."""
        return tuple((p - n) // 2 for p, n in zip(self.padded, self.shape, strict=True))

    @property
    def waste(self) -> float:
        """Voxels computed divided by voxels of the volume; 1 is ideal."""
        return self.count * prod(self.tile) / prod(self.shape)


def fit_tiles(
    shape: Sequence[int], divisor: Sequence[int], patch: Sequence[int], max_voxels: int, overlap: float = OVERLAP
) -> Tiling:
    """The tiling that computes the fewest voxels, with tiles of at most ``max_voxels``.

    Along each axis either one tile covers everything, or evenly spread tiles overlap by ``overlap`` of their size (up
    to a voxel of rounding). Tiles are multiples of ``divisor`` (the network's total stride) and no smaller than the
    training ``patch`` unless the volume is; a patch above ``max_voxels`` is used all the same.

    Cubes of a fixed size compute 4-7 times the voxels of a 100x256x256 volume; with room for 2 M voxels, fitted tiles
    1.2-1.5 times.
    """
    candidates = [_axis(n, d, p, overlap) for n, d, p in zip(shape, divisor, patch, strict=True)]
    choices = list(product(*candidates))
    allowed = [c for c in choices if prod(tile for tile, _ in c) <= max_voxels]
    if allowed:
        best = min(allowed, key=lambda c: (prod(tile * count for tile, count in c), prod(count for _, count in c)))
    else:
        best = min(choices, key=lambda c: prod(tile for tile, _ in c))
    tile = [t for t, _ in best]
    if tile == list(divisor) and all(count == 1 for _, count in best):
        tile[-1] *= 2  # instance norm needs more than one voxel at the bottleneck
    padded = tuple(max(n, t) for n, t in zip(shape, tile, strict=True))
    starts = tuple(
        tuple(int(s) for s in np.linspace(0, n - t, count).round())
        for n, t, (_, count) in zip(padded, tile, best, strict=True)
    )
    return Tiling(tuple(shape), padded, tuple(tile), starts)


def _axis(length: int, divisor: int, patch: int, overlap: float) -> list[tuple[int, int]]:
    """(tile, count) pairs that cover ``length`` voxels, from one tile down to tiles of the patch's size."""

    def up(voxels: float) -> int:
        return max(1, ceil(voxels / divisor)) * divisor

    smallest = min(up(patch), up(length))
    options = [(up(length), 1)]
    count = 1
    while options[-1][0] > smallest:
        count += 1
        tile = max(up(length / (1 + (count - 1) * (1 - overlap))), smallest)
        if tile < options[-1][0]:
            options.append((tile, count))
    return options
