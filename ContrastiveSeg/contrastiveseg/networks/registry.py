"""Backbones by name, and the presets that size one to a plan.

Adding a backbone is adding one function under :func:`register_backbone` in a file of this folder.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from ..errors import InputError
from .backbone import Backbone, NetworkSpec

Size = Literal["tiny", "base", "large"]
Builder = Callable[..., Backbone]

#: Builders by name, called as ``builder(dimensions, in_channels, **arguments)``.
BACKBONES: dict[str, Builder] = {}

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


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """Decorator: register a function ``(dimensions, in_channels, *, ...) -> Backbone`` as backbone ``name``."""

    def register(builder: Builder) -> Builder:
        BACKBONES[name] = builder
        return builder

    return register


def available_backbones() -> list[str]:
    """Names of all backbones, after reading all files of this folder."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
    return sorted(BACKBONES)


def build(spec: NetworkSpec) -> Backbone:
    """The freshly initialized backbone ``spec`` names.

    Raises:
        InputError: no such backbone, or arguments it does not take (the message lists what there is) or cannot use.
    """
    if spec.name not in available_backbones():
        raise InputError(f"There is no backbone {spec.name!r}. There are: {', '.join(available_backbones())}.")
    builder = BACKBONES[spec.name]
    known = [p.name for p in inspect.signature(builder).parameters.values() if p.kind is p.KEYWORD_ONLY]
    try:
        inspect.signature(builder).bind(spec.dimensions, spec.in_channels, **spec.arguments)
    except TypeError as problem:
        raise InputError(f"Backbone {spec.name!r}: {problem}. Its arguments: {', '.join(known)}.") from problem
    try:
        network = builder(spec.dimensions, spec.in_channels, **spec.arguments)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as problem:
        raise InputError(
            f"The network {spec.name!r} cannot be built: its arguments are of the wrong kind or size ({problem})."
        ) from problem
    network.spec = spec
    return network


def preset(
    size: Size,
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
    if size not in get_args(Size):
        raise InputError(f"There is no network size {size!r}. There are: {', '.join(get_args(Size))}.")
    if not len(patch_shape) == len(spacing) == dimensions:
        raise InputError(f"A {dimensions}D network needs {dimensions} patch sizes and spacings, not {patch_shape}.")
    widths = _WIDTHS[size, dimensions]
    strides, kernels = plan_strides(patch_shape, spacing, len(widths) - 1)
    if not strides:
        raise InputError(
            f"A training patch of {'x'.join(map(str, patch_shape))} voxels is too small or odd to be halved. "
            "Choose sizes that are multiples of 16."
        )
    levels = len(strides)
    arguments = {"widths": list(widths[: levels + 1]), "strides": strides, "kernels": kernels}
    if size == "large":
        blocks = list(_RESIDUAL_BLOCKS[: levels + 1])
        arguments |= {"residual": True, "convolutions": blocks, "decoder_convolutions": 1}
    return NetworkSpec("unet", dimensions, in_channels, arguments)


def size_of(network: Backbone) -> Size:
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
