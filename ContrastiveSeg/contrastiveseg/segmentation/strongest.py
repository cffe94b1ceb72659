"""The strongest class on a finer grid, slab by slab, and each class only where it can win.

Memory is that of the result and of a few slices of each class. A class that is above another in none of the voxels that
are interpolated from is not above it in between, as products with weights of 0 and more, their sums, and their rounding
keep the order. So each structure is interpolated in its own box alone, around the voxels in which it is above the
background; and slice by slice at first, then between two slices only where different classes are the strongest in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Slices (z) of the result that are computed together: at least so many, and of small ones as many as have so many
#: voxels. Those between which they lie are held for all classes.
_SLAB, _SMALL = 8, 2**19
#: Below all logits, but finite: a weight of 0 makes NaN of what is not.
_LOWEST = torch.finfo(torch.float32).min


def classes_of(logits: Tensor) -> Tensor:
    """Indices (...) of the strongest of ``logits`` (classes, ...), of equal ones the first.

    They are those of ``argmax(0)``, which takes torch several times as long on a CPU.
    """
    return logits.max(0).indices


def strongest_classes(logits: Tensor, shape: Sequence[int]) -> Tensor:
    """Indices (z, y, x) uint8 of the strongest of ``logits`` (classes, z, y, x), interpolated linearly to ``shape``.

    Coordinates are those of ``F.interpolate``, with voxels as areas. Of equal classes the first holds the voxel.
    """
    z, y, x = (_Axis.of(n, new) for n, new in zip(logits.shape[1:], shape, strict=True))
    result = torch.zeros(tuple(shape), dtype=torch.uint8)
    above = [logits[index] > logits[0] for index in range(1, len(logits))]
    step = max(_SLAB, _SMALL // (shape[1] * shape[2]))
    for first in range(0, shape[0], step):
        rows = slice(first, min(first + step, shape[0]))
        low, places = torch.stack((z.before[rows], z.after[rows])).unique(return_inverse=True)
        boxes = {}
        for index, mask in enumerate(above, start=1):
            plane = mask[low].any(0)
            box = (y.reached(plane.any(1)), x.reached(plane.any(0)))
            if all(side.stop for side in box):
                boxes[index] = box
        if not boxes:
            continue
        ys, xs = (
            slice(min(box[axis].start for box in boxes.values()), max(box[axis].stop for box in boxes.values()))
            for axis in (0, 1)
        )
        best = _interpolated(logits[0, low], (y, x), (ys, xs))
        held = torch.zeros(best.shape, dtype=torch.uint8)
        slices = {0: best.clone()}
        for index, box in boxes.items():
            candidate = _interpolated(logits[index, low], (y, x), box)
            part = (slice(None), _within(ys, box[0]), _within(xs, box[1]))
            held[part].masked_fill_(candidate > best[part], index)
            torch.maximum(best[part], candidate, out=best[part])
            slices[index] = torch.full_like(best, _LOWEST)
            slices[index][part] = candidate
        result[rows, ys, xs] = _between(slices, held, _Axis(places[0], places[1], z.weight[rows]))
    return result


def _between(slices: Mapping[int, Tensor], held: Tensor, z: _Axis) -> Tensor:
    """Indices (rows, y, x) of the strongest class at the places ``z`` between ``slices`` (slices, y, x) of each class.

    Args:
        held: the strongest class in the slices.
    """
    classes = held[z.before]
    apart = (classes != held[z.after]).flatten(1)
    counts, points = apart.sum(1), apart.flatten().nonzero()[:, 0]
    row, size = torch.arange(len(apart)), apart.shape[1]
    before, after = (points + ((n - row) * size).repeat_interleave(counts) for n in (z.before, z.after))
    weight = z.weight.repeat_interleave(counts)
    best, strongest = torch.full(weight.shape, _LOWEST), torch.zeros(weight.shape, dtype=torch.uint8)
    for index, values in slices.items():
        candidate, other = (values.flatten().index_select(0, places) for places in (before, after))
        candidate.mul_(1 - weight).addcmul_(other, weight)
        strongest.masked_fill_(candidate > best, index)
        torch.maximum(best, candidate, out=best)
    classes.view(-1)[points] = strongest
    return classes


def _within(outer: slice, inner: slice) -> slice:
    """``inner`` as a part of ``outer``."""
    return slice(inner.start - outer.start, inner.stop - outer.start)


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

    def part(self, fine: slice) -> _Axis:
        """The axis of the voxels ``fine`` alone, interpolated from :meth:`needed`."""
        start = self.needed(fine).start
        return _Axis(self.before[fine] - start, self.after[fine] - start, self.weight[fine])

    def needed(self, fine: slice) -> slice:
        """The voxels from which those of ``fine`` are interpolated."""
        return slice(int(self.before[fine.start]), int(self.after[fine.stop - 1]) + 1)

    def reached(self, coarse: Tensor) -> slice:
        """The fine voxels, from the first to the last, that are interpolated from one that is true in ``coarse``.

        There may be none: on a grid that is the coarser one after all, voxels lie between those interpolated from.
        """
        reached = (coarse[self.before] | coarse[self.after]).nonzero()
        return slice(int(reached[0]), int(reached[-1]) + 1) if len(reached) else slice(0, 0)


def _interpolated(values: Tensor, axes: Sequence[_Axis], fine: Sequence[slice]) -> Tensor:
    """The part ``fine`` (y, x) of slices ``values`` (slices, y, x) on the finer grid of ``axes``."""
    low = [axis.needed(part) for axis, part in zip(axes, fine, strict=True)]
    y, x = (axis.part(part) for axis, part in zip(axes, fine, strict=True))
    values = values[:, low[0], low[1]].float()
    # x first, as its voxels are gathered one by one; indexing does that four times as fast as index_select.
    values = values[..., x.before].mul_(1 - x.weight).addcmul_(values[..., x.after], x.weight)
    weight = y.weight[:, None]
    return values.index_select(1, y.before).mul_(1 - weight).addcmul_(values.index_select(1, y.after), weight)
