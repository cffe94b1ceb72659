"""Drawing voxels of crops for losses that compare voxels: spread over the crop, and not too near each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def strata(shape: Sequence[int], count: int) -> tuple[int, ...]:
    """How many strata an axis cut ``shape`` into about ``count`` nearly cubic ones: powers of two, ``count`` at most.

    112 x 112 x 80 into 256 gives 8 x 8 x 4; 256 x 256 gives 16 x 16.
    """
    cells = [1] * len(shape)
    product = 2
    while product <= count:
        lengths = [n / c for n, c in zip(shape, cells, strict=True)]
        longest = lengths.index(max(lengths))
        if lengths[longest] < 2:
            break
        cells[longest] *= 2
        product *= 2
    return tuple(cells)


def stratified_points(cells: Sequence[int], batch: int, device: torch.device) -> Tensor:
    """(batch, N, d) points in [0, 1)^d, array order: one drawn uniformly from each of the N strata.

    Drawn from torch's global CPU generator, each sample for itself.
    """
    corners = torch.cartesian_prod(*(torch.arange(c, dtype=torch.float32) for c in cells)).view(-1, len(cells))
    drawn = (corners + torch.rand(batch, *corners.shape)) / torch.tensor(cells)
    return drawn.to(device, non_blocking=True)


def stratified_voxels(shape: Sequence[int], cells: Sequence[int], batch: int, device: torch.device) -> Tensor:
    """(batch, N, d) voxels of maps of ``shape``: those that hold :func:`stratified_points`."""
    size = torch.tensor(shape, device=device)
    return torch.minimum((stratified_points(cells, batch, device) * size).long(), size - 1)


def voxel_features(maps: Tensor, voxels: Tensor) -> Tensor:
    """(B, N, C): what ``maps`` (B, C, *shape) hold at ``voxels`` (B, N, d)."""
    index = torch.zeros_like(voxels[..., 0])
    for axis, length in enumerate(maps.shape[2:]):
        index = index * length + voxels[..., axis]
    return cell_features(maps, index)


def cell_features(maps: Tensor, cells: Tensor) -> Tensor:
    """(B, N, C): what ``maps`` (B, C, *shape) hold in their ``cells`` (B, N), counted in array order."""
    flat, index = maps.flatten(2), cells.unsqueeze(-1).expand(-1, -1, maps.shape[1])
    rows = flat.transpose(1, 2)
    if rows.is_contiguous():
        # Channels lie last, and so they do in this gradient: norms are slow where maps and gradients lie otherwise.
        return rows.gather(1, index)
    return flat.gather(2, index.transpose(1, 2)).transpose(1, 2)


def apart(voxels: Tensor, cases: Tensor, distance: float) -> Tensor:
    """(B N, B N): which voxels may be each other's negatives.

    Voxels of one crop nearer than ``distance`` (Chebyshev, in voxels) may not: they usually are the same tissue. Nor
    may those of two crops of one volume, which overlap where volumes are few. Voxels of two volumes may, and every
    voxel is compared with itself (its own other view).

    Args:
        voxels: (B, N, d) of the crops. cases: (B), the volume of each crop.
    """
    batch, count = voxels.shape[:2]
    near = ((voxels[:, :, None] - voxels[:, None]).abs().amax(-1) < distance).to(voxels.device)
    near &= ~torch.eye(count, dtype=torch.bool, device=voxels.device)
    other = cases[:, None] != cases
    allowed = other[:, None, :, None].expand(batch, count, batch, count).clone()
    crops = torch.arange(batch, device=voxels.device)
    allowed[crops, :, crops] = ~near
    return allowed.view(batch * count, batch * count)
