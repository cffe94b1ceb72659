"""Supervised contrast that counts every class once, whatever its share: of MCSC's groups, and of synthetic labels.

Sections are those of the MCSC specification.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .infonce import unit

#: Similarities kept for the backward pass; larger groups are computed again there.
KEPT = 2**22


def balanced_contrast(rows: Tensor, classes: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean of l_i over the anchors that have a positive; 0, with a gradient of 0, if none has (section 2.3).

    l_i = log D_i - mean_{j in P_i} s_ij / tau, where D_i sums over the classes the mean of exp(s_ij / tau) over the
    other points of the class, so that a class of many points weighs no more than one of few.

    Args:
        rows: (P, D), not necessarily normalized. classes: (P,) integers of 0 or more.

    Returns:
        Scalar, at least in float32 whatever autocast says.
    """
    if len(rows) < 2:
        return 0 * rows.float().sum()  # without another point, the sum over others is empty and its logarithm infinite
    with torch.autocast(rows.device.type, enabled=False):
        rows = unit(rows)
        if len(rows) ** 2 > KEPT:
            return checkpoint(_over_anchors, rows, classes, temperature, use_reentrant=False)
        return _over_anchors(rows, classes, temperature)


def _over_anchors(rows: Tensor, classes: Tensor, temperature: float) -> Tensor:
    similarity = rows @ rows.T / temperature
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    same = classes[:, None] == classes[None]
    # A class's points but the anchor itself; 0 only where the pair is the anchor with itself, which is masked.
    others = (torch.bincount(classes)[classes][None] - same.long()).clamp_min(1).to(similarity.dtype)
    denominator = (similarity - others.log()).masked_fill(itself, -torch.inf).logsumexp(1)
    positive = same & ~itself
    count = positive.sum(1)
    has_positive = count > 0
    loss = denominator - (similarity * positive).sum(1) / count.clamp_min(1)
    return (loss * has_positive).sum() / has_positive.sum().clamp_min(1)


def sample_blocks(labels: Tensor, block: tuple[int, ...], groups: int) -> Tensor:
    """Voxels of ``groups`` blocks of every map: half with foreground, if there are as many, half from all (section 3).

    The blocks of a map tile it from a random origin, none is taken twice, and each map has an order of its own, so that
    the k-th blocks of all maps are a mixed group. Randomness is torch's global generator's.

    Args:
        labels: (M, [D,] H, W); above 0 is foreground. block: voxels an axis, cut to the map where it is larger.

    Returns:
        (M, G, points) indices into the flattened map, G = ``groups`` or as many blocks as there are.
    """
    shape = labels.shape[1:]
    side = [min(b, n) for b, n in zip(block, shape, strict=True)]
    tiles = [n // b for n, b in zip(shape, side, strict=True)]
    stride = [1] * len(shape)
    for axis in reversed(range(len(shape) - 1)):
        stride[axis] = stride[axis + 1] * shape[axis + 1]
    inside = _flat_indices([torch.arange(b) for b in side], stride).flatten()
    chosen = []
    for one in (labels > 0).cpu():
        start = [int(torch.randint(n - t * b + 1, ())) for n, t, b in zip(shape, tiles, side, strict=True)]
        corner = _flat_indices([o + b * torch.arange(t) for o, b, t in zip(start, side, tiles, strict=True)], stride)
        blocks = corner.flatten()[:, None] + inside
        with_foreground = one.flatten()[blocks].any(1)
        wanted = min(groups, len(blocks))
        order, again = torch.randperm(len(blocks)), torch.randperm(len(blocks))
        first = order[with_foreground[order]][: (wanted + 1) // 2]
        picked = torch.cat([first, again[~torch.isin(again, first)]])[:wanted]
        chosen.append(blocks[picked[torch.randperm(wanted)]])
    return torch.stack(chosen).to(labels.device)


def _flat_indices(axes: list[Tensor], stride: list[int]) -> Tensor:
    """The flat index of every combination of positions along the axes."""
    total = torch.zeros([1] * len(axes), dtype=torch.long)
    for axis, (positions, step) in enumerate(zip(axes, stride, strict=True)):
        total = total + (positions * step).view([-1 if a == axis else 1 for a in range(len(axes))])
    return total
