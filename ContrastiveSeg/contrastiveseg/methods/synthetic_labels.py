"""Contrast by synthetic labels: random label maps, each rendered twice, and voxels of one label attract each other.

Ours. The pixel-label contrast of MixCL at the several decoder levels of MACL, on randomized synthesis in the manner of
anatomix (Dey et al., ICLR 2025, arXiv 2411.02372): the labels come first, and images are rendered from them. No image
is read: volumes give label maps where they have some, and where they have none the labels are random shapes.

Sections are those of the specification, docs/methods/synthetic_labels.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contrast.balanced_contrast import balanced_contrast
from ..contrast.heads import point_head
from ..contrast.label_contrast import balanced_cells
from ..contrast.voxels import cell_features
from ..data.augment_spatial import SpatialSettings, augment_spatial
from ..data.batch import Batch
from ..data.sampling import PatchSource, crop_start, stacked_missing
from ..networks.backbone import Backbone
from ..parameters import Parameters, parameter
from ..planning.patch import PatchRule
from ..planning.plan import Plan
from ..synthetic.label_maps import ShapeSettings, fill_parts, paint_shapes
from ..synthetic.rendering import RenderingSettings, render
from .method import Method, Optimization
from .registry import register_method

# Wide, since shape is to be random, and a label is to be known by its surroundings, not by its place in the crop.
_MOVES = SpatialSettings(flip=0.5, rotation=45.0, scale=(0.6, 1.6), translation=0.1, elastic=0.04)


@dataclass(frozen=True)
class SyntheticLabelsSettings(Parameters):
    """Hyper-parameters; ours, chosen as docs/explanation/what-we-tried.md tells."""

    maps: float = parameter(
        1.0,
        help="label maps a step where the patch is as large as the plan's; of smaller ones there are more, so that the "
        "number of voxels stays about the same",
        above=0,
    )
    smallest: float = parameter(
        0.5,
        help="smallest side of a step's patch; sides vary, so that norms over the image meet patches of many sizes",
        unit="the plan's patch",
        above=0,
        at_most=1,
    )
    random_shapes: float = parameter(
        0.4,
        help="share of the label maps that are random shapes alone, where volumes have label maps",
        at_least=0,
        at_most=1,
    )
    margin: float = parameter(
        1.5,
        help="size of the crops of label maps, so that moving them brings in little padding",
        unit="times the patch",
        at_least=1,
    )
    points: int = parameter(
        256,
        help="cells of each label map at each decoder level, drawn so that labels have about equally many",
        at_least=2,
    )
    temperature: float = parameter(0.1, help="temperature of the contrast", above=0)
    projection: int = parameter(64, help="length of the embeddings", at_least=2)
    hidden: int = parameter(128, help="width of the heads before the embeddings", at_least=2)
    spatial: SpatialSettings = parameter(_MOVES, help="moves of the label maps")
    shapes: ShapeSettings = parameter(ShapeSettings(), help="the shapes that are painted over the label maps")
    rendering: RenderingSettings = parameter(RenderingSettings(), help="how label maps become images")


@register_method("synthetic-labels", stage="pretrain")
class SyntheticLabels(Method):
    """Voxels of two renderings of one label map, contrasted by label at every level of the decoder."""

    Settings = SyntheticLabelsSettings
    uses_labels = True
    optimization = Optimization(
        optimizer="adamw", learning_rate=2e-3, weight_decay=1e-4, schedule="cosine", warm_up=0.02, ema=0.99
    )
    description = (
        "Contrast by synthetic labels: random label maps rendered twice in random looks, voxels of one label attract "
        "each other at every decoder level. Encoder and decoder. Learns from label maps where there are any, from "
        "random shapes otherwise, and never from images. Ours, after MixCL, MACL and anatomix."
    )
    citation = (
        "Dey et al., Learning General-purpose Biomedical Volume Representations using Randomized Synthesis, ICLR 2025, "
        "arXiv 2411.02372; Li, Quan and Zhou, MixCL, arXiv 2203.02114; Zeng et al., MACL, arXiv 2309.11876 (ours, "
        "after them)."
    )
    settings: SyntheticLabelsSettings

    def __init__(self, backbone: Backbone, plan: Plan, settings: SyntheticLabelsSettings) -> None:
        super().__init__(backbone, plan, settings)
        self.heads = nn.ModuleList(
            point_head(width, settings.hidden, settings.projection) for width in backbone.decoder_channels
        )

    @classmethod
    def patch_rule(cls, backbone: Backbone, settings: SyntheticLabelsSettings) -> PatchRule:
        """A bottleneck of two voxels an axis or more: one could not be normalized."""
        return PatchRule(backbone.total_stride, least=2)

    def draw(self, source: PatchSource, random: np.random.Generator) -> Batch:
        """Label maps with a margin, 0 where random shapes are to be; the images are blank and tell the patch."""
        shape = self.drawn_shape(random)
        count = max(1, round(self.settings.maps * math.prod(self.plan.patch_shape) / math.prod(shape)))
        size = [math.ceil(n * self.settings.margin) for n in shape]
        if self.plan.dimensions == 2:
            size.insert(self.plan.slice_axis, 1)
        labels, cases = np.zeros((count, *size), np.int64), np.full(count, -1)
        for index in range(count):
            if source.labeled and random.random() >= self.settings.random_shapes:
                cases[index] = random.choice(source.labeled)
                # Voxels without a label (-1) are filled like background.
                labels[index] = _label_crop(source, int(cases[index]), size, random).clip(0)
        if self.plan.dimensions == 2:
            labels = labels.squeeze(1 + self.plan.slice_axis)
        nowhere = torch.zeros(count, 3)
        blank = torch.zeros(count, len(self.plan.channels), *shape)
        no_data_set = torch.zeros(count, dtype=torch.long)
        missing = stacked_missing([source.missing(case) if case >= 0 else None for case in cases.tolist()])
        return Batch(blank, torch.from_numpy(labels), nowhere, nowhere, no_data_set, torch.from_numpy(cases), missing)

    def drawn_shape(self, random: np.random.Generator) -> tuple[int, ...]:
        """The patch of a step (section 3)."""
        sides = []
        for full, stride in zip(self.plan.patch_shape, self.backbone.total_stride, strict=True):
            most = full // stride
            least = min(most, max(2, math.ceil(self.settings.smallest * most)))
            sides.append(stride * int(random.integers(least, most + 1)))
        return tuple(sides)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The terms "level_0" (the finest decoder level), "level_1" .., and "loss", their mean."""
        labels = self.label_maps(batch)
        images = torch.cat([self.rendered(labels), self.rendered(labels)])
        maps = self.backbone.decode(self.backbone.encode(images))
        terms = {
            f"level_{len(maps) - 1 - block}": self.contrast(head, features, labels)
            for block, (head, features) in enumerate(zip(self.heads, maps, strict=True))
        }
        return {"loss": torch.stack(list(terms.values())).mean(), **{n: t.detach() for n, t in terms.items()}}

    def label_maps(self, batch: Batch) -> Tensor:
        """(B, *patch): the batch's label maps moved, their empty parts filled, shapes painted over (section 2)."""
        assert batch.labels is not None
        s, shape = self.settings, batch.images.shape[2:]
        blank = batch.labels.new_zeros((len(batch.labels), 1, *batch.labels.shape[1:]), dtype=torch.float32)
        moved = augment_spatial(blank, batch.labels, s.spatial, self.plan.aspect, tuple(shape))[1]
        assert moved is not None
        return paint_shapes(fill_parts(moved, s.shapes), s.shapes)

    def rendered(self, labels: Tensor) -> Tensor:
        """(B, C, *patch): a made-up image of each label map, every channel with looks of its own."""
        return torch.cat([render(labels, self.settings.rendering) for _ in self.plan.channels], 1)

    def contrast(self, head: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        """The loss at one level: ``features`` (2 B, C, *grid) of both renderings of ``labels`` (B, *patch)."""
        grid, count = features.shape[2:], len(labels)
        known = F.interpolate(labels.unsqueeze(1).float(), size=grid, mode="nearest-exact").long().flatten(1)
        cells = balanced_cells(known, self.settings.points)
        rows = head(cell_features(features, cells.repeat(2, 1)))
        chosen = known.gather(1, cells)
        losses = [
            balanced_contrast(torch.cat([rows[i], rows[count + i]]), chosen[i].repeat(2), self.settings.temperature)
            for i in range(count)
        ]
        return torch.stack(losses).mean()

    @property
    def transferred(self) -> tuple[str, ...]:
        """Encoder and decoder."""
        return ("encoder", "decoder")


def _label_crop(source: PatchSource, case: int, size: list[int], random: np.random.Generator) -> np.ndarray:
    """A crop of ``size`` (z, y, x) anywhere in a volume's label map; where that is smaller, its edge is repeated."""
    shape = source.shape(case)
    inside = [min(n, full) for n, full in zip(size, shape, strict=True)]
    start = crop_start([random.uniform(0, n) for n in shape], inside, shape)
    before = [(n - i) // 2 for n, i in zip(size, inside, strict=True)]
    padding = [(b, n - i - b) for n, i, b in zip(size, inside, before, strict=True)]
    return np.pad(source.label_crop(case, start, inside), padding, mode="edge")
