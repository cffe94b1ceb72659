"""Segmenting volumes with an opened checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.card import Card
from ..checkpoints.open import open_segmenter
from ..checkpoints.starters import checkpoint_path
from ..data.preprocessor import Preprocessor
from ..descriptions import Pieces
from ..device import autocast_dtype, keep_large_buffers, resolve_device
from ..errors import InputError
from ..networks.inference import for_inference
from ..networks.segmenter import Segmenter
from ..volumes.channel_files import check_channel_order
from ..volumes.reading import read_channels
from ..volumes.volume import LabelMap, Volume, nonzero_box
from .one_piece import without_islands
from .region import VoxelBox, working_box
from .restoring import Restored, labels_of_classes, restore
from .sliding_window import OnTile
from .tile_features import TileFeatures
from .tile_memory import NotEnoughMemory
from .tiled_logits import tiled_logits
from .tiles import Tiling, fit_tiles, thinned
from .timings import Timings


@dataclass(frozen=True)
class Prediction:
    """A label map on the volume's own grid; on request probabilities (classes, z, y, x) and uncertainty (z, y, x).

    ``left_out`` holds, by the label's name, the ml of the islands that were removed (:mod:`.one_piece`). ``distance``
    is that from the training (:class:`.checkpoints.familiarity.Familiarity`), None where it is not known.
    """

    labels: LabelMap
    probabilities: np.ndarray | None
    uncertainty: np.ndarray | None
    left_out: Mapping[str, float] = field(default_factory=dict)
    distance: float | None = None


class Predictor:
    """Segments volumes with one network on one device.

    Args:
        card: names the plan and the labels. network: the segmenter; a copy on ``device`` predicts.
        dtype: type to compute in, None for float32.

    >>> import numpy as np
    >>> import contrastiveseg as cs
    >>> predictor = cs.Predictor.open("organs.safetensors", device="cpu")
    >>> labels = predictor("scans/imagesTr/synthetic_00000.nii.gz")
    >>> labels.array.shape
    (12, 16, 16)
    >>> predictor(np.zeros((6, 16, 16)), spacing=(40.0, 20.0, 20.0)).array.shape
    (6, 16, 16)
    """

    def __init__(self, card: Card, network: Segmenter, device: torch.device, dtype: torch.dtype | None) -> None:
        if device.type == "cpu":
            keep_large_buffers()
        self.card, self.device, self.dtype = card, device, dtype
        self.network = for_inference(network, device)
        self.preprocessor = Preprocessor(card.plan)

    @classmethod
    def open(
        cls,
        checkpoint: str | Path,
        device: str | torch.device = "auto",
        dtype: torch.dtype | Literal["auto"] | None = "auto",
    ) -> Predictor:
        """The predictor of a fine-tuned checkpoint.

        Args:
            device: "auto", "cpu", "cuda[:N]" or "mps". dtype: type to compute in, None for float32; "auto": bfloat16
                where the device is quick in it.

        Raises:
            InputError: as :func:`.checkpoints.open.open_segmenter`, or the device is not there.
        """
        device = resolve_device(device) if isinstance(device, str) else device
        dtype = autocast_dtype(device, "auto") if dtype == "auto" else dtype
        return cls(*open_segmenter(checkpoint_path(checkpoint)), device, dtype)

    def __call__(
        self,
        image: np.ndarray | Volume | str | Path | Sequence[str | Path],
        spacing: Sequence[float] | None = None,
        *,
        mirror: bool = False,
        pieces: Pieces = "auto",
    ) -> LabelMap:
        """The label map of ``image`` on its own grid; more comes from :meth:`predict`.

        Args:
            image: an array, as in :meth:`.Volume.from_array`, a volume, or its file; one file a channel if several.
            spacing: of an array, in mm (z, y, x). mirror, pieces: as in :meth:`predict`.

        Raises:
            InputError: as :meth:`predict`, an array without spacing, or what cannot be read.
        """
        if isinstance(image, np.ndarray):
            if spacing is None:
                raise InputError("An array does not say how large its voxels are. Give their spacing in mm (z, y, x).")
            image = Volume.from_array(image, spacing)
        elif not isinstance(image, (Volume, Path, Sequence)):
            raise InputError(
                f"An image is a NumPy array, a Volume or its file, not {type(image).__name__}. Give its file, or its "
                "voxels as an array (z, y, x) with their spacing."
            )
        elif spacing is not None:
            raise InputError(
                "A spacing is given with a NumPy array alone: volumes and files say their own. Of lists make an array."
            )
        elif not isinstance(image, Volume):
            paths = [Path(p) for p in ([image] if isinstance(image, (str, Path)) else image)]
            check_channel_order(paths, [channel.name for channel in self.card.plan.channels])
            image = read_channels(paths, len(self.card.plan.channels))
        return self.predict(image, mirror=mirror, pieces=pieces).labels

    @property
    def mirrored(self) -> Sequence[int]:
        """The network's axes along which mirrored copies are averaged on request; none where it was trained without."""
        mirrored = self.card.plan.conventions.mirrored
        return range(self.card.plan.dimensions) if mirrored is None else mirrored

    def prepare(self, volume: Volume) -> Tensor:
        """The volume as the network sees it, as in training: (C, z, y, x) float32."""
        return torch.from_numpy(np.ascontiguousarray(self.preprocessor.image(volume)))

    def logits(
        self,
        image: Tensor,
        *,
        mirror: bool = False,
        on_tile: OnTile | None = None,
        timings: Timings | None = None,
        tell: Callable[[str], None] | None = None,
        every_tile: bool = False,
        features: TileFeatures | None = None,
        tiling: Tiling | None = None,
    ) -> Tensor:
        """Logits (classes, z, y, x) of a prepared image.

        Args:
            features: gets what the network makes of the tiles. tiling: of the image; None for that of :meth:`predict`.
            tell: gets a sentence where the GPU's memory does not hold one tile, and the CPU computes instead; without
                it that is refused.
            every_tile: see :func:`.sliding_window.sliding_window`.

        Raises:
            InputError: the memory does not hold one tile.
        """
        timings = timings or Timings()
        start, before = time.perf_counter(), timings.seconds.get("network", 0.0)
        tiling = tiling or self._tiling(image)
        computed = partial(
            tiled_logits,
            card=self.card,
            image=image,
            tiling=tiling,
            mirror_axes=self.mirrored if mirror else (),
            on_tile=on_tile,
            every_tile=every_tile,
            features=features,
            timings=timings,
        )
        logits: Tensor | None = None
        try:
            logits = computed(self.network, self.device, self.dtype)
        except NotEnoughMemory:
            if self.device.type == "cpu" or tell is None:
                raise
        # outside of the except clause, whose traceback would keep the failed tensors alive
        if logits is None:
            assert tell is not None
            tell(
                f"The free memory of {self.device} does not hold one tile of {'x'.join(map(str, tiling.tile))} voxels. "
                "The CPU computes instead, which takes longer. Close other programs that use the GPU."
            )
            logits = computed(*self._on_cpu())
        elif self.device.type == "cuda":
            # Waiting for each tile to time it would keep the GPU from having the next: blending counts as network.
            with timings.of("network"):
                torch.cuda.synchronize(self.device)
        in_network = timings.seconds.get("network", 0.0) - before
        timings.add("blend", time.perf_counter() - start - in_network)
        return logits

    def _on_cpu(self) -> tuple[Segmenter, torch.device, torch.dtype | None]:
        """A copy of the network for the CPU, and the type to compute in there."""
        cpu = torch.device("cpu")
        return for_inference(self.network, cpu), cpu, None if self.dtype is None else autocast_dtype(cpu, "auto")

    def features(self, image: Tensor, most: int, on_tile: OnTile | None = None) -> list[list[float]]:
        """:meth:`.TileFeatures.levels` of a prepared image, from at most ``most`` of its tiles, or in 2D of its slices.

        Raises:
            InputError: the memory does not hold one tile.
        """
        plan, found = self.card.plan, TileFeatures()
        if plan.dimensions == 2:
            planes = image.shape[plan.slice_axis + 1]
            some = [int((n + 0.5) * planes / min(most, planes)) for n in range(min(most, planes))]
            image = image.index_select(plan.slice_axis + 1, torch.tensor(some))
            most = max(1, most // len(some))
        self.logits(image, on_tile=on_tile, features=found, tiling=thinned(self._tiling(image), most))
        return found.levels()

    def _tiling(self, image: Tensor) -> Tiling:
        plan, how = self.card.plan, self.card.plan.conventions
        shape = [n for axis, n in enumerate(image.shape[1:]) if plan.dimensions == 3 or axis != plan.slice_axis]
        stride = self.network.backbone.total_stride
        return fit_tiles(shape, stride, plan.patch_shape, how.overlap, how.padding == "zero")

    def predict(
        self,
        volume: Volume,
        *,
        mirror: bool = False,
        pieces: Pieces = "auto",
        box: VoxelBox | None = None,
        probabilities: bool = False,
        uncertainty: bool = False,
        on_tile: OnTile | None = None,
        timings: Timings | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> Prediction:
        """Segment ``volume`` (C, z, y, x).

        Args:
            mirror: average over mirrored copies, along :attr:`mirrored`.
            pieces: see :func:`.one_piece.without_islands`.
            box: the only voxels (z, y, x) to segment, see :func:`.region.voxels_of`; the others are background.
            probabilities: also return the class probabilities. uncertainty: also their entropy, in [0, 1].
            on_tile: called with (done, total) after each batch of tiles; may raise to stop.
            tell: see :meth:`logits`.

        Raises:
            InputError: the number of channels differs from the network's, or the memory does not hold one tile.
        """
        timings = timings or Timings()
        body = nonzero_box(volume.array) if self.card.plan.conventions.crop else None
        part = volume.cut(body) if body and box is None else volume
        with timings.of("preprocess"):
            image = self.prepare(part)
        familiarity, features = self.card.familiarity, TileFeatures()
        if box is None:
            seen = features if familiarity else None
            logits = self.logits(image, mirror=mirror, on_tile=on_tile, timings=timings, tell=tell, features=seen)
        else:
            around = (slice(None), *working_box(box, volume.geometry, image.shape[1:], self.card.plan))
            inside = self.logits(image[around], mirror=mirror, on_tile=on_tile, timings=timings, tell=tell)
            logits = inside.new_zeros(len(inside), *image.shape[1:])
            logits[around] = inside
        with timings.of("restore"):
            restored = self._on_grid(logits, part, probabilities, uncertainty)
            for kept_box in filter(None, (box, body)):
                restored = restored.only_in(kept_box, volume.array.shape[1:], cut=part is not volume)
            labels, left_out = self._labels(restored.classes, volume, pieces)
        distance = familiarity.distance(features.levels()) if familiarity else None
        return Prediction(labels, restored.probabilities, restored.uncertainty, left_out, distance)

    def _on_grid(self, logits: Tensor, volume: Volume, probabilities: bool, uncertainty: bool) -> Restored:
        """What the logits of a prepared volume say, on the volume's own grid."""
        axes = self.preprocessor.axes(volume.geometry)
        shape = axes.apply(volume.array).shape[1:]
        thick = self.preprocessor.thick_axis(volume.geometry, back=True)
        restored = restore(logits, shape, probabilities, uncertainty, self.card.decision, thick)
        return restored.each(lambda array: np.ascontiguousarray(axes.undo(array)))

    def _labels(self, classes: np.ndarray, volume: Volume, pieces: Pieces) -> tuple[LabelMap, dict[str, float]]:
        """The label map of class indices, without islands, and by the label's name the ml of those."""
        predicted = labels_of_classes(classes, [label.value for label in self.card.labels])
        kept = without_islands(predicted, pieces, self.card.one_piece)
        if kept is predicted:
            return LabelMap(kept, volume.geometry, volume.name), {}
        values, counts = np.unique(predicted[kept != predicted], return_counts=True)
        apart = dict(zip(values.tolist(), (counts * volume.geometry.voxel_volume_ml).tolist(), strict=True))
        left_out = {label.name: apart[label.value] for label in self.card.labels if label.value in apart}
        return LabelMap(kept, volume.geometry, volume.name), left_out
        return LabelMap(kept, volume.geometry, volume.name), left_out
