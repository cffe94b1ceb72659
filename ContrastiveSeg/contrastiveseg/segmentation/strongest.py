"""The strongest class on a finer grid, slab by slab, and each class only where it can win.

Memory is that of the result and of a few slabs, however many classes there are. A class that is nowhere above the
background among the logits around a voxel is not above it when they are interpolated, as products with weights of 0 and
more, their sums, and their rounding keep the order. So each structure is interpolated in its own box alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Rows (z) that are computed together, so that their values stay in the processor's cache.
_SLAB = 8


def strongest_classes(logits: Tensor, shape: Sequence[int]) -> Tensor:
    """Indices (z, y, x) uint8 of the strongest of ``logits`` (classes, z, y, x), interpolated linearly to ``shape``.

    Coordinates are those of ``F.interpolate``, with voxels as areas. Of equal classes the first holds the voxel.
    """
    z, y, x = (_Axis.of(n, new) for n, new in zip(logits.shape[1:], shape, strict=True))
    result = torch.zeros(tuple(shape), dtype=torch.uint8)
    above = [logits[index] > logits[0] for index in range(1, len(logits))]
    for first in range(0, shape[0], _SLAB):
        rows = slice(first, min(first + _SLAB, shape[0]))
        low = z.needed(rows)
        boxes = {}
        for index, mask in enumerate(above, start=1):
            plane = mask[low].any(0)
            box = (y.reached(plane.any(1)), x.reached(plane.any(0)))
            if all(side.stop for side in box):
                boxes[index] = box
        if not boxes:
            continue
        around = [
            slice(min(box[axis].start for box in boxes.values()), max(box[axis].stop for box in boxes.values()))
            for axis in (0, 1)
        ]
        best = _interpolated(logits[0], (z, y, x), (rows, around[0], around[1]))
        for index, (ys, xs) in boxes.items():
            candidate = _interpolated(logits[index], (z, y, x), (rows, ys, xs))
            held = best[:, ys.start - around[0].start :, xs.start - around[1].start :]
            held = held[:, : candidate.shape[1], : candidate.shape[2]]
            result[rows, ys, xs].masked_fill_(candidate > held, index)
            torch.maximum(held, candidate, out=held)
    return result


@dataclass(frozen=True)
class _Axis:
    """Of each voxel of the finer grid, the voxels before and after it, and the weight of the latter."""

    before: Tensor
    after: Tensor
    weight: Tensor

    @classmethod
    def of(cls, length: int, new: int) -> _Axis:
        place = ((torch.arange(new, dtype=torch.float64) + 0.5) * (length / new) - 0.5).clamp(0, length - 1)
        before = place.floor().long()
        return cls(before, (before + 1).clamp_max(length - 1), (place - before).float())

    def needed(self, fine: slice) -> slice:
        """The voxels from which those of ``fine`` are interpolated."""
        return slice(int(self.before[fine.start]), int(self.after[fine.stop - 1]) + 1)

    def reached(self, coarse: Tensor) -> slice:
        """The fine voxels, from the first to the last, that are interpolated from one that is true in ``coarse``.

        There may be none: on a grid that is the coarser one after all, voxels lie between those interpolated from.
        """
        reached = (coarse[self.before] | coarse[self.after]).nonzero()
        return slice(int(reached[0]), int(reached[-1]) + 1) if len(reached) else slice(0, 0)


def _interpolated(values: Tensor, axes: tuple[_Axis, _Axis, _Axis], fine: tuple[slice, slice, slice]) -> Tensor:
    """The part ``fine`` of ``values`` (z, y, x) on the finer grid."""
    low = [axis.needed(part) for axis, part in zip(axes, fine, strict=True)]
    values = values[low[0], low[1], low[2]].float()
    for dimension, (axis, part) in enumerate(zip(axes, fine, strict=True)):
        start = low[dimension].start
        weight = axis.weight[part].view(-1, *[1] * (2 - dimension))
        after = values.index_select(dimension, axis.after[part] - start)
        values = values.index_select(dimension, axis.before[part] - start).mul_(1 - weight).addcmul_(after, weight)
    return values
