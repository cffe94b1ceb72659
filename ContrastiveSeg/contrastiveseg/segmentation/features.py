"""What ranking needs of an unlabeled volume: the network's features, its uncertainty, and where that is highest."""

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
from ..checkpoints.open import build_segmenter
from ..descriptions import SliceDirection
from ..networks.registry import build
from ..networks.segmenter import Segmenter, load_transferred
from ..planning.fingerprint import adapt_plan, fingerprint_of, thickest_axis
from ..planning.patch import PatchRule
from ..volumes.dataset import CaseFiles
from ..volumes.orientation import Axes, canonical_axes
from ..volumes.painted_slices import AXIS_NAMES, painted_slices
from ..volumes.volume import Geometry, Volume
from .predictor import Predictor
from .slices_to_label import slice_profile, spread_slices
from .sliding_window import OnTile
from .strongest import classes_of
from .uncertainty import entropy_of

#: Voxels around the predicted structures, at the plan's spacing, that count as their surroundings.
_MARGIN = 2
#: Where nothing is predicted: the share of the volume's voxels, the most uncertain ones, that is used instead.
_UNCERTAIN_SHARE = 0.01


@dataclass(frozen=True)
class VolumeFeatures:
    """What a network computes from one volume.

    Attributes:
        features: (2C,) mean and standard deviation of each of the C bottleneck channels.
        uncertainty: mean normalized entropy in and around the predicted structures, so that a large volume does not
            count as certain for its background; None when the network knows no labels.
        voxel: (z, y, x) in the stored array: the most uncertain voxel; the volume's center when the network knows no
            labels.
        slice_axis: stored axis that slices are taken across; ``voxel`` lies in the most uncertain slice across it.
        slices: indices along it of a few slices that are worth labeling together, see :mod:`.slices_to_label`; spread
            over the whole volume when the network knows no labels.
    """

    features: np.ndarray
    uncertainty: float | None
    voxel: tuple[int, int, int]
    slice_axis: int
    slices: tuple[int, ...]


class FeatureExtractor:
    """Computes :class:`VolumeFeatures` with one network.

    Args:
        predictor: its network must be a :class:`FeatureRecorder`.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @classmethod
    def open(
        cls, path: Path, cases: Sequence[CaseFiles], device: torch.device, dtype: torch.dtype | None
    ) -> FeatureExtractor:
        """The extractor of any checkpoint; a generic starter takes spacing and normalization from ``cases``.

        Raises:
            InputError: the checkpoint cannot be read, or expects another number of channels.
        """
        card, weights = load(path)
        if card.kind == "segmenter":
            recorder = FeatureRecorder(build_segmenter(card, weights, path))
            return cls(Predictor(card, recorder, device, dtype))
        rule = PatchRule(build(card.network).total_stride)
        conventions = card.plan.conventions
        seen = fingerprint_of(cases, expected=len(card.plan.channels), orientation=conventions.orientation)
        plan = adapt_plan(card.plan, seen, rule, prod(card.plan.patch))
        backbone = build(dataclasses.replace(card.network, in_channels=len(plan.channels)))
        load_transferred(backbone, weights, card.transferred)
        recorder = FeatureRecorder(Segmenter(backbone, 1), knows_labels=False)
        return cls(Predictor(dataclasses.replace(card, plan=plan), recorder, device, dtype))

    def extract(
        self,
        volume: Volume,
        on_tile: OnTile | None,
        direction: SliceDirection,
        slices: int,
        painted: np.ndarray | None,
        phase: float,
    ) -> VolumeFeatures:
        """The features of ``volume``, from one pass over its tiles.

        Args:
            direction: in which slices are labeled; "auto" is that of the painted ones, else across the axis with the
                thickest. slices: how many to name.
            painted: mask (z, y, x) of what is painted already, in some slices. phase: see :func:`.spread_slices`.

        Raises:
            InputError: another number of channels than the network's, or the memory does not hold one tile.
        """
        recorder = self.predictor.network
        assert isinstance(recorder, FeatureRecorder)
        recorder.recorded.clear()
        image = self.predictor.prepare(volume)
        logits = self.predictor.logits(image, on_tile=on_tile, every_tile=True)
        features = torch.cat(recorder.recorded).mean(0).numpy()
        axes = self.predictor.preprocessor.axes(volume.geometry)
        shape = tuple(image.shape[1:])
        known = None if painted is None else painted_slices(axes.apply(painted))
        if direction == "auto" and known:
            axis = known.axis
        elif direction == "auto":
            axis = thickest_axis(axes.spacing_zyx(volume.geometry))
        else:
            patient = canonical_axes(volume.geometry).permutation[AXIS_NAMES.index(direction)]
            axis = axes.permutation.index(patient)
        uncertainty, voxel, profile = None, [n // 2 for n in shape], np.full(shape[axis], 1 / shape[axis])
        if recorder.knows_labels:
            region, entropy = _uncertain_region(logits)
            uncertainty = float(entropy[region].mean())
            voxel = _most_uncertain(np.where(region, entropy, 0), axis)
            profile = slice_profile(entropy, region, axis)
        labeled = []
        if known and known.axis == axis:
            labeled = [int((index + 0.5) * shape[axis] / known.count) for index in known.indices]
        stored, stored_axis = _stored_index(voxel, shape, volume.geometry, axes), axes.permutation[axis]
        worth = [
            _stored_index([*voxel[:axis], index, *voxel[axis + 1 :]], shape, volume.geometry, axes)[stored_axis]
            for index in spread_slices(profile, slices, labeled, phase)
        ]
        return VolumeFeatures(features, uncertainty, stored, stored_axis, tuple(sorted(set(worth))))


class FeatureRecorder(Segmenter):
    """A segmenter that keeps the features of every tile: in ``recorded``, (B, 2C) a call, on the CPU.

    Args:
        network: its backbone and head are used, not copied.
        knows_labels: whether the head was trained; if not, tiles stop at the bottleneck and logits are 0.
    """

    def __init__(self, network: Segmenter, knows_labels: bool = True) -> None:
        super().__init__(network.backbone, network.head.out_channels)
        self.head = network.head
        self.knows_labels = knows_labels
        self.recorded: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone.encode(x)
        deepest = features[-1].float().flatten(2)
        self.recorded.append(torch.cat([deepest.mean(2), deepest.std(2, correction=0)], 1).cpu())
        if not self.knows_labels:
            return x.new_zeros(len(x), 1, *x.shape[2:])
        return self.head(self.backbone.decode(features)[-1])


def _uncertain_region(logits: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mask (z, y, x) of the predicted structures and their surroundings, and the normalized entropy everywhere.

    Where nothing is predicted the mask holds the most uncertain voxels.
    """
    entropy = entropy_of(logits).cpu().numpy()
    region = (classes_of(logits) > 0).cpu().numpy()
    if region.any():
        # A cube is dilated axis by axis, which is much faster than at once.
        for axis in range(3):
            shape = [1, 1, 1]
            shape[axis] = 2 * _MARGIN + 1
            region = ndimage.maximum_filter(region, shape)
        return region, entropy
    first = entropy.size - 1 - int(entropy.size * _UNCERTAIN_SHARE)
    region.reshape(-1)[np.argpartition(entropy, first, axis=None)[first:]] = True
    return region, entropy


def _most_uncertain(entropy: np.ndarray, axis: int) -> list[int]:
    """(z, y, x): in the slice across ``axis`` with the largest sum, where a neighborhood of 5 voxels has the most."""
    others = tuple(a for a in range(3) if a != axis)
    index = int(entropy.sum(axis=others).argmax())
    plane = ndimage.uniform_filter(entropy.take(index, axis), 5, mode="constant")
    voxel = [int(i) for i in np.unravel_index(int(plane.argmax()), plane.shape)]
    voxel.insert(axis, index)
    return voxel


def _stored_index(voxel: Sequence[int], shape: tuple[int, ...], geometry: Geometry, axes: Axes) -> tuple[int, int, int]:
    """The stored voxel (z, y, x) that holds the center of ``voxel`` of the working grid of ``shape``, turned by
    ``axes``."""
    stored = [0, 0, 0]
    for axis, (index, n) in enumerate(zip(voxel, shape, strict=True)):
        stored_axis = axes.permutation[axis]
        size = geometry.shape[stored_axis]
        scaled = min(int((index + 0.5) * size / n), size - 1)
        stored[stored_axis] = size - 1 - scaled if axes.flips[axis] else scaled
    return (stored[0], stored[1], stored[2])
