"""What a network makes of a volume nobody has labeled: its features, how unsure it is, and where most."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..checkpoints.format import load
from ..errors import InputError
from ..networks.backbone import Backbone
from ..networks.registry import build
from ..networks.segmenter import Segmenter, load_transferred
from ..volumes.dataset import CaseFiles
from ..volumes.fingerprint import PatchRule, adapt, fingerprint
from ..volumes.orientation import canonical_axes
from ..volumes.volume import Geometry, Volume
from .predictor import Predictor
from .sliding_window import OnTile
from .uncertainty import entropy_of

#: Voxels around the predicted structures, at the plan's spacing, that count as near them.
_NEAR = 2
#: Where nothing is predicted: the share of the volume's voxels, the most uncertain ones, that is looked at instead.
_DOUBTFUL = 0.01


@dataclass(frozen=True)
class Observation:
    """A volume as a network sees it.

    Attributes:
        features: (2C,) mean and standard deviation of each of the C bottleneck channels.
        uncertainty: mean normalized entropy in and around the predicted structures, so that a volume does not count
            as certain for being large; None when the network knows no labels.
        place: (z, y, x) of the stored array, in voxels: the most uncertain place; the middle where nothing is known.
        slice_axis: stored axis with the thickest slices; ``place`` lies in the most uncertain one.
    """

    features: np.ndarray
    uncertainty: float | None
    place: tuple[int, int, int]
    slice_axis: int


class Observer:
    """Observes volumes with one network.

    Args:
        predictor: its network must be a :class:`FeatureRecorder`.
        knows_labels: whether the network's head was trained.
    """

    def __init__(self, predictor: Predictor, knows_labels: bool) -> None:
        self.predictor, self.knows_labels = predictor, knows_labels

    @classmethod
    def open(cls, path: Path, cases: Sequence[CaseFiles], device: torch.device, dtype: torch.dtype | None) -> Observer:
        """The observer of any checkpoint; a generic starter takes spacing and normalization from ``cases``.

        Raises:
            InputError: the checkpoint cannot be read, or expects another number of channels.
        """
        card, weights = load(path)
        if card.kind == "segmenter":
            recorder = FeatureRecorder(build(card.network), len(card.labels) + 1)
            try:
                recorder.load_state_dict(weights)
            except RuntimeError as problem:
                raise InputError(
                    f"{path}: the weights do not fit the network its card names. Copy it again."
                ) from problem
            return cls(Predictor(card, recorder, device, dtype), True)
        rule = PatchRule(build(card.network).total_stride)
        plan = adapt(card.plan, fingerprint(cases), rule, prod(card.plan.patch))
        backbone = build(dataclasses.replace(card.network, in_channels=len(plan.channels)))
        load_transferred(backbone, weights, card.transferred)
        recorder = FeatureRecorder(backbone, 1, knows_labels=False)
        return cls(Predictor(dataclasses.replace(card, plan=plan), recorder, device, dtype), False)

    def observe(self, volume: Volume, on_tile: OnTile | None = None) -> Observation:
        """Look at ``volume`` once, tile by tile.

        Raises:
            InputError: another number of channels than the network's, or the memory does not hold one tile.
        """
        recorder = self.predictor.network
        assert isinstance(recorder, FeatureRecorder)
        recorder.seen.clear()
        image = self.predictor.prepare(volume)
        logits = self.predictor.logits(image, on_tile=on_tile)
        features = torch.cat(recorder.seen).mean(0).numpy()
        axes = canonical_axes(volume.geometry)
        axis = int(np.argmax([round(s, 3) for s in axes.spacing_zyx(volume.geometry)]))
        uncertainty, place = None, [n // 2 for n in image.shape[1:]]
        if self.knows_labels:
            region, entropy = _doubtful(logits)
            uncertainty = float(entropy[region].mean())
            place = _most_uncertain(np.where(region, entropy, 0), axis)
        stored = _stored_index(place, tuple(image.shape[1:]), volume.geometry)
        return Observation(features, uncertainty, stored, axes.permutation[axis])


class FeatureRecorder(Segmenter):
    """A segmenter that notes the features of every tile it sees: in ``seen``, (B, 2C) a call, on the CPU.

    With ``knows_labels`` false it stops at the bottleneck and its logits are 0.
    """

    def __init__(self, backbone: Backbone, classes: int, knows_labels: bool = True) -> None:
        super().__init__(backbone, classes)
        self.knows_labels = knows_labels
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone.encode(x)
        deepest = features[-1].float().flatten(2)
        self.seen.append(torch.cat([deepest.mean(2), deepest.std(2, correction=0)], 1).cpu())
        if not self.knows_labels:
            return x.new_zeros(len(x), 1, *x.shape[2:])
        return self.head(self.backbone.decode(features)[-1])


def _doubtful(logits: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Where to look, a mask (z, y, x), and the normalized entropy there and elsewhere."""
    entropy = entropy_of(logits).cpu().numpy()
    found = (logits.argmax(0) > 0).cpu().numpy()
    if found.any():
        # A cube is dilated axis by axis, which is much faster than at once.
        for axis in range(3):
            shape = [1, 1, 1]
            shape[axis] = 2 * _NEAR + 1
            found = ndimage.maximum_filter(found, shape)
        return found, entropy
    first = entropy.size - 1 - int(entropy.size * _DOUBTFUL)
    found.reshape(-1)[np.argpartition(entropy, first, axis=None)[first:]] = True
    return found, entropy


def _most_uncertain(entropy: np.ndarray, axis: int) -> list[int]:
    """(z, y, x): in the slice across ``axis`` with the largest sum, where a neighborhood of 5 voxels has the most."""
    others = tuple(a for a in range(3) if a != axis)
    index = int(entropy.sum(axis=others).argmax())
    plane = ndimage.uniform_filter(entropy.take(index, axis), 5, mode="constant")
    place = [int(i) for i in np.unravel_index(int(plane.argmax()), plane.shape)]
    place.insert(axis, index)
    return place


def _stored_index(place: Sequence[int], shape: tuple[int, ...], geometry: Geometry) -> tuple[int, int, int]:
    """The stored voxel (z, y, x) in which lies voxel ``place`` of the working grid of ``shape``."""
    axes = canonical_axes(geometry)
    stored = [0, 0, 0]
    for axis, (index, n) in enumerate(zip(place, shape, strict=True)):
        there = axes.permutation[axis]
        full = geometry.shape[there]
        at = min(int((index + 0.5) * full / n), full - 1)
        stored[there] = full - 1 - at if axes.flips[axis] else at
    return (stored[0], stored[1], stored[2])
