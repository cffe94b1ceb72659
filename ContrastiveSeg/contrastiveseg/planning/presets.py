"""The network for a plan: U-Nets sized to the data, and how many voxels the training patch of a network may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch

from ..descriptions import Size
from ..errors import InputError
from ..networks.backbone import Backbone
from ..networks.registry import build
from ..networks.spec import NetworkSpec
from .fingerprint import Fingerprint
from .patch import PatchRule, fit_patch

NetworkSize = Literal["tiny", "base", "large"]

#: The most voxels of a training patch, by (dimensions, network size).
PATCH_VOXELS: Mapping[tuple[int, str], int] = {
    (3, "tiny"): 32 * 64 * 80,
    (3, "base"): 96**3,
    (3, "large"): 128**3,
    (2, "tiny"): 192**2,
    (2, "base"): 256**2,
    (2, "large"): 384**2,
}
#: Slices are thick where they lie so many times as far apart as the voxels within them.
THICK = 2.0
#: A feature map is halved along an axis only while at least this many voxels are left there (nnU-Net).
SMALLEST_MAP = 4

_WIDTHS: dict[tuple[str, int], tuple[int, ...]] = {
    ("tiny", 3): (16, 32, 64, 128),
    ("tiny", 2): (16, 32, 64, 128, 256),
    ("base", 3): (32, 64, 128, 256, 320),
    ("base", 2): (32, 64, 128, 256, 512, 512),
    ("large", 3): (32, 64, 128, 256, 320, 320),
    ("large", 2): (32, 64, 128, 256, 512, 512),
}
#: Residual blocks per encoder level of nnU-Net's ResEnc presets; its decoder has one convolution a level.
_RESIDUAL_BLOCKS = (1, 3, 4, 6, 6, 6)


def choose_network(
    name: str, size: Size, dimensions: Literal[2, 3], fingerprint: Fingerprint, device: torch.device
) -> tuple[NetworkSpec, int]:
    """A fresh network for data with this ``fingerprint``, and the most voxels of its patch."""
    chosen: NetworkSize = ("base" if device.type == "cuda" else "tiny") if size == "auto" else size
    voxels = PATCH_VOXELS[dimensions, chosen]
    if name != "unet":
        return NetworkSpec(name, dimensions, len(fingerprint.channels)), voxels
    return _fitting_unet(chosen, dimensions, fingerprint), voxels


def _fitting_unet(size: NetworkSize, dimensions: Literal[2, 3], fingerprint: Fingerprint) -> NetworkSpec:
    axes = [a for a in range(3) if dimensions == 3 or a != fingerprint.slice_axis]
    shape = [fingerprint.shape[a] for a in axes]
    # Long axes are to be halved four times if need be; a short one (few thick slices) as often as its size allows.
    rule = PatchRule(tuple(16 if n >= 24 else 4 if n >= 4 else 1 for n in shape))
    patch = fit_patch(shape, rule, PATCH_VOXELS[dimensions, size])
    return preset(size, dimensions, len(fingerprint.channels), patch, [fingerprint.spacing[a] for a in axes])


def for_thick_slices(spec: NetworkSpec, seen: Fingerprint) -> NetworkSpec:
    """A pre-trained 3D U-Net for data like ``seen``: across thick, single or few slices it halves and looks as a fresh
    one.

    Pre-trained on cubes of voxels, it would merge slices that show different anatomy, repeat single ones, and pad few
    to a multiple of its strides. ``spec`` itself where slices are none of these, or a fresh network would have other
    levels, or halve or look farther anywhere.
    """
    if spec.name != "unet" or spec.dimensions != 3:
        return spec
    network = build(spec)
    patch = fit_patch(seen.shape, PatchRule(network.total_stride), PATCH_VOXELS[3, size_of(network)])
    few = any(n > full for n, full in zip(patch, seen.shape, strict=True))
    if not few and max(seen.spacing) < THICK * min(seen.spacing):
        return spec
    fresh = _fitting_unet(size_of(network), 3, seen).arguments
    levels = len(spec.arguments["strides"])
    pairs = [*zip(fresh["strides"], spec.arguments["strides"], strict=False)]
    pairs += zip(fresh["kernels"], spec.arguments.get("kernels") or [[3, 3, 3]] * (levels + 1), strict=False)
    same_levels = len(fresh["strides"]) == levels
    if not same_levels or any(ours not in (1, theirs) for pair in pairs for ours, theirs in zip(*pair, strict=True)):
        return spec
    return replace(spec, arguments={**spec.arguments, "strides": fresh["strides"], "kernels": fresh["kernels"]})


def patch_voxels(spec: NetworkSpec) -> int:
    """The most voxels of a training patch for a network that exists already, by its number of parameters."""
    return PATCH_VOXELS[spec.dimensions, size_of(build(spec))]


def preset(
    size: NetworkSize,
    dimensions: Literal[2, 3],
    in_channels: int,
    patch_shape: Sequence[int],
    spacing: Sequence[float],
) -> NetworkSpec:
    """A U-Net sized to the plan; ``patch_shape`` (voxels) is always a multiple of its total stride.

    Args:
        size: "tiny" (plain, at most 2 M parameters in 3D; for CPUs), "base" (plain, nnU-Net's default widths) or
            "large" (residual encoder, like nnU-Net's ResEnc).
        patch_shape: training patch in voxels, ``dimensions`` entries.
        spacing: working spacing in mm of the same axes.

    Raises:
        InputError: unknown size, or a patch that cannot be halved even once.
    """
    if size not in get_args(NetworkSize):
        raise InputError(f"There is no network size {size!r}. There are: {', '.join(get_args(NetworkSize))}.")
    if not len(patch_shape) == len(spacing) == dimensions:
        raise InputError(f"A {dimensions}D network needs {dimensions} patch sizes and spacings, not {patch_shape}.")
    widths = _WIDTHS[size, dimensions]
    strides, kernels = plan_strides(patch_shape, spacing, len(widths) - 1)
    if not strides:
        raise InputError(
            f"At {' x '.join(f'{s:.3g}' for s in spacing)} mm a training patch has {'x'.join(map(str, patch_shape))} "
            "voxels, too few to be halved. Give larger volumes, or a finer --resolution."
        )
    levels = len(strides)
    arguments = {"widths": list(widths[: levels + 1]), "strides": strides, "kernels": kernels}
    if size == "large":
        blocks = list(_RESIDUAL_BLOCKS[: levels + 1])
        arguments |= {"residual": True, "convolutions": blocks, "decoder_convolutions": 1}
    return NetworkSpec("unet", dimensions, in_channels, arguments)


def size_of(network: Backbone) -> NetworkSize:
    """The preset whose order of size ``network`` is, by its number of parameters."""
    parameters = sum(p.numel() for p in network.parameters())
    return "tiny" if parameters <= 2.5e6 else "base" if parameters <= 40e6 else "large"


def plan_strides(
    patch_shape: Sequence[int], spacing: Sequence[float], most: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Strides of at most ``most`` down-samplings and kernels of the levels (one more), as nnU-Net plans them.

    Axes at least twice as coarse as the finest one that can still be halved wait until the others have caught up, with
    kernel 1 until then. Unlike nnU-Net, which pads the patch, an axis is halved only while its size is even.
    """
    size, width = list(patch_shape), list(spacing)
    axes = range(len(size))
    kernel = [1] * len(size)
    strides: list[list[int]] = []
    kernels: list[list[int]] = []
    while True:
        finest = min(w for w, n in zip(width, size, strict=True) if n > 1 or max(size) == 1)
        for a in axes:
            if size[a] > 1 and width[a] < 2 * finest:
                kernel[a] = 3
        kernels.append(list(kernel))
        halvable = [a for a in axes if size[a] % 2 == 0 and size[a] // 2 >= SMALLEST_MAP]
        if len(strides) == most or not halvable:
            return strides, kernels
        finest = min(width[a] for a in halvable)
        stride = [2 if a in halvable and width[a] < 2 * finest else 1 for a in axes]
        size = [n // s for n, s in zip(size, stride, strict=True)]
        width = [w * s for w, s in zip(width, stride, strict=True)]
        strides.append(stride)
