"""Tiles of a training patch's size, spread evenly over a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

import numpy as np

from ..planning.plan import Conventions

#: Least overlap of neighboring tiles, as a share of the tile.
OVERLAP = Conventions.overlap


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


def fit_tiles(
    shape: Sequence[int], divisor: Sequence[int], patch: Sequence[int], overlap: float = OVERLAP, whole: bool = False
) -> Tiling:
    """The fewest tiles of the training ``patch`` that cover ``shape`` and overlap by ``overlap`` of their size.

    Tiles are spread evenly, so the overlap is met up to a voxel of rounding. They are multiples of ``divisor`` (the
    network's total stride), and smaller than the patch where the volume is, unless they are to be ``whole`` patches.
    Larger tiles would compute fewer voxels, but instance norm then sees other statistics than in training
    (Testing/benchmarks/tile_dice.py).
    """
    tile = [_up(p if whole else min(p, n), d) for n, d, p in zip(shape, divisor, patch, strict=True)]
    if tile == list(divisor):
        tile[-1] *= 2  # instance norm needs more than one voxel at the bottleneck
    counts = [_count(n, t, overlap) for n, t in zip(shape, tile, strict=True)]
    padded = tuple(max(n, t) for n, t in zip(shape, tile, strict=True))
    starts = tuple(
        tuple(int(s) for s in np.linspace(0, n - t, count).round())
        for n, t, count in zip(padded, tile, counts, strict=True)
    )
    return Tiling(tuple(shape), padded, tuple(tile), starts)


def thinned(tiling: Tiling, most: int) -> Tiling:
    """At most so many of its tiles, spread evenly; those left out leave gaps."""
    counts = [len(starts) for starts in tiling.starts]
    while prod(counts) > most:
        counts[counts.index(max(counts))] -= 1
    kept = tuple(
        tuple(starts[int((n + 0.5) * len(starts) / count)] for n in range(count))
        for starts, count in zip(tiling.starts, counts, strict=True)
    )
    return replace(tiling, starts=kept)


def _up(voxels: int, divisor: int) -> int:
    return max(1, ceil(voxels / divisor)) * divisor


def _count(length: int, tile: int, overlap: float) -> int:
    """How many tiles cover ``length`` voxels."""
    count = 1
    while length / (1 + (count - 1) * (1 - overlap)) > tile:
        count += 1
    return count
