"""IDEAL-style pre-training by dense local contrast of two views, and fine-tuning by two streams that teach each other.

After Basak et al., "IDEAL: Improved DEnse locAL contrastive learning for semi-supervised medical image segmentation",
ICASSP 2023, arXiv 2210.15075, of which the abstract, the project page and its figures could be read, neither the
method's pages nor the notebooks. Stage A: that a head of 1x1 convolutions keeps the grid, that correspondences across
views make the pairs, and that the encoder alone is pre-trained is the paper's; matching and loss are DenseCL's.
Stage B: that two different decoders on one encoder supervise each other by their hard predictions is the paper's; how
they differ, the losses' mix and the ramp are those of cross pseudo supervision in SSL4MIS.

Sections are those of the specification, docs/methods/ideal.md. Marks: [S] from the source, [R] reconstructed
there, [A] our adaptation to small volumes and budgets.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contrast.correspondence import by_features, by_geometry, dense_contrast, other_locations, steps_between
from ..contrast.heads import norm_of, projection
from ..contrast.infonce import unit
from ..contrast.momentum import Teacher
from ..contrast.queue import KeyQueue
from ..contrast.views import clean
from ..data.augment_intensity import IntensitySettings
from ..data.augment_spatial import SpatialSettings
from ..data.batch import Batch, certain
from ..networks.backbone import Backbone
from ..networks.blocks import convolution
from ..networks.segmenter import Segmenter
from ..networks.unet import DecoderBlock
from ..parameters import Parameters, as_in, parameter
from ..planning.plan import Plan
from .method import Optimization, margin
from .registry import register_method
from .semisupervised import SemiSupervised, SemiSupervisedSettings
from .two_views import TwoViews, check_moves, strong_changes

_CITATION = (
    "Basak et al., IDEAL: Improved Dense Local Contrastive Learning, ICASSP 2023, arXiv 2210.15075 (IDEAL-style: "
    "partly reconstructed)."
)


@dataclass(frozen=True)
class IDEALSettings(Parameters):
    """Hyper-parameters; the paper's own are not known."""

    temperature: float = parameter(0.2, help="temperature of the contrast", source="DenseCL", above=0)
    projection: int = parameter(128, help="P, length of a location's embedding", source="[R]", at_least=1)
    head: Literal["linear", "mlp"] = parameter(
        "linear", help="linear: one 1x1 convolution; mlp: two with a ReLU between them", source="[S], mlp DenseCL"
    )
    key: Literal["ema", "shared"] = parameter(
        "ema", help="the key side: a momentum teacher, or one network with gradients on both sides", source="[R]"
    )
    momentum: float = parameter(0.99, help="momentum of the teacher, for short runs", source="[R]", at_least=0, below=1)
    match: Literal["features", "geometric"] = parameter(
        "features", help="how locations are matched: by the encoder's features, or by geometry throughout", source="[R]"
    )
    start_up: float = parameter(
        0.25,
        help="part in which features are not used and geometry matches, since random features match nothing",
        unit="share of the budget",
        source="[A], for 1000 steps [R]",
        at_least=0,
        at_most=1,
    )
    negatives: Literal["batch", "queue"] = parameter(
        "batch",
        help="beside the other locations of the image: locations of the batch, or a queue of pooled keys of past steps",
        source="[R], queue DenseCL",
    )
    others: int = parameter(
        256, help="the most locations of other images, and the length of the queue", source="[R]", at_least=1
    )
    radius: int = parameter(
        0,
        help="key locations this near to the match are neither positive nor negative",
        unit="cells",
        source="[R]",
        at_least=0,
    )
    swap: bool = parameter(True, help="with a teacher, each view is the query once", source="[R]")
    least: int = parameter(
        32,
        help="a map of fewer cells than this is replaced by the one above it",
        unit="cells",
        source="[R]",
        at_least=0,
    )
    most: int = parameter(
        4096,
        help="of a map of more cells than this only some locations are drawn",
        unit="cells",
        source="[R]",
        at_least=1,
    )
    queries: int = parameter(
        1024, help="locations that are drawn of a map of more cells than most", source="[R]", at_least=1
    )
    batch: int = parameter(4, help="crops a step", source="[R]", at_least=1)
    margin: float = margin()
    # Parts of half the crop or more, rotation 15 [R]; no mirroring, as volumes of ours come in one orientation [A].
    spatial: SpatialSettings = parameter(
        SpatialSettings(flip=0.0, scale=(1.0, 1.25), translation=0.1), help="moves of each view", source="[R, A]"
    )
    # Brightness and contrast 0.4, gamma 0.7-1.5, noise and blur [R].
    intensity: IntensitySettings = parameter(
        strong_changes(0.4, blur=0.3), help="intensities of each view", source="[R], bias and curve [A]"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_moves(self.spatial)


@register_method("ideal", stage="pretrain")
class IDEAL(TwoViews):
    """Each location of the encoder's map against the one it corresponds to in the other view."""

    Settings = IDEALSettings
    # Adam at 1e-3 is one of the starting points named [R]; the rate is ours for short runs [A].
    optimization = Optimization(optimizer="adamw", learning_rate=2e-3, weight_decay=1e-5, schedule="cosine")
    description = (
        "IDEAL-style dense local contrast of two views: encoder only, no labels. Structure from the paper's figures; "
        "matching, loss and all numbers reconstructed after DenseCL, as the method's text and code could not be had."
    )
    citation = _CITATION
    settings: IDEALSettings

    def __init__(self, backbone: Backbone, plan: Plan, settings: IDEALSettings) -> None:
        super().__init__(backbone, plan, settings)
        deepest = [n // t for n, t in zip(plan.patch_shape, backbone.total_stride, strict=True)]
        #: The encoder level whose map is contrasted: the deepest, or the one above it where that has few cells.
        self.level = backbone.levels - (prod(deepest) < settings.least)
        width = backbone.channels[self.level]
        self.head = projection(plan.dimensions, width, settings.projection, width if settings.head == "mlp" else 0)
        if settings.key == "ema":
            self.teacher = Teacher(backbone, without=("decoder",))
            self.teacher_head = Teacher(self.head)
        self.queue = KeyQueue(settings.others, settings.projection)
        # No loss reaches it: the optimizer is to leave it out, and several processes need not exchange zeros for it.
        backbone.decoder.requires_grad_(False)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The terms "loss" and "agreement": the share of feature matches within one cell of the geometric ones."""
        s, images = self.settings, clean(batch.images)
        view = self.moved_twice(images)
        seen, count = self.augment_intensity(view.images), len(images)
        # Sample n of the second half is the other view of sample n of the first: rolled by half, keys meet queries.
        maps = self.backbone.encode(seen)[self.level]
        grid, queries = maps.shape[2:], _rows(self.head(maps))
        key_maps, keys = maps, queries
        if s.key == "ema":
            key_maps = self.teacher.network.encode(seen)[self.level]
            keys = _rows(self.teacher_head.network(key_maps))
        features, key_features = _rows(maps), _rows(key_maps).roll(count, 0)
        keys = keys.roll(count, 0)
        others = torch.cat([other_locations(half, s.others) for half in keys.split(count)])
        geometric = by_geometry(view.matrices, view.matrices.roll(count, 0), grid)

        rows = 2 * count if s.swap or s.key == "shared" else count
        chosen = slice(None) if prod(grid) <= s.most else torch.randperm(prod(grid))[: s.queries].to(maps.device)
        queries, features, geometric = (x[:rows, chosen] for x in (queries, features, geometric))
        matched = by_features(features, key_features[:rows])
        near = (steps_between(matched, geometric, grid) <= 1) & (geometric >= 0)
        agreement = near.sum() / (geometric >= 0).sum().clamp_min(1)
        match = geometric if s.match == "geometric" or self.progress < s.start_up else matched

        cases, allowed = batch.cases.repeat(2)[:rows], None
        if s.negatives == "queue":
            others, allowed = self.queue.keys.expand(rows, -1, -1), self.queue.foreign(cases)
            self.queue.hold(unit(keys[:rows].mean(1)), cases)
        loss = dense_contrast(queries, keys[:rows], match, others[:rows], grid, s.temperature, s.radius, allowed)
        return {"loss": loss, "agreement": agreement}

    def after_step(self) -> None:
        """The key side follows, and pooled keys join the queue."""
        if self.settings.key == "ema":
            self.teacher.follow(self.backbone, self.settings.momentum)
            self.teacher_head.follow(self.head, self.settings.momentum)
        self.queue.push_held()

    @property
    def transferred(self) -> tuple[str, ...]:
        """The encoder alone."""
        return ("encoder",)


def _rows(maps: Tensor) -> Tensor:
    """(N, S, C): a row for each cell of ``maps`` (N, C, ...)."""
    return maps.flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class IDEALTuningSettings(SemiSupervisedSettings):
    """Hyper-parameters of stage B; the paper's own are not known."""

    weight: float = as_in(SemiSupervisedSettings, "weight", source="SSL4MIS")
    ramp: float = as_in(SemiSupervisedSettings, "ramp", source="[R]")
    cross_on: Literal["unlabeled", "all"] = parameter(
        "unlabeled", help="voxels on which the streams teach each other", source="[R]"
    )
    confidence: float = parameter(
        0.0,
        help="voxels of whose class the teaching stream is less sure than this are left out, 0 for none",
        source="[R]",
        at_least=0,
        below=1,
    )


@register_method("ideal", stage="finetune")
class IDEALTuning(SemiSupervised):
    """One encoder, two decoders: each learns from labels, and from what the other one predicts.

    Stream 1, the network's own decoder, is what the checkpoint holds and what segments; the mean of both streams, which
    the specification prefers [R], would need both decoders there.
    """

    Settings = IDEALTuningSettings
    settings: IDEALTuningSettings
    description = (
        "IDEAL-style cross supervision: one encoder, two different decoders, each taught by the other's predictions on "
        "unlabeled volumes. Structure from the paper's figures; decoders, weights and ramp reconstructed."
    )
    citation = _CITATION

    def __init__(self, backbone: Backbone, plan: Plan, settings: IDEALTuningSettings, classes: int) -> None:
        super().__init__(backbone, plan, settings, classes)
        self.second = Segmenter(_SecondDecoder(backbone), classes, settings.deep_levels)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The terms "loss", "dice_ce" of stream 1, and "cross", both directions together (section 4)."""
        images, labels = self.moved(batch)
        features = self.segmenter.backbone.encode(self.augment_intensity(images))
        streams = [stream.deep_logits(stream.backbone.decode(features)) for stream in (self.segmenter, self.second)]
        losses = [self.deep_loss(levels, labels, batch.missing) for levels in streams]
        (first, finest), (second, _) = losses
        self.watch.update(streams[0][0], labels)
        supervised, cross = (first + second) / 2, first.new_zeros(())
        taught = certain(labels, batch.missing) < 0
        if self.settings.cross_on == "all":
            taught = torch.ones_like(taught)
        crops = taught.flatten(1).any(1)
        if crops.any():
            one, other = (levels[0][crops].float() for levels in streams)
            cross = self.taught_by(one, other, taught[crops]) + self.taught_by(other, one, taught[crops])
        total = supervised + self.unsupervised_weight * cross
        return {"loss": total, "dice_ce": finest.detach(), "cross": cross.detach()}

    def taught_by(self, logits: Tensor, other: Tensor, region: Tensor) -> Tensor:
        """Cross-entropy of ``logits`` (B, classes, ...) with the classes that ``other`` predicts; no gradient there.

        It is the mean over the voxels of ``region`` (B, ...) of whose class ``other`` is sure.
        """
        sure, pseudo = other.detach().softmax(1).max(1)
        pseudo = pseudo.masked_fill(~region | (sure < self.settings.confidence), -1)
        total = F.cross_entropy(logits, pseudo, ignore_index=-1, reduction="sum")
        return total / (pseudo >= 0).sum().clamp_min(1)


class _SecondDecoder(Backbone):
    """A decoder for the encoder maps of ``first``: interpolation where a U-Net has transposed convolutions [R]."""

    def __init__(self, first: Backbone) -> None:
        super().__init__()
        self.channels, self.strides = first.channels, first.strides
        self.decoder_channels = tuple(reversed(first.channels[:-1]))
        dimensions, norm = len(self.strides[0]), norm_of(first)

        def step(channels: int, width: int) -> nn.Module:
            return convolution(dimensions, channels, width, bias=False, norm=norm)

        def up(channels: int, width: int, stride: tuple[int, ...]) -> nn.Module:
            # A convolution of size 1 and interpolation may change places: before it there are fewer voxels.
            point = convolution(dimensions, channels, width, kernel=1, slope=None)
            return nn.Sequential(point, nn.Upsample(None, stride, "bilinear" if dimensions == 2 else "trilinear"))

        self.decoder = nn.ModuleList(
            DecoderBlock(
                up(self.channels[level + 1], width, self.strides[level]),
                nn.Sequential(step(2 * width, width), step(width, width)),
            )
            for level, width in reversed(list(enumerate(self.channels[:-1])))
        )
