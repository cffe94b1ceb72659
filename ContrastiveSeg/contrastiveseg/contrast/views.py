"""What MACL's asymmetric branches see: the full crop, and the crop shrunk by as much as the decoder enlarges again.

Sections are those of the MACL specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError


def reduction(strides: Sequence[tuple[int, ...]], blocks: int) -> tuple[int, ...]:
    """1/s per axis: by how much ``blocks`` decoder blocks (the deepest poolings) enlarge the bottleneck."""
    deepest = strides[len(strides) - blocks :]
    return tuple(prod(stride[axis] for stride in deepest) for axis in range(len(strides[0])))


def decoder_blocks(patch: tuple[int, ...], strides: Sequence[tuple[int, ...]], wanted: int | None) -> int:
    """N, the decoder blocks to pre-train: ``wanted``, or the most of 1 and 2 that ``patch`` allows (section 4).

    The patch shrunk by 1/s must be a multiple of the total stride and leave 2 voxels an axis at the bottleneck.

    Raises:
        InputError: ``wanted`` blocks, or even one, do not fit the patch; names the nearest patch that fits.
    """
    for blocks in (2, 1) if wanted is None else (wanted,):
        if not 1 <= blocks <= len(strides):
            if wanted is None:
                continue
            raise InputError(
                f"decoder_blocks is {wanted}; this network has {len(strides)}: choose 1 to {len(strides)}."
            )
        unit = [a * b for a, b in zip(reduction(strides, len(strides)), reduction(strides, blocks), strict=True)]
        if all(size % u == 0 and size // u >= 2 for size, u in zip(patch, unit, strict=True)):
            return blocks
    fitting = tuple(max(2, round(size / u)) * u for size, u in zip(patch, unit, strict=True))
    raise InputError(
        f"A patch of {_by(patch)} voxels cannot be shrunk for {blocks} decoder block(s): each axis must be a "
        f"multiple of {_by(unit)}, twice that or more. Nearest that fits: {_by(fitting)}. Change the patch, use fewer "
        "decoder_blocks, or a network with fewer levels."
    )


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def clean(images: Tensor) -> Tensor:
    """``images`` with NaN and infinity as 0: interpolation would spread one bad voxel to its neighbors (section 8)."""
    return torch.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0)


def down(x: Tensor, factor: tuple[int, ...]) -> Tensor:
    """``x`` (B, C, [D,] H, W) shrunk by ``factor`` an axis: linear interpolation with align_corners (section 2)."""
    size = [n // f for n, f in zip(x.shape[2:], factor, strict=True)]
    return F.interpolate(x, size=size, mode="bilinear" if len(size) == 2 else "trilinear", align_corners=True)


def center(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The concentric part of ``images`` (B, C, ...) of ``shape`` voxels, as a copy."""
    inner = [slice((n - p) // 2, (n - p) // 2 + p) for n, p in zip(images.shape[2:], shape, strict=True)]
    window = (slice(None), slice(None), *inner)
    return images[window].clone(memory_format=torch.contiguous_format)
