"""Resampling arrays to another number of voxels over the same physical extent (edges stay where they are)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: An axis that loses more than this factor is averaged first; plain linear interpolation would skip voxels (aliasing).
AVERAGE_BEYOND = 1.5
#: Up to this many classes are interpolated one by one; beyond, the time grows out of proportion to the gain.
MOST_CLASSES = 32


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], target_spacing: Sequence[float]
) -> tuple[int, int, int]:
    """(z, y, x) after resampling from ``spacing`` to ``target_spacing`` (mm): rounded, at least one voxel an axis."""
    z, y, x = (max(1, round(n * s / t)) for n, s, t in zip(shape, spacing, target_spacing, strict=True))
    return (z, y, x)


def resample_image(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(C, z, y, x) to (C, *shape), float32, trilinear; axes that shrink much are averaged.

    An array that has the shape already comes back as it is, not copied.
    """
    if tuple(array.shape[-3:]) == tuple(shape):
        return array.astype(np.float32, copy=False)
    return _interpolate(torch.from_numpy(np.ascontiguousarray(array, np.float32))[None], shape)[0].numpy()


def resample_labels(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Labels (z, y, x) to ``shape``, in the same integer type.

    Each class is interpolated as its own image and the strongest one wins, which gives smoother borders than copying
    the nearest voxel. At a tie the structure wins over the background, and a class that would be gone entirely (a thin
    vessel in a much coarser grid) keeps the voxels where it was strongest. Above 32 classes: nearest voxel.

    Voxels below 0 have no label and take no part. The result has one where half or more of a voxel has, or where the
    center of a labeled voxel lies in it, so that a labeled slice between others does not vanish.

    An array that has the shape already comes back as it is, not copied.
    """
    if tuple(array.shape) == tuple(shape):
        return array
    classes = np.unique(array[array >= 0])
    if len(classes) > MOST_CLASSES:
        # float32 holds every 16-bit label exactly; torch has no nearest for most integer types
        labels = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None]
        return F.interpolate(labels, size=tuple(shape), mode="nearest-exact")[0, 0].numpy().astype(array.dtype)
    # Background comes first in order, so a later class takes a tie; a weight of nothing wins nowhere.
    strongest = torch.full(tuple(shape), 1e-6)
    result = torch.zeros(tuple(shape), dtype=torch.int32)
    for label in classes:
        weight = _class_weight(array, label, shape)
        result = torch.where(weight >= strongest, int(label), result)
        strongest = torch.maximum(strongest, weight)
    for label in np.setdiff1d(classes, result.unique().numpy()):
        weight = _class_weight(array, label, shape)
        result[weight > weight.max() / 2] = int(label)
    resampled = result.numpy().astype(array.dtype)
    if (array < 0).any():
        resampled[~_labeled(array >= 0, shape)] = -1
    return resampled


def _labeled(labeled: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Which voxels of ``shape`` have a label, where ``labeled`` (z, y, x) says it of the voxels before."""
    half = _interpolate(torch.from_numpy(labeled.astype(np.float32))[None, None], shape)[0, 0].numpy() >= 0.5
    voxels = zip(labeled.nonzero(), shape, labeled.shape, strict=True)
    half[tuple(np.floor((index + 0.5) * n / before).astype(int) for index, n, before in voxels)] = True
    return half


def _class_weight(array: np.ndarray, label: np.integer, shape: Sequence[int]) -> Tensor:
    member = torch.from_numpy((array == label).astype(np.float32))[None, None]
    return _interpolate(member, shape)[0, 0]


def _interpolate(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """(B, C, z, y, x) to (B, C, *shape)."""
    now = tensor.shape[-3:]
    averaged = [new if old > AVERAGE_BEYOND * new else old for old, new in zip(now, shape, strict=True)]
    if averaged != list(now):
        tensor = F.interpolate(tensor, size=averaged, mode="area")
    if averaged == list(shape):
        return tensor
    return F.interpolate(tensor, size=tuple(shape), mode="trilinear", align_corners=False)
