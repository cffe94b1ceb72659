"""A checkpoint made ready to label volumes, and kept ready for the next one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..checkpoints.card import Card
from ..checkpoints.open import open_segmenter
from ..data.preprocessor import Preprocessor
from ..descriptions import Pieces
from ..device import keep_large_buffers
from ..networks.segmenter import Segmenter
from ..volumes.orientation import canonical_axes
from ..volumes.volume import LabelMap, Volume
from .one_piece import without_islands
from .sliding_window import OnTile, sliding_window, within_memory
from .tiles import fit_tiles
from .uncertainty import Entropy, entropy_of


@dataclass
class Timings:
    """Seconds spent in each stage of segmenting, added up."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to ``stage``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


@dataclass(frozen=True)
class Prediction:
    """A label map on the volume's own grid; if asked for, probabilities (classes, z, y, x), uncertainty (z, y, x).

    ``left_out`` tells, by the label's name, how many ml lay apart from the pieces that were kept.
    """

    labels: LabelMap
    probabilities: np.ndarray | None
    uncertainty: np.ndarray | None
    left_out: Mapping[str, float] = field(default_factory=dict)


class Predictor:
    """Segments volumes with one network on one device.

    Args:
        card: names the plan and the labels. network: the segmenter, moved to ``device`` and set to evaluation.
        dtype: type to compute in, None for float32.
    """

    def __init__(self, card: Card, network: Segmenter, device: torch.device, dtype: torch.dtype | None) -> None:
        if device.type == "cpu":
            keep_large_buffers()
        self.card, self.device, self.dtype = card, device, dtype
        self.network = network.to(device).eval()
        self.preprocessor = Preprocessor(card.plan)

    @classmethod
    def open(cls, path: Path, device: torch.device, dtype: torch.dtype | None) -> Predictor:
        """The predictor of a fine-tuned checkpoint.

        Raises:
            InputError: as :func:`.checkpoints.open.open_segmenter`.
        """
        return cls(*open_segmenter(path), device, dtype)

    def prepare(self, volume: Volume) -> Tensor:
        """The volume as the network sees it, as in training: (C, z, y, x) float32."""
        return torch.from_numpy(np.ascontiguousarray(self.preprocessor.image(volume)))

    def logits(
        self, image: Tensor, *, mirror: bool = False, on_tile: OnTile | None = None, timings: Timings | None = None
    ) -> Tensor:
        """Logits (classes, z, y, x) of a prepared image.

        Raises:
            InputError: the memory does not hold one tile.
        """
        timings = timings or Timings()
        plan = self.card.plan

        def network(tiles: Tensor) -> Tensor:
            with timings.of("network"):
                answer = self.network(tiles)
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
            return answer

        start, before = time.perf_counter(), timings.seconds.get("network", 0.0)
        shape = [n for axis, n in enumerate(image.shape[1:]) if plan.dimensions == 3 or axis != plan.slice_axis]
        tiling = fit_tiles(shape, self.network.backbone.total_stride, plan.patch_shape)

        def blended(batch: int) -> Tensor:
            return sliding_window(
                network,
                image,
                tiling,
                len(self.card.labels) + 1,
                batch=batch,
                device=self.device,
                mirror_axes=range(plan.dimensions) if mirror else (),
                autocast=self.dtype,
                on_tile=on_tile,
                dimensions=plan.dimensions,
                slice_axis=plan.slice_axis,
            )

        batch = 1 if plan.dimensions == 3 and self.device.type == "cpu" else 4
        logits = within_memory(blended, batch, tiling.tile, self.device)
        in_network = timings.seconds.get("network", 0.0) - before
        timings.add("blend", time.perf_counter() - start - in_network)
        return logits

    def predict(
        self,
        volume: Volume,
        *,
        mirror: bool = False,
        pieces: Pieces = "auto",
        probabilities: bool = False,
        uncertainty: bool = False,
        on_tile: OnTile | None = None,
        timings: Timings | None = None,
    ) -> Prediction:
        """Segment ``volume`` (C, z, y, x).

        Args:
            mirror: average over mirrored copies.
            pieces: see :func:`.one_piece.without_islands`.
            probabilities: also return the class probabilities. uncertainty: also their entropy, in [0, 1].
            on_tile: told (done, total); may raise to stop.

        Raises:
            InputError: the number of channels differs from the network's, or the memory does not hold one tile.
        """
        timings = timings or Timings()
        with timings.of("preprocess"):
            image = self.prepare(volume)
        logits = self.logits(image, mirror=mirror, on_tile=on_tile, timings=timings)
        with timings.of("restore"):
            axes = canonical_axes(volume.geometry)
            shape = axes.apply(volume.array).shape[1:]
            restored = restore(logits, shape, probabilities, uncertainty)
            values = np.array([0, *(label.value for label in self.card.labels)])
            values = values.astype(np.uint8 if values.max() < 256 else np.uint16)
            found = values[np.ascontiguousarray(axes.undo(restored.classes))]
            kept = without_islands(found, pieces, self.card.one_piece)
            soft, unsure = (
                None if array is None else np.ascontiguousarray(axes.undo(array))
                for array in (restored.probabilities, restored.uncertainty)
            )
            apart = np.bincount(found[kept != found], minlength=values.max() + 1) * volume.geometry.voxel_volume_ml
            left_out = {label.name: float(apart[label.value]) for label in self.card.labels if apart[label.value]}
        return Prediction(LabelMap(kept, volume.geometry, volume.name), soft, unsure, left_out)


@dataclass(frozen=True)
class Restored:
    """Class indices (z, y, x) uint8 on a volume's canonical grid, and what was asked for of the softmax there."""

    classes: np.ndarray
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None


def restore(logits: Tensor, shape: tuple[int, ...], probabilities: bool = False, uncertainty: bool = False) -> Restored:
    """``logits`` (classes, z, y, x) on a grid of ``shape``.

    Logits are interpolated, not labels. Class by class with a running maximum, so that memory does not grow with the
    number of classes unless probabilities are asked for.
    """
    if probabilities:
        full = _resized(logits, shape)
        unsure = entropy_of(full).cpu().numpy() if uncertainty else None
        soft = full.softmax(0)
        return Restored(soft.argmax(0).to(torch.uint8).cpu().numpy(), soft.cpu().numpy(), unsure)
    best = _resized(logits[:1], shape)[0]
    winner = torch.zeros(shape, dtype=torch.uint8, device=best.device)
    entropy = Entropy()
    if uncertainty:
        entropy.add(best)
    for index in range(1, len(logits)):
        rival = _resized(logits[index : index + 1], shape)[0]
        if uncertainty:
            entropy.add(rival)
        winner.masked_fill_(rival > best, index)
        torch.maximum(best, rival, out=best)
    return Restored(winner.cpu().numpy(), None, entropy.normalized().cpu().numpy() if uncertainty else None)


def _resized(logits: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(logits.shape[1:]) == tuple(shape):
        return logits.float().clone()
    return F.interpolate(logits.float()[None], size=shape, mode="trilinear", align_corners=False)[0]
