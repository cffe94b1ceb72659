"""Intensities onto one scale: mean about 0, standard deviation about 1 (:class:`.plan.Normalization` says how)."""

from __future__ import annotations

import math

import numpy as np

from ..errors import InputError
from .plan import Channel, Normalization

#: Percentiles and moments of a big volume come from about this many of its voxels, evenly strided.
MOST_SAMPLES = 1_000_000
#: With less than this share of voxels above the minimum, "above the minimum" is not the body.
LEAST_FOREGROUND = 0.01
PERCENTILES = (0.5, 99.5)
#: What a spread or a range is taken for at least, as nnU-Net does; a constant volume becomes 0.
_LEAST = 1e-8
#: HU above which a voxel counts as body, for the CT window.
BODY_HU = -500


def normalize(array: np.ndarray, channels: tuple[Channel, ...]) -> np.ndarray:
    """(C, z, y, x) of any numeric type to float32 by each channel's scheme. A constant channel becomes 0.

    Raises:
        InputError: the volume has another number of channels than the plan.
    """
    if array.shape[0] != len(channels):
        raise InputError(
            f"The network takes {len(channels)} channel(s) ({', '.join(c.name for c in channels)}), but the volume has "
            f"{array.shape[0]}. Give one image a channel, in that order."
        )
    result = np.empty(array.shape, np.float32)
    for source, target, channel in zip(array, result, channels, strict=True):
        n = channel.normalization
        if n.scheme in ("standard", "unit", "none"):
            target[:] = source
            _rescale(target, n, array)
            continue
        if n.scheme == "zscore":
            n = _fit_zscore(source)
        np.clip(source, n.low, n.high, out=target, casting="unsafe")
        target -= np.float32(n.mean)
        target /= np.float32(n.deviation or 1.0)
    return result


def window_from(samples: np.ndarray) -> Normalization:
    """The CT window from pooled samples (HU) of the training volumes' voxels.

    The 0.5-99.5 percentiles of the body (voxels above -500 HU), rounded to whole HU; mean and standard deviation of
    the body after clipping to them.

    Raises:
        InputError: no voxel is above -500 HU, or all are alike.
    """
    body = samples[samples > BODY_HU].astype(np.float64)
    if body.size == 0:
        raise InputError("No voxel is above -500 HU: these volumes hold no body, or are not CT in Hounsfield units.")
    low, high = (float(round(p)) for p in np.percentile(body, PERCENTILES))
    clipped = body.clip(low, high)
    if clipped.std() == 0:
        raise InputError("All body voxels have the same value: these volumes are not CT in Hounsfield units.")
    return Normalization("window", low, high, float(clipped.mean()), float(clipped.std()))


def looks_like_ct(array: np.ndarray) -> bool:
    """Whether intensities look like Hounsfield units: whole numbers, air at or below -500, nothing below -8192
    (scanners' padding), nothing above 32767, and at least 2 % of the voxels soft tissue (-200 to 300).

    A default only: what the user states about the modality takes precedence.
    """
    samples = sample(array)
    if not np.issubdtype(samples.dtype, np.integer) and not np.array_equal(samples, np.round(samples)):
        return False
    low, high = float(array.min()), float(array.max())
    soft = np.count_nonzero((samples >= -200) & (samples <= 300)) / samples.size
    air = np.count_nonzero(samples <= -500) / samples.size
    return bool(-8192 <= low <= -500 and high <= 32767 and soft >= 0.02 and air >= 0.001)


def sample(array: np.ndarray, most: int = MOST_SAMPLES) -> np.ndarray:
    """About ``most`` of the array's values at most, (N,), always the same ones."""
    stride = max(1, array.size // most)
    # A stride that shares a factor with the rows would visit the same columns again and again.
    while stride > 1 and math.gcd(stride, array.shape[-1]) > 1:
        stride += 1
    return array.reshape(-1)[::stride]


def _fit_zscore(array: np.ndarray) -> Normalization:
    samples = sample(array).astype(np.float64)
    foreground = samples[samples > float(array.min())]
    if foreground.size < LEAST_FOREGROUND * samples.size:
        foreground = samples
    low, high = (float(p) for p in np.percentile(foreground, PERCENTILES))
    clipped = foreground.clip(low, high)
    if clipped.std() == 0:
        # A mask-like volume: all foreground alike. Its contrast to the background is what there is.
        low, high = float(array.min()), float(array.max())
        clipped = samples
    return Normalization("zscore", low, high, float(clipped.mean()), float(clipped.std()))


def _rescale(channel: np.ndarray, how: Normalization, volume: np.ndarray) -> None:
    """Apply the schemes that clip nothing to a ``channel`` (z, y, x) float32 of ``volume`` (C, z, y, x), in place."""
    if how.scheme == "unit":
        channel -= channel.min()
        channel /= max(float(channel.max()), _LEAST)
    if how.scheme == "standard":
        inside = _inside(channel, how, volume)
        values = channel[inside]
        if values.size:
            channel[inside] = (values - values.mean()) / max(float(values.std()), _LEAST)


def _inside(channel: np.ndarray, how: Normalization, volume: np.ndarray) -> np.ndarray | slice:
    """The voxels that ``how.over`` names."""
    if how.over == "volume":
        return slice(None)
    if how.over == "nonzero":
        return channel != 0
    from scipy import ndimage  # for imported networks alone, and it takes as long to load as numpy

    return ndimage.binary_fill_holes((volume != 0).any(0))
