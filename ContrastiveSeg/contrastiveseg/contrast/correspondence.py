"""Dense correspondence between two views, and the contrast of each location with the one it corresponds to.

Sections are those of the IDEAL specification; the rule of matching is DenseCL's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .geometry import cell_at, cell_centers, inverse, transform
from .infonce import infonce, unit


@torch.no_grad()
def by_features(queries: Tensor, keys: Tensor) -> Tensor:
    """(N, A): for each location of ``queries`` (N, A, C) the most similar one of ``keys`` (N, S, C), by cosine."""
    # Cosines near 1 would be ties in bfloat16, and the first of the tied cells would win.
    with torch.autocast(queries.device.type, enabled=False):
        return (unit(queries) @ unit(keys).transpose(1, 2)).argmax(-1)


def by_geometry(first: Tensor, second: Tensor, grid: Sequence[int]) -> Tensor:
    """(N, S): the cell of ``grid`` over the second view that holds the center of each cell over the first; -1 outside.

    ``first`` and ``second`` are the views' matrices (N, d, d+1), see :class:`.geometry.View`.
    """
    points = transform(first, cell_centers(grid, first.device))
    return cell_at(transform(inverse(second), points), grid)


def steps_between(first: Tensor, second: Tensor, grid: Sequence[int]) -> Tensor:
    """How many cells of ``grid`` lie between cells of these numbers (any broadcastable shapes), on the worst axis."""
    distance, length = torch.zeros_like(first - second), 1
    for size in reversed(grid):
        distance = torch.maximum(distance, ((first // length) % size - (second // length) % size).abs())
        length *= size
    return distance


def other_locations(keys: Tensor, most: int) -> Tensor:
    """(B, K, P): for each sample, up to ``most`` random locations of the others' ``keys`` (B, S, P)."""
    batch, cells = keys.shape[:2]
    total = (batch - 1) * cells
    drawn = torch.randperm(total)[:most] if total > most else torch.arange(total)
    drawn = drawn.to(keys.device)
    sample = (torch.arange(batch, device=keys.device)[:, None] + 1 + drawn // cells) % batch
    return keys[sample, drawn % cells]


def dense_contrast(
    queries: Tensor,
    keys: Tensor,
    match: Tensor,
    others: Tensor,
    grid: Sequence[int],
    temperature: float = 0.2,
    radius: int = 0,
    allowed: Tensor | None = None,
) -> Tensor:
    """The dense loss of section 3, averaged over samples and query locations that have a match.

    Args:
        queries: (N, A, P), keys: (N, S, P) of the other view, others: (N, K, P) of elsewhere; not necessarily
            normalized.
        match: (N, A), the key location that is each query's positive, -1 for none.
        radius: other key locations within so many cells of ``grid`` of the match are not compared.
        allowed: (N, K), which of ``others`` are compared; None for all.
    """
    compared = None
    if radius or allowed is not None:
        cells = torch.arange(keys.shape[1], device=keys.device)
        own = (steps_between(match.unsqueeze(-1), cells, grid) > radius) | (match.unsqueeze(-1) == cells)
        rest = torch.ones_like(others[..., 0], dtype=torch.bool) if allowed is None else allowed
        compared = torch.cat([own, rest.unsqueeze(1).expand(-1, queries.shape[1], -1)], -1)
    rows = torch.cat([unit(keys), unit(others)], 1)
    return infonce(unit(queries), rows, match, compared, temperature)
