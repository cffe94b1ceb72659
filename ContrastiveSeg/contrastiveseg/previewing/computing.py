"""The features of a volume from a checkpoint's network: all of the volume in one pass, on a grid of bounded size."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoints.card import Card
from ..checkpoints.format import load
from ..checkpoints.open import build_segmenter
from ..data.preprocessor import Preprocessor
from ..device import autocast, autocast_dtype, keep_large_buffers, out_of_memory
from ..errors import Cancelled, InputError
from ..events import CancelCheck
from ..networks.backbone import Backbone
from ..networks.inference import for_inference
from ..networks.registry import build
from ..networks.segmenter import load_transferred
from ..planning.fingerprint import thickest_axis
from ..planning.normalize import looks_like_ct, sample, window_from
from ..planning.plan import Channel, Normalization, Plan, Spacing
from ..planning.presets import THICK
from ..volumes.volume import Geometry, Volume
from .feature_maps import FeatureMaps, moments

#: Numbers in the finest feature map, about: 2**20 voxels of a network with 16 channels there. Its working grid is made
#: coarser until it fits, so that the first preview comes within seconds on a CPU.
MOST_NUMBERS = 2**24
#: The image itself is a feature too, as it is and averaged over 2, 4 and 8 voxels.
_IMAGE_LEVELS = 4
#: The largest number of a float16.
_LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class FeatureNetwork:
    """A checkpoint's backbone on its device.

    Attributes:
        blocks: how many decoder blocks the checkpoint has, the deepest first; of finer levels the encoder's maps are
            used.
    """

    card: Card
    backbone: Backbone
    blocks: int
    device: torch.device
    dtype: torch.dtype | None


@functools.lru_cache(maxsize=2)
def open_network(path: str, digest: str, channels: int, device: str, precision: Any) -> FeatureNetwork:
    """The network of any checkpoint, pre-trained or fine-tuned; kept between previews of a worker.

    Args:
        digest: of the file, so that one that changed is read anew. channels: of the volume; a starter for any modality
            is fitted to them.

    Raises:
        InputError: the checkpoint cannot be read, or has no encoder.
    """
    card, weights = load(Path(path))
    chosen = torch.device(device)
    if chosen.type == "cpu":
        keep_large_buffers()
    if card.kind == "segmenter":
        backbone = build_segmenter(card, weights, Path(path)).backbone
        blocks = len(backbone.decoder)
    else:
        if "encoder" not in card.transferred:
            raise InputError(f"{path} has no encoder to compute features with. Choose another checkpoint.")
        spec = replace(card.network, in_channels=channels) if card.plan.generic else card.network
        backbone = build(spec)
        load_transferred(backbone, weights, card.transferred)
        learned = ("decoder" in card.transferred, *(f"decoder.{n}" in card.transferred for n in range(backbone.levels)))
        blocks = backbone.levels if learned[0] else [*learned[1:], False].index(False)
    return FeatureNetwork(card, for_inference(backbone, chosen), blocks, chosen, autocast_dtype(chosen, precision))


def feature_maps(network: FeatureNetwork, volume: Volume, cancelled: CancelCheck) -> FeatureMaps:
    """The features of ``volume``, standardized later.

    Raises:
        InputError: another number of channels than the network's, or the memory does not hold it.
        Cancelled: ``cancelled()`` became true.
    """
    plan = _working_plan(network, volume)
    image = torch.from_numpy(np.ascontiguousarray(Preprocessor(plan).image(volume)))
    z, y, x = image.shape[1:]
    axes = [axis for axis in range(3) if plan.dimensions == 3 or axis != plan.slice_axis]
    margins = [0, 0, 0]
    strides = dict(zip(axes, network.backbone.total_stride, strict=True))
    for axis, stride in strides.items():
        margins[axis] = -image.shape[axis + 1] % stride
    if all(image.shape[axis + 1] + margins[axis] == stride for axis, stride in strides.items()):
        # The deepest map would be a single voxel, which has no spread for an instance norm to divide by.
        margins[axes[0]] += strides[axes[0]]
    behind = [m for margin in margins[::-1] for m in (0, margin)]
    padded = F.pad(image[None], behind, mode="constant" if plan.conventions.padding == "zero" else "replicate")[0]
    try:
        with _stopping(network.backbone, cancelled):
            levels = _levels(network, padded, plan)
    except RuntimeError as problem:
        if not out_of_memory(problem):
            raise
        raise InputError(
            f"Not enough memory on {network.device} for the features of this volume. Close other programs that use it, "
            "or use a smaller network."
        ) from problem
    pooled = [
        F.interpolate(padded[None], size=[ceil(n / 2**level) for n in padded.shape[1:]], mode="area")[0]
        for level in range(_IMAGE_LEVELS)
    ]
    maps = tuple(one.float().half().cpu().numpy() for one in (*levels, *pooled))
    groups = (*range(len(levels)), *[len(levels)] * len(pooled))
    return FeatureMaps(maps, groups, (z, y, x), tuple(padded.shape[1:]), *moments(maps))  # type: ignore[arg-type]


def _levels(network: FeatureNetwork, image: Tensor, plan: Plan) -> list[Tensor]:
    """A map (C, z, y, x) of each level but the bottleneck: the decoder's where there is one, else the encoder's."""
    planes = image[None] if plan.dimensions == 3 else image.movedim(plan.slice_axis + 1, 0)
    parts: list[list[Tensor]] = []
    size = 1 if plan.dimensions == 3 else 16
    with torch.inference_mode(), autocast(network.device, network.dtype):
        for group in planes.split(size):
            features = network.backbone.encode(group.to(network.device))
            decoded = network.backbone.decode(features, network.blocks) if network.blocks else []
            finer = features[: len(features) - 1 - network.blocks]
            parts.append([one.float().clamp(-_LARGEST, _LARGEST).half() for one in (*decoded, *finer[::-1])])
    levels = [torch.cat(level) for level in zip(*parts, strict=True)]
    return [one[0] if plan.dimensions == 3 else one.movedim(0, plan.slice_axis + 1) for one in levels]


def _working_plan(network: FeatureNetwork, volume: Volume) -> Plan:
    """The checkpoint's plan; that of a starter for any modality follows the volume. Coarser where that is too large."""
    # Splines take longer than the network, and would skip voxels on a grid that is coarser than the plan's.
    plan = network.card.plan
    plan = replace(plan, conventions=replace(plan.conventions, resampling="linear"))
    if plan.generic:
        spacing = Preprocessor(plan).axes(volume.geometry).spacing_zyx(volume.geometry)
        thickest = thickest_axis(spacing)
        if plan.dimensions == 3 and min(volume.geometry.size) > 1:
            spacing = _cubes_for_thick_slices(spacing)
        plan = replace(plan, channels=tuple(map(_channel, volume.array)), spacing=spacing, slice_axis=thickest)
    most = MOST_NUMBERS // max(network.backbone.decoder_channels[-1], network.backbone.channels[0])
    return replace(plan, spacing=_bounded(plan, volume.geometry, most))


def _cubes_for_thick_slices(spacing: Spacing) -> Spacing:
    """Cubes of the voxels' size where slices are thick: a starter was pre-trained on cubes, and is not fine-tuned here.

    On three sets that is worth 7 to 17 points of Dice; strides and kernels made for thick slices, which fine-tuning
    starts from, cost 10 to 12 (docs/explanation/what-we-tried.md).
    """
    edge = prod(spacing) ** (1 / 3)
    return (edge, edge, edge) if max(spacing) >= THICK * min(spacing) else spacing


def _channel(array: np.ndarray) -> Channel:
    if looks_like_ct(array):
        return Channel("image", "CT", window_from(sample(array)))
    return Channel("image", "MR", Normalization())


def _bounded(plan: Plan, geometry: Geometry, most: int) -> tuple[float, float, float]:
    """The plan's spacing, its finest axes coarsened together until the volume has at most ``most`` voxels."""

    def with_at_least(length: float) -> Plan:
        z, y, x = (max(s, length) for s in plan.spacing)
        return replace(plan, spacing=(z, y, x))

    low, high = min(plan.spacing), max(plan.spacing) + max(geometry.spacing) * max(geometry.size)
    if prod(Preprocessor(plan).working_shape(geometry)) <= most:
        return plan.spacing
    for _ in range(40):
        middle = (low * high) ** 0.5
        fits = prod(Preprocessor(with_at_least(middle)).working_shape(geometry)) <= most
        low, high = (low, middle) if fits else (middle, high)
    return with_at_least(high).spacing


@contextmanager
def _stopping(backbone: Backbone, cancelled: CancelCheck) -> Iterator[None]:
    """Ask before every layer of the network whether to go on: one pass over a volume takes seconds."""

    def ask(module: torch.nn.Module, inputs: Any) -> None:
        if cancelled():
            raise Cancelled("Stopped while computing the features. Nothing was written.")

    hooks = [module.register_forward_pre_hook(ask) for module in backbone.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
