"""Intensity augmentation of whole batches on their device, in 2D and 3D: voxels change their values.

Decisions are drawn from torch's global CPU generator, so that a GPU never waits for one; noise is drawn on the device.
The input is not changed, and the result shares no storage with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..parameters import ParameterError, Parameters, parameter


@dataclass(frozen=True)
class RandomRange(Parameters):
    """A change that happens with ``probability``, of a strength drawn uniformly from [low, high].

    One that never happens may be of any strength: "never" is written as three zeros.
    """

    strengths: ClassVar = ("low", "high")

    probability: float = parameter(help="share of the samples that are changed", at_least=0, at_most=1)
    low: float = parameter(help="the smallest")
    high: float = parameter(help="the largest")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ParameterError("low", f"must not be above high, as {self.low} is above {self.high}.")

    @property
    def used(self) -> bool:
        return self.probability > 0


NEVER = RandomRange(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class IntensitySettings(Parameters):
    """How far intensities may change; each channel of each sample draws its own. Images have deviation about 1."""

    brightness: RandomRange = parameter(
        RandomRange(0.5, -0.2, 0.2), help="number added to all intensities", unit="standard deviations"
    )
    contrast: RandomRange = parameter(
        RandomRange(0.5, 0.75, 1.25), help="factor on the distance from the mean", above=0
    )
    gamma: RandomRange = parameter(
        RandomRange(0.3, 0.7, 1.5), help="exponent on the range from minimum to maximum", above=0
    )
    noise: RandomRange = parameter(
        RandomRange(0.2, 0.0, 0.15),
        help="standard deviation of Gaussian noise",
        unit="standard deviations",
        at_least=0,
    )
    blur: RandomRange = parameter(
        RandomRange(0.2, 0.5, 1.0), help="standard deviation of a Gaussian blur", unit="voxels", above=0
    )
    low_resolution: RandomRange = parameter(
        RandomRange(0.15, 0.5, 1.0), help="share of the voxels an axis that are kept", above=0, at_most=1
    )
    bias: RandomRange = parameter(
        RandomRange(0.0, 0.2, 0.8),
        help="largest logarithm of a smooth factor on the distance from the minimum, as from a coil's sensitivity",
    )
    curve: RandomRange = parameter(
        RandomRange(0.0, 4, 8),
        help="random curve that the gray values are sent through, up and down, as if in another sequence; mean and "
        "deviation stay",
        unit="knots",
        at_least=2,
    )


def augment_intensity(images: Tensor, settings: IntensitySettings) -> Tensor:
    """Change the values of ``images`` (B, C, [D,] H, W), every channel of every sample on its own; float32."""
    with torch.autocast(images.device.type, enabled=False):
        rows = images.flatten(0, 1).float()
        rows = rows.clone() if rows.data_ptr() == images.data_ptr() else rows
        for index, sigma in _drawn(settings.blur, len(rows)):
            rows[index] = _blur(rows[index], sigma)
        for index, share in _drawn(settings.low_resolution, len(rows)):
            rows[index] = _low_resolution(rows[index], share)
        for index, knots in _drawn(settings.curve, len(rows)):
            rows[index] = _curve(rows[index], round(knots))
        for index, reach in _drawn(settings.bias, len(rows)):
            rows[index] = _bias(rows[index], reach)
        rows = _contrast(rows, settings)
        for index, exponent in _drawn(settings.gamma, len(rows)):
            row = rows[index]
            low, high = row.aminmax()
            span = (high - low).clamp_min(1e-6)
            rows[index] = ((row - low) / span).pow(exponent) * span + low
        for index, deviation in _drawn(settings.noise, len(rows)):
            rows[index] += deviation * torch.randn_like(rows[index])
        return rows.view(images.shape)


def shift_structures(images: Tensor, labels: Tensor, shift: RandomRange) -> Tensor:
    """Make all structures of a crop brighter or darker than they are; float32.

    A handful of volumes shows a structure in few contrasts with what surrounds it. A left atrium as dark as the tissue
    around it was found at a Dice of 0.6 by networks that had learned from bright ones.

    Args:
        images: (B, C, [D,] H, W). labels: (B, [D,] H, W) class indices; a crop with voxels of -1 stays as it is, as
            some of its structures are not known.
        shift: in standard deviations of the crop, drawn for each crop and channel; it fades within a voxel or two of
            the structures' border.
    """
    shifted = images.float().clone()
    for index, (crop, label) in enumerate(zip(shifted, labels, strict=True)):
        drawn = _drawn(shift, len(crop))
        if not drawn:
            continue
        # A product, as a GPU would be waited for to know whether all voxels are labeled.
        softly = _blur((label > 0).float(), 1.0) * (label >= 0).all()
        for channel, strength in drawn:
            shifted[index, channel] += strength * crop[channel].std() * softly
    return shifted


def _drawn(change: RandomRange, count: int) -> list[tuple[int, float]]:
    """Which of ``count`` are changed, and how strongly."""
    chosen = torch.rand(count) < change.probability
    strength = change.low + (change.high - change.low) * torch.rand(count)
    return [(i, float(strength[i])) for i in range(count) if chosen[i]]


def _contrast(rows: Tensor, settings: IntensitySettings) -> Tensor:
    factor, offset = torch.ones(len(rows)), torch.zeros(len(rows))
    for index, value in _drawn(settings.contrast, len(rows)):
        factor[index] = value
    for index, value in _drawn(settings.brightness, len(rows)):
        offset[index] = value
    shape = (-1, *[1] * (rows.ndim - 1))
    factor, offset = factor.to(rows.device).view(shape), offset.to(rows.device).view(shape)
    mean = rows.flatten(1).mean(-1).view(shape)
    return rows * factor + (mean * (1 - factor) + offset)


def _blur(row: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian, edges repeated; an axis shorter than the kernel is left as it is."""
    radius = max(1, math.ceil(2.5 * sigma))
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)]
    for axis, length in enumerate(row.shape):
        if length <= radius:
            continue
        ends = [
            row.narrow(axis, i, 1).expand([radius if a == axis else n for a, n in enumerate(row.shape)])
            for i in (0, -1)
        ]
        padded = torch.cat([ends[0], row, ends[1]], axis)
        row = torch.zeros_like(row)
        for k, weight in enumerate(weights):
            row.add_(padded.narrow(axis, k, length), alpha=weight / sum(weights))
    return row


def _low_resolution(row: Tensor, share: float) -> Tensor:
    size = [max(1, round(n * share)) for n in row.shape]
    coarse = F.interpolate(row[None, None], size=size, mode="nearest-exact")
    mode = "bilinear" if row.ndim == 2 else "trilinear"
    return F.interpolate(coarse, size=row.shape, mode=mode, align_corners=False)[0, 0]


def _bias(row: Tensor, reach: float) -> Tensor:
    """The factor's logarithm is drawn at 3 knots an axis, and linear between them."""
    # MONAI's RandBiasField is numpy on the CPU, and scales about 0, which is the mean here.
    knots = reach * (2 * torch.rand(1, 1, *[3] * row.ndim) - 1)
    mode = "bilinear" if row.ndim == 2 else "trilinear"
    smooth = F.interpolate(knots.to(row.device), size=row.shape, mode=mode, align_corners=True)[0, 0]
    low = row.min()
    return (row - low) * smooth.exp() + low


def _curve(row: Tensor, count: int) -> Tensor:
    """Knots evenly spread from 2 deviations below the mean to 2.5 above, for bright tissue; beyond them it is level."""
    # MONAI's RandHistogramShift keeps the order of values; here it is to change.
    mean, deviation = row.mean(), row.std().clamp_min(1e-6)
    position = (((row - mean) / deviation + 2) / 4.5).clamp(0, 1) * (count - 1)
    heights = torch.rand(count).to(row.device)
    lower = position.long().clamp_max(count - 2)
    mapped = torch.lerp(heights[lower], heights[lower + 1], position - lower)
    return (mapped - mapped.mean()) / mapped.std().clamp_min(1e-3) * deviation + mean
