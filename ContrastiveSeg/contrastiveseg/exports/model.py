"""What exports of a model share: its network, and a description of what goes before and behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..checkpoints.card import Card
from ..checkpoints.header import digest
from ..checkpoints.open import open_segmenter
from ..errors import InputError
from ..networks.segmenter import Segmenter
from ..planning.normalize import PERCENTILES
from ..planning.plan import Channel, Plan
from ..serialization import to_json
from ..volumes.memory import free_memory

FORMAT = "contrastiveseg exported model"
SCHEMA = 1
_RESAMPLED = {
    "linear": "linear, the volume's edges stay where they are; axes that shrink by more than 1.5 are averaged",
    "nnunet-cubic": "cubic splines, as nnU-Net; where slices are thick, within them, and the nearest one across",
    "nnunet-linear": "linear, as nnU-Net; where slices are thick, within them, and the nearest one across",
}


@dataclass(frozen=True)
class OpenedModel:
    """A checkpoint that segments: its name, the SHA-256 of its file, its card, and the network in evaluation mode."""

    name: str
    digest: str
    card: Card
    network: Segmenter

    @property
    def classes(self) -> list[str]:
        """The names of the network's classes."""
        return ["background", *(label.name for label in self.card.labels)]

    def tile(self, batch: int = 1) -> Tensor:
        """Noise (batch, channels, *patch), the same each time.

        Raises:
            InputError: the memory does not hold the network's first maps of such a tile.
        """
        plan, random = self.card.plan, torch.Generator().manual_seed(0)
        needed = 4 * batch * math.prod(plan.patch_shape) * (len(plan.channels) + 2 * self.network.backbone.channels[0])
        if (free := free_memory(needed)) < needed:
            raise InputError(
                f"{self.name} has tiles of {'x'.join(map(str, plan.patch_shape))} voxels, for which its network needs "
                f"{needed / 2**30:.3g} GiB, and {free / 2**30:.3g} GiB of memory are free. Use a machine with more."
            )
        return torch.randn(batch, len(plan.channels), *plan.patch_shape, generator=random)


def open_model(checkpoint: Path) -> OpenedModel:
    """The model in the file ``checkpoint``.

    Raises:
        InputError: as :func:`..checkpoints.open.open_segmenter`.
    """
    card, network = open_segmenter(checkpoint)
    return OpenedModel(checkpoint.stem, digest(checkpoint), card, network.eval())


def processing(model: OpenedModel) -> dict[str, Any]:
    """What has to be done before and behind the network, in words and in numbers, as JSON."""
    card, plan = model.card, model.card.plan
    tile = list(plan.patch_shape)
    axes = ["z", "y", "x"] if plan.dimensions == 3 else [a for n, a in enumerate("zyx") if n != plan.slice_axis]
    classes = [{"index": 0, "name": "background", "value": 0}]
    classes += [{"index": n, "name": one.name, "value": one.value} for n, one in enumerate(card.labels, start=1)]
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "software": f"contrastiveseg {__version__}",
        "name": model.name,
        "checkpoint_sha256": model.digest,
        "method": card.method,
        "license": card.provenance.license,
        "citation": card.provenance.citation,
        "input": {
            "name": "image",
            "axes": ["batch", "channel", *axes],
            "shape": [None, len(plan.channels), *tile],
            "type": "float32",
            "channels": [channel.name for channel in plan.channels],
        },
        "output": {
            "name": "logits",
            "axes": ["batch", "class", *axes],
            "shape": [None, len(classes), *tile],
            "type": "float32",
            "classes": classes,
        },
        "before": _before(plan),
        "tiles": _tiles(plan),
        "behind": _behind(card),
        "plan": to_json(plan),
        "decision": card.decision,
        "one_piece": list(card.one_piece),
    }


def _before(plan: Plan) -> list[str]:
    how = plan.conventions
    turned = "leave the volume's axes as they are stored, as (z, y, x)"
    if how.orientation != "stored":
        ends = ", ".join(how.orientation)
        turned = f"turn the volume by its nearest axes, so that x, y and z run to {ends}; as (z, y, x)"
    steps = [turned]
    if how.crop:
        steps.append("cut the volume to the box of what is not 0 in any channel; outside of it all is background")
    steps += [f"channel {n} ({one.name}): {_normalized(one)}" for n, one in enumerate(plan.channels)]
    spacing = ", ".join(f"{length:g}" for length in plan.spacing)
    kept = f"; along {'zyx'[plan.slice_axis]} the volume's own" if plan.dimensions == 2 else ""
    return [*steps, f"resample to {spacing} mm (z, y, x){kept}: {_RESAMPLED[how.resampling]}"]


def _normalized(channel: Channel) -> str:
    n = channel.normalization
    return {
        "zscore": f"clip to the percentiles {PERCENTILES[0]} and {PERCENTILES[1]} of the voxels above the volume's "
        "minimum, subtract the mean of the clipped ones, divide by their standard deviation",
        "window": f"clip to {n.low:g} to {n.high:g}, subtract {n.mean:.9g}, divide by {n.deviation:.9g}",
        "standard": f"subtract the mean and divide by the standard deviation, over: {n.over}",
        "unit": "the lowest value to 0, the highest to 1",
        "none": "left as it is",
    }[n.scheme]


def _tiles(plan: Plan) -> str:
    size = " x ".join(map(str, plan.patch_shape))
    around = "its border repeated" if plan.conventions.padding == "edge" else "0"
    of = "volume" if plan.dimensions == 3 else f"slice across {'zyx'[plan.slice_axis]}"
    return (
        f"tiles of {size} voxels, evenly spread over each {of}, neighbors overlap by {plan.conventions.overlap:g} of a "
        f"tile or more; a smaller {of} is padded with {around}, as much on both sides; logits are blended by Gaussian "
        "weights of sigma = tile / 8"
    )


def _behind(card: Card) -> list[str]:
    choice = "a voxel's class is the one with the largest logit"
    if card.decision == "last":
        choice = "a voxel's class is the last one, but for the background, whose logit is above 0; else the background"
    back = "interpolate the logits linearly back to the volume's own grid"
    if card.plan.conventions.resampling != "linear":
        back += "; where its slices are thick, within them, and the nearest one across"
    steps = [back, choice, "write the value of each class"]
    if card.one_piece:
        names = ", ".join(one.name for one in card.labels if one.value in card.one_piece)
        steps.append(f"keep only the largest piece (26 neighbors) of {names}")
    return [*steps, "turn the label map back to the axes of the volume as stored"]
