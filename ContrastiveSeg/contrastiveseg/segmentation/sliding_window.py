"""Sliding window: logits of a volume from a network that takes tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .tile_memory import holds
from .tiles import Tiling

Network = Callable[[Tensor], Tensor]
OnTile = Callable[[int, int], None]

#: Above this many numbers (2 GiB of float32) the blended logits are kept in float16.
_MOST_FLOAT32 = 2**29


def sliding_window(
    network: Network,
    image: Tensor,
    tiling: Tiling,
    classes: int,
    *,
    batch: int,
    device: torch.device,
    mirror_axes: Sequence[int] = (),
    autocast: torch.dtype | None = None,
    on_tile: OnTile | None = None,
    dimensions: int = 3,
    slice_axis: int = 0,
    padding: Literal["edge", "zero"] = "edge",
    every_tile: bool = False,
) -> Tensor:
    """Blended logits (classes, z, y, x) of ``image`` (C, z, y, x).

    Tiles are weighted by a Gaussian of sigma = tile / 8 (as in nnU-Net and MONAI), normalized axis by axis so that the
    weights of a voxel sum to one: with one tile, or an identity network, nothing is changed. The volume is padded to
    the tile by repeating its border, or with 0. Tiles that hold one value alone, as the air around a body in CT, all
    have the answer of one of them.

    Args:
        network: maps (B, C, *tile) to logits (B, classes, *tile); in evaluation mode, on ``device``.
        tiling: of the volume; with ``dimensions`` 2, of a slice (its two axes in order).
        batch: tiles (3D) or slices (2D) a call. On CPUs 1 is the fastest for tiles of 48x64x64 or more.
        mirror_axes: logits are averaged over all mirrorings along these axes of the tile; 2^n times the work.
        autocast: type to compute in (torch.bfloat16, torch.float16); None for the network's own.
        on_tile: called with (done, total) after each call of the network; an exception it raises ends the work.
        every_tile: also compute tiles whose answer is known, for a network that notes what it sees.

    Returns:
        float32, or float16 where that would take more than 2 GiB; on ``device`` if a third of a GPU's free memory holds
        it, else on the CPU.
    """
    planes = image[None] if dimensions == 3 else image.movedim(slice_axis + 1, 0)
    if tuple(planes.shape[2:]) != tiling.shape:
        raise ValueError(f"the tiling is for {tiling.shape}, the image is {tuple(planes.shape[2:])}")
    planes = _padded(planes, tiling, padding)

    size = (len(planes), classes, *tiling.padded)
    kept = torch.float32 if prod(size) <= _MOST_FLOAT32 else torch.float16
    home = device if device.type == "cuda" and holds(prod(size) * kept.itemsize, device) else torch.device("cpu")
    logits = torch.zeros(size, dtype=kept, device=home)

    weights = [_weights(starts, n).to(home) for starts, n in zip(tiling.starts, tiling.tile, strict=True)]
    tasks = list(product(product(*(range(len(s)) for s in tiling.starts)), range(len(planes))))
    slices = [_tile_slices(tiling, position, plane) for position, plane in tasks]
    sources = _sources([None if every_tile else flat_values(planes[index]) for index in slices])
    last_use = {source: task for task, source in enumerate(sources)}
    flips = [axes for n in range(len(mirror_axes) + 1) for axes in combinations(mirror_axes, n)]

    answers: dict[int, Tensor] = {}
    with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
        planes = planes.to(home)
        for group, computed in _groups(sources, batch):
            tiles = torch.stack([planes[slices[task]] for task in computed]).to(device)
            answers |= dict(zip(computed, _mirrored(network, tiles, flips).to(home, kept), strict=True))
            for task in group:
                rows = [w[n] for w, n in zip(weights, tasks[task][0], strict=True)]
                logits[slices[task]].addcmul_(answers[sources[task]], _outer(rows).to(kept))
            answers = {source: answer for source, answer in answers.items() if last_use[source] > group[-1]}
            if on_tile:
                on_tile(group[-1] + 1, len(tasks))

    for axis, (before, n) in enumerate(zip(tiling.before, tiling.shape, strict=True), start=2):
        logits = logits.narrow(axis, before, n)
    return logits[0] if dimensions == 3 else logits.movedim(0, slice_axis + 1)


def _padded(planes: Tensor, tiling: Tiling, padding: Literal["edge", "zero"]) -> Tensor:
    """``planes`` (planes, C, *shape) of the tiling's padded shape."""
    behind = [p - n - b for p, n, b in zip(tiling.padded, tiling.shape, tiling.before, strict=True)]
    margins = [m for pair in zip(tiling.before[::-1], behind[::-1], strict=True) for m in pair]
    return F.pad(planes, margins, mode="replicate" if padding == "edge" else "constant") if any(margins) else planes


def flat_values(tile: Tensor) -> tuple[float, ...] | None:
    """The value of each channel of ``tile`` (C, ...) where it is the same in all voxels, else None."""
    axes = tile.dim() - 1
    first: tuple[int | slice, ...] = (slice(None), *[0] * axes)
    some: tuple[slice, ...] = (slice(None), *[slice(None, None, 8)] * axes)
    value = tile[first].reshape(-1, *[1] * axes)
    # A few voxels say it of almost all tiles that are not flat.
    flat = bool((tile[some] == value).all()) and bool((tile == value).all())
    return tuple(value.flatten().tolist()) if flat else None


def _sources(flat: Sequence[tuple[float, ...] | None]) -> list[int]:
    """For each tile the one whose answer it has: itself, or if it is flat the first of those alike without others
    between, so that one answer is kept at most."""
    sources, last = [], None
    for tile, values in enumerate(flat):
        if values is not None and (last is None or flat[last] != values):
            last = tile
        sources.append(tile if values is None or last is None else last)
    return sources


def _groups(sources: Sequence[int], batch: int) -> Iterator[tuple[list[int], list[int]]]:
    """All tiles in order, in groups of which at most ``batch`` are computed; these are named once more."""
    group: list[int] = []
    computed: list[int] = []
    for tile, source in enumerate(sources):
        if source == tile and len(computed) == batch:
            yield group, computed
            group, computed = [], []
        group.append(tile)
        if source == tile:
            computed.append(tile)
    yield group, computed


def _tile_slices(tiling: Tiling, position: Sequence[int], plane: int) -> tuple[int | slice, ...]:
    """Index of a tile in (planes, channels, *padded)."""
    starts = [axis[n] for axis, n in zip(tiling.starts, position, strict=True)]
    return (plane, slice(None), *(slice(s, s + n) for s, n in zip(starts, tiling.tile, strict=True)))


def _weights(starts: Sequence[int], tile: int) -> Tensor:
    """(len(starts), tile): a Gaussian a tile, divided at each voxel by the sum over the tiles that cover it.

    The product over the axes is then what dividing by the summed 3D weights would give, as tiles form a grid.
    """
    centered = torch.arange(tile, dtype=torch.float64) - (tile - 1) / 2
    bell = torch.exp(-0.5 * (centered / (tile / 8)) ** 2)
    covered = torch.zeros(starts[-1] + tile, dtype=torch.float64)
    for start in starts:
        covered[start : start + tile] += bell
    return torch.stack([bell / covered[start : start + tile] for start in starts]).float()


def _outer(rows: Sequence[Tensor]) -> Tensor:
    weight = rows[0]
    for row in rows[1:]:
        weight = weight[..., None] * row
    return weight


def _mirrored(network: Network, tiles: Tensor, flips: Sequence[Sequence[int]]) -> Tensor:
    """The mean of the network's answers to ``tiles`` (B, C, *tile) under ``flips``, turned back."""
    if len(flips) == 1:
        return network(tiles)
    mean: Tensor | None = None
    for flip in flips:
        axes = [axis + 2 for axis in flip]
        answer = network(tiles.flip(axes)).flip(axes).float()
        mean = answer if mean is None else mean.add_(answer)
    assert mean is not None
    return mean.div_(len(flips))
