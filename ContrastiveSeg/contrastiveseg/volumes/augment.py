"""Augmentation of whole batches on the device they live on, in 2D and 3D.

Two functions: :func:`spatial` moves voxels (and tells where they came from), :func:`intensity` changes their values.
Decisions are drawn from torch's global CPU generator, so that a GPU never waits for one; noise on the device.
Neither changes its input, nor returns a tensor that shares its storage.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True)
class SpatialSettings:
    """How far a crop may be moved; each sample draws its own values, uniformly.

    Attributes:
        probability: share of samples that are rotated, scaled and translated (flips are drawn apart).
        flip: probability of mirroring, for each axis.
        rotation: largest angle in degrees, about each axis.
        scale: smallest and largest magnification.
        translation: largest shift an axis, as a share of the output's extent.
        elastic: largest smooth displacement an axis, as a share of the output's extent; 0 for none.
    """

    probability: float = 1.0
    flip: float = 0.5
    rotation: float = 15.0
    scale: tuple[float, float] = (0.85, 1.18)
    translation: float = 0.05
    elastic: float = 0.0

    def __post_init__(self) -> None:
        for name in ("probability", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be from 0 to 1, not {getattr(self, name)}.")
        for name in ("rotation", "translation", "elastic"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be 0 or more, not {getattr(self, name)}.")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise InputError(f"scale must be more than 0, the smaller first, not {self.scale}.")


@dataclass(frozen=True)
class RandomRange:
    """A change that happens with ``probability``, of a strength drawn uniformly from [low, high]."""

    probability: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise InputError(f"The probability of a change must be from 0 to 1, not {self.probability}.")
        if not -math.inf < self.low <= self.high < math.inf:
            raise InputError(f"low must not be above high, as {self.low} is above {self.high}.")


_POSITIVE: tuple[Callable[[RandomRange], bool], str] = (lambda c: c.low > 0, "more than 0")
#: Which strengths each change can have, and the same in words; the others may have any.
_STRENGTHS: dict[str, tuple[Callable[[RandomRange], bool], str]] = {
    "contrast": _POSITIVE,
    "gamma": _POSITIVE,
    "noise": (lambda c: c.low >= 0, "0 or more"),
    "blur": _POSITIVE,
    "low_resolution": (lambda c: c.low > 0 and c.high <= 1, "more than 0 and at most 1"),
    "cutout": (lambda c: c.low >= 0 and c.high <= 1, "from 0 to 1"),
    "curve": (lambda c: c.low >= 2, "2 knots or more"),
}


@dataclass(frozen=True)
class IntensitySettings:
    """How far intensities may change; each channel of each sample draws its own. Images have deviation about 1.

    Attributes:
        brightness: added.
        contrast: factor on the distance from the mean.
        gamma: exponent on the range from minimum to maximum.
        noise: standard deviation of Gaussian noise.
        blur: standard deviation of a Gaussian, in voxels.
        low_resolution: share of the voxels an axis that survive.
        cutout: share of the volume replaced by a box of noise, the same box in all channels of a sample.
        bias: largest logarithm of a smooth factor on the distance from the minimum, as a coil's sensitivity gives it:
            the same tissue is brighter here than there.
        curve: knots of a random curve that values are sent through, up and down: tissues change places on the gray
            scale, and look as they might in another sequence. Mean and deviation stay, unless the curve is flat.
    """

    brightness: RandomRange = RandomRange(0.5, -0.2, 0.2)
    contrast: RandomRange = RandomRange(0.5, 0.75, 1.25)
    gamma: RandomRange = RandomRange(0.3, 0.7, 1.5)
    noise: RandomRange = RandomRange(0.2, 0.0, 0.15)
    blur: RandomRange = RandomRange(0.2, 0.5, 1.0)
    low_resolution: RandomRange = RandomRange(0.15, 0.5, 1.0)
    cutout: RandomRange = RandomRange(0.0, 0.05, 0.2)
    bias: RandomRange = RandomRange(0.0, 0.2, 0.8)
    curve: RandomRange = RandomRange(0.0, 4, 8)

    def __post_init__(self) -> None:
        for name, (fits, words) in _STRENGTHS.items():
            chance = getattr(self, name)
            # One that never happens may be of any strength: "never" is written as three zeros.
            if chance.probability and not fits(chance):
                raise InputError(f"{name}: its strength must be {words}, not {chance.low} to {chance.high}.")


def spatial(
    images: Tensor,
    labels: Tensor | None,
    settings: SpatialSettings,
    aspect: tuple[float, ...],
    out_shape: tuple[int, ...],
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Move every sample on its own: ``images`` by linear, ``labels`` by nearest interpolation; outside lies the edge.

    Args:
        images: (B, C, [D,] H, W).
        labels: (B, [D,] H, W) integers, or None.
        aspect: voxel spacing an axis (only ratios matter): rotations are rigid in millimeters, not in voxels.
        out_shape: output voxels an axis; a smaller shape than the input's is its concentric part, before moving.

    Returns:
        Images (B, C, \\*out_shape), labels (B, \\*out_shape), and matrices (B, d, d+1) float32 that map output to input
        coordinates. Coordinates are those of ``affine_grid`` with ``align_corners=False``: x (last axis) first, -1 and
        1 at the outer faces of the grid. The matrices do not know the elastic part.
    """
    with torch.autocast(images.device.type, enabled=False):
        matrices = _affine(len(images), settings, aspect, tuple(images.shape[2:]), out_shape).to(images.device)
        grid = F.affine_grid(matrices, [len(images), 1, *out_shape], align_corners=False)
        if settings.elastic > 0:
            # The displacement is given in shares of the output; its grid is 2 wide, in the input's coordinates.
            size = matrices[:, :, :-1].norm(dim=2) * settings.elastic
            coarse = (2 * torch.rand(len(images), len(out_shape), *[5] * len(out_shape)) - 1).to(images.device)
            mode = "bicubic" if len(out_shape) == 2 else "trilinear"
            smooth = F.interpolate(coarse, size=out_shape, mode=mode, align_corners=True)
            grid = grid + 2 * (smooth * size.view(*size.shape, *[1] * len(out_shape))).movedim(1, -1)
        moved = F.grid_sample(images.float(), grid, "bilinear", "border", align_corners=False)
        if labels is None:
            return moved, None, matrices
        nearest = F.grid_sample(labels.unsqueeze(1).float(), grid, "nearest", "border", align_corners=False)
        return moved, nearest.squeeze(1).to(labels.dtype), matrices


def _affine(
    count: int,
    settings: SpatialSettings,
    aspect: tuple[float, ...],
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
) -> Tensor:
    """(B, d, d+1): output to input coordinates, by way of millimeters."""
    d = len(out_shape)

    def half(shape: tuple[int, ...]) -> Tensor:
        return torch.tensor([n * a / 2 for n, a in zip(shape, aspect, strict=True)][::-1], dtype=torch.float32)

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(size)

    moved = (torch.rand(count) < settings.probability).float()
    turn = torch.eye(d).expand(count, d, d)
    for first, second in [(0, 1)] if d == 2 else [(0, 1), (0, 2), (1, 2)]:
        angle = moved * uniform(-1, 1, count) * math.radians(settings.rotation)
        plane = torch.eye(d).repeat(count, 1, 1)
        plane[:, first, first] = plane[:, second, second] = angle.cos()
        plane[:, first, second], plane[:, second, first] = -angle.sin(), angle.sin()
        turn = turn @ plane
    # Magnifying by f reads from f times nearer the center.
    shrink = torch.where(moved > 0, 1 / uniform(*settings.scale, count), torch.ones(count))
    mirror = 1 - 2 * (torch.rand(count, d) < settings.flip).float()
    shift = 2 * moved[:, None] * settings.translation * uniform(-1, 1, count, d) * half(out_shape)
    linear = turn * shrink[:, None, None] * (mirror * half(out_shape))[:, None, :] / half(in_shape)[:, None]
    return torch.cat([linear, (shift / half(in_shape)).unsqueeze(-1)], dim=-1)


def intensity(images: Tensor, settings: IntensitySettings) -> Tensor:
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
        changed = rows.view(images.shape)
        for index, share in _drawn(settings.cutout, len(images)):
            box: tuple[int | slice, ...] = (index, slice(None), *_box(changed.shape[2:], share))
            changed[box] = torch.randn_like(changed[box])
        return changed


def _drawn(chance: RandomRange, count: int) -> list[tuple[int, float]]:
    """Which of ``count`` are changed, and how strongly."""
    chosen = torch.rand(count) < chance.probability
    strength = chance.low + (chance.high - chance.low) * torch.rand(count)
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
    place = (((row - mean) / deviation + 2) / 4.5).clamp(0, 1) * (count - 1)
    heights = torch.rand(count).to(row.device)
    lower = place.long().clamp_max(count - 2)
    sent = torch.lerp(heights[lower], heights[lower + 1], place - lower)
    return (sent - sent.mean()) / sent.std().clamp_min(1e-3) * deviation + mean


def _box(shape: torch.Size, share: float) -> tuple[slice, ...]:
    sides = [max(1, round(n * share ** (1 / len(shape)))) for n in shape]
    starts = [int(torch.randint(n - s + 1, ())) for n, s in zip(shape, sides, strict=True)]
    return tuple(slice(a, a + s) for a, s in zip(starts, sides, strict=True))
