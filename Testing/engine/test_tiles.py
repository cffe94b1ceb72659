"""Tiles fitted to volumes."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import pytest

from contrastiveseg.segmentation.tiles import OVERLAP, fit_tiles

#: shape, divisor, patch, most voxels a tile, most waste
VOLUMES = [
    ((100, 256, 256), (16, 16, 16), (96, 96, 96), 160 * 160 * 112, 1.6),
    ((100, 256, 256), (8, 8, 8), (96, 96, 96), 96 * 256 * 256, 1.25),
    ((44, 96, 75), (8, 8, 8), (32, 48, 32), 3_000_000, 1.2),
    ((88, 244, 160), (8, 8, 8), (64, 96, 64), 2_000_000, 1.6),
    ((20, 512, 512), (4, 16, 16), (16, 128, 128), 3_000_000, 1.6),
    ((5, 900, 900), (1, 16, 16), (5, 128, 128), 1_000_000, 1.6),
    ((1, 256, 256), (1, 16, 16), (1, 128, 128), 1_000_000, 1.0),
    ((1, 256, 256), (8, 16, 16), (32, 128, 128), 1_000_000, 8.0),
    ((3, 4, 5), (8, 8, 8), (32, 32, 32), 1_000_000, 18.0),
    ((12, 500, 9), (2, 8, 8), (32, 32, 32), 20_000, 3.0),
    ((700, 600, 500), (16, 16, 16), (128, 128, 128), 128**3, 2.7),
    ((512, 640), (16, 16), (256, 256), 256 * 256, 2.0),
]


@pytest.mark.parametrize(("shape", "divisor", "patch", "most", "waste"), VOLUMES)
def test_tiles_cover_every_voxel_from_inside_with_little_waste(shape, divisor, patch, most, waste) -> None:
    tiling = fit_tiles(shape, divisor, patch, most)
    for n, padded, tile, d, p, starts, before in zip(
        shape, tiling.padded, tiling.tile, divisor, patch, tiling.starts, tiling.before, strict=True
    ):
        covered = np.zeros(padded, dtype=bool)
        for start in starts:
            assert 0 <= start <= padded - tile
            covered[start : start + tile] = True
        assert covered.all()
        assert len(set(starts)) == len(starts)
        assert tile % d == 0
        assert tile >= min(p, n)
        assert padded == max(n, tile)
        assert 0 <= before <= padded - n
        assert all(tile - (b - a) >= OVERLAP * tile - 1 for a, b in pairwise(starts))
    assert prod(tiling.tile) <= most
    assert tiling.waste == tiling.count * prod(tiling.tile) / prod(shape)
    assert tiling.waste <= waste


def test_a_volume_that_fits_is_one_tile() -> None:
    tiling = fit_tiles((44, 96, 75), (8, 8, 8), (32, 48, 32), 1_000_000)
    assert tiling.tile == (48, 96, 80)
    assert tiling.starts == ((0,), (0,), (0,))
    assert tiling.before == (2, 0, 2)


def test_a_patch_above_the_bound_is_used_all_the_same() -> None:
    assert fit_tiles((200, 200, 200), (16, 16, 16), (64, 64, 64), 1000).tile == (64, 64, 64)


def test_more_overlap_computes_more() -> None:
    few, many = (fit_tiles((96, 320, 320), (16, 16, 16), (96, 96, 96), 160**3, o) for o in (0.1, 0.5))
    assert few.waste < many.waste


def test_a_tile_never_shrinks_to_one_voxel_at_the_bottleneck() -> None:
    assert fit_tiles((3, 4, 5), (8, 8, 8), (32, 32, 32), 1_000_000).tile == (8, 8, 16)
