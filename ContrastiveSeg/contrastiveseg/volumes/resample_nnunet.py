"""Resampling as nnU-Net does it, so that its networks see what they were trained on: nothing is averaged, and where
slices are thick, the nearest one is copied.

Source: nnunetv2 2.8, preprocessing/resampling/default_resampling.py (Isensee et al., Nature Methods 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: A spacing whose largest entry is more than so many times its smallest has thick slices.
_THICK = 3.0


def thick_axis(spacing: Sequence[float], target: Sequence[float]) -> int | None:
    """The axis that is copied, not interpolated, between grids with these spacings in mm; None where there is none."""
    for steps in (spacing, target):
        if max(steps) / min(steps) > _THICK:
            thickest = [axis for axis, step in enumerate(steps) if step == max(steps)]
            return thickest[0] if len(thickest) == 1 else None
    return None


def resample_splines(array: np.ndarray, shape: Sequence[int], order: int, thick: int | None) -> np.ndarray:
    """(C, z, y, x) to (C, *shape), float32, by splines of ``order`` within the range of values there is.

    Where there is a ``thick`` axis, slice by slice across it, and the nearest slice.
    """
    if tuple(array.shape[1:]) == tuple(shape):
        return array.astype(np.float32, copy=False)
    result = np.empty((len(array), *shape), np.float32)
    for source, target in zip(array, result, strict=True):
        within = [axis for axis in range(3) if axis != thick]
        zoomed = _zoomed(source, {axis: shape[axis] for axis in within}, order)
        target[:] = zoomed if thick is None else zoomed.take(_nearest(source.shape[thick], shape[thick]), thick)
    return result


def resample_logits(logits: Tensor, shape: Sequence[int], thick: int | None) -> Tensor:
    """(classes, z, y, x) to (classes, *shape), linear but for the nearest slice along a ``thick`` axis."""
    if thick is not None:
        size = list(logits.shape[1:])
        size[thick] = shape[thick]
        logits = F.interpolate(logits[None], size=size, mode="nearest-exact")[0]
    if tuple(logits.shape[1:]) == tuple(shape):
        return logits
    return F.interpolate(logits[None], size=tuple(shape), mode="trilinear", align_corners=False)[0]


def _zoomed(array: np.ndarray, lengths: Mapping[int, int], order: int) -> np.ndarray:
    """``array`` (z, y, x) in float64, with so many voxels along the axes in ``lengths``."""
    axes = tuple(lengths)
    values, new = array.astype(np.float64), [lengths.get(axis, n) for axis, n in enumerate(array.shape)]
    zoomed = _by_products(values, new) if order == 3 else _by_neighbors(values, new, order)
    # Splines overshoot at edges.
    return zoomed.clip(array.min(axes, keepdims=True), array.max(axes, keepdims=True))


def _by_neighbors(values: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    from scipy import ndimage  # for imported networks alone

    factors = [new / old for new, old in zip(shape, values.shape, strict=True)]
    return ndimage.zoom(values, factors, order=order, mode="nearest", grid_mode=True)


def _by_products(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Cubic splines axis by axis: the 64 neighbors of each voxel take up to ten times as long."""
    product = torch.from_numpy(values)
    for new in shape:
        # The axis at hand is the first, and becomes the last.
        if new == len(product):
            product = product.movedim(0, -1)
        else:
            # What each voxel of a row adds to the new ones.
            weights = _by_neighbors(np.eye(len(product)), (len(product), new), 3)
            product = torch.tensordot(product, torch.from_numpy(weights), ([0], [0]))
    return product.numpy()


def _nearest(old: int, new: int) -> np.ndarray:
    """For each of ``new`` slices the one of ``old`` at its place."""
    return np.floor((np.arange(new) + 0.5) * old / new).astype(int).clip(0, old - 1)
