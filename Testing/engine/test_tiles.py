"""Tiles spread over volumes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from contrastiveseg.segmentation.tiles import OVERLAP, fit_tiles

#: shape, divisor, patch
VOLUMES = [
    ((100, 256, 256), (16, 16, 16), (96, 96, 96)),
    ((100, 256, 256), (8, 8, 8), (96, 96, 96)),
    ((44, 96, 75), (8, 8, 8), (32, 48, 32)),
    ((88, 244, 160), (8, 8, 8), (64, 96, 64)),
    ((20, 512, 512), (4, 16, 16), (16, 128, 128)),
    ((5, 900, 900), (1, 16, 16), (5, 128, 128)),
    ((1, 256, 256), (1, 16, 16), (1, 128, 128)),
    ((1, 256, 256), (8, 16, 16), (32, 128, 128)),
    ((3, 4, 5), (8, 8, 8), (32, 32, 32)),
    ((12, 500, 9), (2, 8, 8), (32, 32, 32)),
    ((700, 600, 500), (16, 16, 16), (128, 128, 128)),
    ((512, 640), (16, 16), (256, 256)),
]


@pytest.mark.parametrize(("shape", "divisor", "patch"), VOLUMES)
def test_tiles_cover_every_voxel_from_inside_and_are_as_few_as_the_overlap_allows(shape, divisor, patch) -> None:
    tiling = fit_tiles(shape, divisor, patch)
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
        assert min(p, n) <= tile <= max(p, 2 * d)
        assert padded == max(n, tile)
        assert 0 <= before <= padded - n
        assert all(tile - (b - a) >= OVERLAP * tile - 1 for a, b in pairwise(starts))
        fewer = len(starts) - 1
        assert not fewer or tile + (fewer - 1) * tile * (1 - OVERLAP) < n
    assert tiling.count == np.prod([len(starts) for starts in tiling.starts])


def test_a_volume_no_larger_than_the_patch_is_one_tile() -> None:
    tiling = fit_tiles((44, 90, 75), (8, 8, 8), (64, 96, 80))
    assert tiling.tile == (48, 96, 80)
    assert tiling.starts == ((0,), (0,), (0,))
    assert tiling.before == (2, 3, 2)


def test_a_tile_is_never_larger_than_the_patch_where_the_volume_is_thin() -> None:
    assert fit_tiles((16, 200, 200), (8, 8, 8), (32, 64, 64)).tile == (16, 64, 64)


def test_more_overlap_computes_more() -> None:
    few, many = (fit_tiles((96, 320, 320), (16, 16, 16), (96, 96, 96), o) for o in (0.1, 0.5))
    assert few.count < many.count


def test_a_tile_never_shrinks_to_one_voxel_at_the_bottleneck() -> None:
    assert fit_tiles((3, 4, 5), (8, 8, 8), (32, 32, 32)).tile == (8, 8, 16)
    many = fit_tiles((30, 40, 50), (8, 8, 8), (1, 1, 1))
    assert many.tile == (8, 8, 16)
    assert many.starts[2][-1] == 50 - 16
