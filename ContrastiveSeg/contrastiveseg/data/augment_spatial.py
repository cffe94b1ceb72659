"""Spatial augmentation of whole batches on their device, in 2D and 3D: voxels are moved.

Decisions are drawn from torch's global CPU generator, so that a GPU never waits for one. The input is not changed, and
the result shares no storage with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..parameters import Parameters, parameter


@dataclass(frozen=True)
class SpatialSettings(Parameters):
    """How far a crop may be moved; each sample draws its own values, uniformly."""

    probability: float = parameter(
        1.0, help="share of the samples that are rotated, scaled and shifted", at_least=0, at_most=1
    )
    flip: float = parameter(0.5, help="probability of mirroring, for each axis", at_least=0, at_most=1)
    rotation: float = parameter(15.0, help="largest angle about each axis", unit="degrees", at_least=0)
    scale: tuple[float, float] = parameter((0.85, 1.18), help="smallest and largest magnification", above=0)
    translation: float = parameter(0.05, help="largest shift an axis", unit="share of the patch", at_least=0)
    elastic: float = parameter(
        0.0, help="largest smooth displacement an axis, 0 for none", unit="share of the patch", at_least=0
    )

    def toward(self, other: SpatialSettings, share: float) -> SpatialSettings:
        """These settings for a ``share`` of 0, ``other`` for 1, and between them each value linearly."""

        def between(one: float, two: float) -> float:
            return one + share * (two - one)

        low, high = map(between, self.scale, other.scale)
        return SpatialSettings(
            probability=between(self.probability, other.probability),
            flip=between(self.flip, other.flip),
            rotation=between(self.rotation, other.rotation),
            scale=(low, high),
            translation=between(self.translation, other.translation),
            elastic=between(self.elastic, other.elastic),
        )


def augment_spatial(
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
        grid = _affine_grid(matrices, out_shape)
        if settings.elastic > 0:
            # The displacement is given in shares of the output; its grid is 2 wide, in the input's coordinates.
            size = 2 * settings.elastic * matrices[:, :, :-1].norm(dim=2)
            coarse = (2 * torch.rand(len(images), len(out_shape), *[5] * len(out_shape)) - 1).to(images.device)
            coarse = coarse * size.view(*size.shape, *[1] * len(out_shape))
            grid = grid + _between(coarse, out_shape, "cubic" if len(out_shape) == 2 else "linear")
        grid = grid.movedim(1, -1)
        moved = F.grid_sample(images.float(), grid, "bilinear", "border", align_corners=False)
        if labels is None:
            return moved, None, matrices
        nearest = F.grid_sample(labels.unsqueeze(1).float(), grid, "nearest", "border", align_corners=False)
        return moved, nearest.squeeze(1).to(labels.dtype), matrices


def _affine_grid(matrices: Tensor, out_shape: tuple[int, ...]) -> Tensor:
    """``F.affine_grid`` with ``align_corners=False``, but for rounding: (B, d, \\*out_shape).

    Each axis adds its own share, which in 3D takes a tenth of the time of a product of every voxel with the matrix.
    """
    d = len(out_shape)
    grid = matrices[:, :, -1].view(-1, d, *[1] * d)
    for axis in reversed(range(d)):
        n = out_shape[axis]
        centers = (torch.linspace(-1, 1, n) * (n - 1) / n).to(matrices.device)
        share = matrices[:, :, d - 1 - axis].unsqueeze(-1) * centers
        grid = grid + share.view(-1, d, *[1] * axis, n, *[1] * (d - 1 - axis))
    return grid


def _between(knots: Tensor, out_shape: tuple[int, ...], how: Literal["linear", "cubic"]) -> Tensor:
    """``knots`` (B, d, k, ...), of which the outermost are the outermost voxels, interpolated: (B, d, \\*out_shape).

    ``F.interpolate`` with ``align_corners=True``, but for rounding, and in 3D in an eighth of the time: axis by axis,
    as a product with a matrix of what each knot counts.
    """
    for n in out_shape:
        count = knots.shape[2]
        each = torch.eye(count, device=knots.device)[None]
        if how == "linear":
            weights = F.interpolate(each, size=n, mode="linear", align_corners=True)[0]
        else:
            weights = F.interpolate(each[None], size=(count, n), mode="bicubic", align_corners=True)[0, 0]
        # The axis that was interpolated goes to the end, so that the next one is the third again.
        knots = torch.tensordot(knots, weights, dims=([2], [0]))
    return knots


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
