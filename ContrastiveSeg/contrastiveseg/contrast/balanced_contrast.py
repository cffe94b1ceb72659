"""Supervised contrast that counts every class once, whatever its share: of MCSC's groups, and of synthetic labels.

Sections are those of the MCSC specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .infonce import CHUNK, unit


def balanced_contrast(rows: Tensor, classes: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean of l_i over the anchors that have a positive; 0, with a gradient of 0, if none has (section 2.3).

    l_i = log D_i - mean_{j in P_i} s_ij / tau, where D_i sums over the classes the mean of exp(s_ij / tau) over the
    other points of the class, so that a class of many points weighs no more than one of few.

    Args:
        rows: (P, D), not necessarily normalized. classes: (P,) integers of 0 or more.

    Returns:
        Scalar, at least in float32 whatever autocast says.
    """
    order = classes.argsort()
    sizes = classes[order].unique_consecutive(return_counts=True)[1].tolist()
    anchors = sum(size for size in sizes if size > 1)
    if not anchors:
        return 0 * rows.float().sum()
    with torch.autocast(rows.device.type, enabled=False):
        rows = unit(rows.index_select(0, order))
        # Of a class with the sum T of its rows, the anchors' mean similarities to their positives sum up to
        # (|T|^2 - sum |g_i|^2) / (n - 1).
        attracted = [
            (part.sum(0).square().sum() - part.square().sum()) / (len(part) - 1)
            for part in rows.split(sizes)
            if len(part) > 1
        ]
        return (_LogDenominators.apply(rows, sizes, temperature) - torch.stack(attracted).sum() / temperature) / anchors


class _LogDenominators(torch.autograd.Function):
    """log D_i summed over the rows that have a positive; ``rows`` (P, D) lie class by class, ``sizes`` of each.

    The gradient is computed in the same pass over pieces of the anchors: none of them is kept, and none computed twice.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: Sequence[int], temperature: float) -> Tensor:
        count, scaled = len(rows), rows / temperature
        number = torch.tensor(sizes, dtype=rows.dtype, device=rows.device)
        own = torch.eye(len(sizes), dtype=rows.dtype, device=rows.device)
        own = own.repeat_interleave(number.long(), 0, output_size=count)
        # Points of each class that an anchor is compared with: all, but the anchor itself.
        others = (number - own).clamp_min(1)
        has_positive = (own @ number > 1).to(rows.dtype).unsqueeze(1)
        total, slope = rows.new_zeros(()), torch.zeros_like(rows) if ctx.needs_input_grad[0] else None
        step = max(1, CHUNK // count)
        for start in range(0, count, step):
            piece = slice(start, start + step)
            similarity = scaled[piece] @ rows.T
            similarity.diagonal(start).fill_(torch.finfo(rows.dtype).min)
            highest = similarity.amax(1, keepdim=True)
            by_class = similarity.sub_(highest).exp_().split(list(sizes), 1)
            denominator = (torch.stack([part.sum(1) for part in by_class], 1) / others[piece]).sum(1, keepdim=True)
            total += ((highest + denominator.log()) * has_positive[piece]).sum()
            if slope is not None:
                weights = has_positive[piece] / (denominator * others[piece])
                for part, weight in zip(by_class, weights.split(1, 1), strict=True):
                    part.mul_(weight)
                slope[piece] += similarity @ scaled
                slope += similarity.T @ scaled[piece]
        ctx.save_for_backward(slope)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None, None


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
