"""Resampling as nnU-Net does it, so that its networks see what they were trained on: nothing is averaged, and where
slices are thick, the nearest one is copied.

Source: nnunetv2 2.8, preprocessing/resampling/default_resampling.py (Isensee et al., Nature Methods 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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
        if thick is None:
            target[:] = _zoomed(source, shape, order)
            continue
        slices, within = np.moveaxis(source, thick, 0), np.delete(np.array(shape), thick)
        flat = np.stack([_zoomed(one, within, order) for one in slices])
        np.moveaxis(target, thick, 0)[:] = flat[_nearest(len(slices), shape[thick])]
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


def _zoomed(array: np.ndarray, shape: Sequence[int] | np.ndarray, order: int) -> np.ndarray:
    from scipy import ndimage  # for imported networks alone

    factors = [new / old for new, old in zip(shape, array.shape, strict=True)]
    values = array.astype(np.float64)
    zoomed = ndimage.zoom(values, factors, order=order, mode="nearest", grid_mode=True)
    # Splines overshoot at edges.
    return zoomed.clip(values.min(), values.max())


def _nearest(old: int, new: int) -> np.ndarray:
    """For each of ``new`` slices the one of ``old`` at its place."""
    return np.floor((np.arange(new) + 0.5) * old / new).astype(int).clip(0, old - 1)
