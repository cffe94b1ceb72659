"""Logits of a prepared image by one network on one device, in as many tiles at once as its memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from ..checkpoints.card import Card
from ..networks.segmenter import Segmenter
from .sliding_window import OnTile, sliding_window
from .tile_features import TileFeatures
from .tile_memory import tiles_at_once, within_memory
from .tiles import Tiling
from .timings import Timings


def tiled_logits(
    network: Segmenter,
    device: torch.device,
    dtype: torch.dtype | None,
    *,
    card: Card,
    image: Tensor,
    tiling: Tiling,
    mirror_axes: Sequence[int],
    on_tile: OnTile | None,
    every_tile: bool,
    features: TileFeatures | None,
    timings: Timings,
) -> Tensor:
    """Logits (classes, z, y, x) of ``image`` (C, z, y, x) by ``network``, which is on ``device`` and computes in
    ``dtype``.

    Args:
        card: the network's. features: gets what the network makes of the tiles. timings: get the network's seconds.
        mirror_axes, on_tile, every_tile: see :func:`.sliding_window.sliding_window`.

    Raises:
        NotEnoughMemory: the device's memory does not hold one tile.
    """
    plan = card.plan

    def timed(tiles: Tensor) -> Tensor:
        with timings.of("network"):
            return network(tiles)

    def blended(batch: int) -> Tensor:
        with features.of(network, 2 ** len(mirror_axes)) if features else nullcontext():
            return sliding_window(
                timed,
                image,
                tiling,
                len(card.labels) + 1,
                batch=batch,
                device=device,
                mirror_axes=mirror_axes,
                autocast=dtype,
                on_tile=on_tile,
                dimensions=plan.dimensions,
                slice_axis=plan.slice_axis,
                padding=plan.conventions.padding,
                every_tile=every_tile,
            )

    batch = tiles_at_once(tiling.tile, network.backbone.decoder_channels[-1], device, plan.dimensions)
    return within_memory(blended, batch, tiling.tile, device)
