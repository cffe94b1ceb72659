"""Views with the matrices that map them to their crops, so that points of one view can be mapped to the other.

Coordinates are those of ``affine_grid`` with ``align_corners=False``: x (last axis) first, -1 and 1 at the outer faces
of the grid, and hence the same for a view and for the feature map of any level over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class View:
    """Augmented copies of crops (:func:`.data.augment_spatial.augment_spatial`).

    Attributes:
        images: (B, C, *shape). labels: (B, *shape) or None.
        matrices: (B, d, d+1), from coordinates of the view to those of the crop.
    """

    images: Tensor
    labels: Tensor | None
    matrices: Tensor


def transform(matrices: Tensor, points: Tensor) -> Tensor:
    """``points`` (B, N, d) or (N, d) mapped by ``matrices`` (B, d, d+1), in their own type whatever autocast says."""
    # A product in bfloat16 would move points by up to a quarter of a voxel, in large patches by more.
    with torch.autocast(points.device.type, enabled=False):
        return points @ matrices[..., :-1].transpose(-1, -2) + matrices[..., -1].unsqueeze(-2)


def inverse(matrices: Tensor) -> Tensor:
    """The matrices (B, d, d+1) of the way back, in their own type whatever autocast says."""
    with torch.autocast(matrices.device.type, enabled=False):
        linear = torch.linalg.inv(matrices[..., :-1])
        return torch.cat([linear, -linear @ matrices[..., -1:]], dim=-1)


def inside(points: Tensor) -> Tensor:
    """Which ``points`` (..., d) lie within the grid."""
    return (points.abs() <= 1).all(-1)


def cell_centers(grid: Sequence[int], device: torch.device) -> Tensor:
    """(S, d): the centers of the cells of a map of ``grid`` (array order), in the order of its flattened cells."""
    axes = [(torch.arange(n, device=device) * 2 + 1) / n - 1 for n in grid]
    return torch.cartesian_prod(*axes).view(-1, len(grid)).flip(-1)


def cell_at(points: Tensor, grid: Sequence[int]) -> Tensor:
    """(..., N): the number of the cell of ``grid`` (array order) that holds each point (..., N, d); -1 outside."""
    index = torch.zeros_like(points[..., 0], dtype=torch.long)
    for axis, length in enumerate(grid):
        cell = ((points[..., len(grid) - 1 - axis] + 1) / 2 * length).floor().long()
        index = index * length + cell.clamp(0, length - 1)
    return torch.where(inside(points), index, -1)


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """(B, N, C): ``maps`` (B, C, [D,] H, W) at ``points`` (B, N, d), linearly interpolated, edges repeated."""
    with torch.autocast(maps.device.type, enabled=False):
        # In bfloat16 a coordinate would be off by more than a voxel.
        wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
        grid = points.to(wide.dtype).view(len(points), *[1] * (points.shape[-1] - 1), *points.shape[1:])
        sampled = F.grid_sample(wide, grid, "bilinear", "border", align_corners=False)
        return sampled.flatten(2).transpose(1, 2)
