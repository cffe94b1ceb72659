"""CVRL-style pre-training: momentum contrast of volumes, of voxels, and of feature dimensions.

After You et al., "Momentum Contrastive Voxel-wise Representation Learning for Semi-supervised Volumetric Medical Image
Segmentation", MICCAI 2022, arXiv 2105.07059, of which only the abstract could be read and no code exists: two levels,
contrast along batch and feature dimension, voxels of one image that are not all alike, a momentum teacher. Every
formula is reconstructed from the authors' later line of work (ACTION, MONA, ARCO) and its parents.

Sections are those of the specification, docs/methods/cvrl.md.
Marks in this file: [R] reconstructed there, [A] our adaptation to small volumes, networks and budgets.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contrast.dimensions import dimension_contrast, fitting_width
from ..contrast.heads import point_head
from ..contrast.infonce import infonce, unit
from ..contrast.momentum import Teacher
from ..contrast.queue import KeyQueue, instance_contrast
from ..contrast.views import clean
from ..contrast.voxels import apart, strata, stratified_voxels, voxel_features
from ..data.augment_intensity import NEVER, IntensitySettings, RandomRange
from ..data.augment_spatial import SpatialSettings, augment_spatial
from ..data.batch import Batch
from ..networks.backbone import Backbone
from ..parameters import Parameters, parameter
from ..planning.plan import Plan
from .method import Optimization, margin
from .registry import register_method
from .two_views import BIAS, CURVE, TwoViews

#: A checkpoint's card tells it, so it says how near to the paper the method is.
CITATION = (
    "You et al., Momentum Contrastive Voxel-wise Representation Learning, MICCAI 2022, arXiv 2105.07059 (CVRL-style: "
    "reconstructed)."
)


# Noise 0.1, contrast 0.75-1.25, shift 0.1, blur up to 1 half of the time, for each view [R]; bias and curves [A].
_JITTER = IntensitySettings(
    brightness=RandomRange(1.0, -0.1, 0.1),
    contrast=RandomRange(1.0, 0.75, 1.25),
    gamma=NEVER,
    noise=RandomRange(1.0, 0.1, 0.1),
    blur=RandomRange(0.5, 0.3, 1.0),
    low_resolution=NEVER,
    bias=BIAS,
    curve=CURVE,
)


@dataclass(frozen=True)
class CVRLSettings(Parameters):
    """Hyper-parameters; the paper's own are not known."""

    stages: Literal["P1,P2", "P1", "P2", "joint"] = parameter(
        "P1,P2",
        help="P1 contrasts the bottleneck and trains the encoder; P2 contrasts voxels and trains the decoder behind a "
        "frozen encoder, which by itself (an ablation) stays random; P1,P2 is one after the other, as in GCL and "
        "ACTION; joint is both at once, everything trained",
        source="[R], joint [A]",
    )
    first: float = parameter(
        0.5,
        help="part of P1 where the stages are P1,P2",
        unit="share of the budget",
        source="[A]",
        at_least=0,
        at_most=1,
    )
    batch: int = parameter(4, help="crops a step", at_least=2)
    margin: float = margin()
    temperature: float = parameter(0.1, help="tau of volumes and voxels", source="GCL, ARCO", above=0)
    dimension_temperature: float = parameter(0.1, help="tau_d of feature dimensions", source="GCL, ARCO", above=0)
    lambda_dimension: float = parameter(
        0.1, help="weight of the feature-dimension contrast beside that of volumes or voxels", source="[R]", at_least=0
    )
    width: int = parameter(
        64, help="M, length of the projections, lowered where there are fewer rows than 3 M", source="[R]", at_least=2
    )
    tokens: int = parameter(
        64,
        help="the most cells that the bottleneck is pooled to, which makes 4 x 4 x 4 of 7 x 7 x 5",
        source="[A], for 48 [R]",
        at_least=2,
    )
    queue: int = parameter(256, help="keys of past steps", source="[R]", at_least=1)
    voxels: int = parameter(256, help="voxels drawn of each crop, one from each stratum", source="[R]", at_least=2)
    distance: float = parameter(
        8.0,
        help="voxels of one crop nearer than this on every axis are no negatives",
        unit="voxels",
        source="[R]",
        at_least=0,
    )
    momentum: float = parameter(0.996, help="momentum of the teacher", source="[R]", at_least=0, below=1)
    spatial: SpatialSettings = parameter(
        # UA-MT turns by right angles and mirrors; volumes of ours come in one orientation, hence small turns.
        SpatialSettings(flip=0.0),
        help="moves that both views share",
        source="[A]",
    )
    intensity: IntensitySettings = parameter(_JITTER, help="intensities of each view", source="[R], bias and curve [A]")


@register_method("cvrl", stage="pretrain")
class CVRL(TwoViews):
    """Volumes and feature dimensions at the bottleneck (P1), voxels and feature dimensions behind the decoder (P2)."""

    Settings = CVRLSettings
    # SGD 0.01 in the whole line of work [R]; like MACL's it hardly moves in the hundreds of steps a CPU affords [A].
    optimization = Optimization(optimizer="adamw", learning_rate=2e-3, weight_decay=1e-5, schedule="cosine")
    description = (
        "CVRL-style momentum contrast of volumes, voxels and feature dimensions: encoder, then decoder, no labels. "
        "Reconstructed from the abstract and the authors' later code; the paper's own text and code could not be had."
    )
    citation = CITATION
    settings: CVRLSettings

    def __init__(self, backbone: Backbone, plan: Plan, settings: CVRLSettings) -> None:
        super().__init__(backbone, plan, settings)
        bottleneck = [n // t for n, t in zip(plan.patch_shape, backbone.total_stride, strict=True)]
        self.token_grid = strata(bottleneck, settings.tokens)
        self.voxel_grid = strata(plan.patch_shape, settings.voxels)
        deep, last = backbone.channels[-1], backbone.decoder_channels[-1]
        low_width = fitting_width(settings.width, settings.batch * prod(self.token_grid))
        high_width = fitting_width(settings.width, settings.batch * prod(self.voxel_grid))
        self.low = point_head(deep, deep, low_width)
        self.high = point_head(last, settings.width, high_width)
        self.teacher = Teacher(backbone)
        self.teacher_low, self.teacher_high = Teacher(self.low), Teacher(self.high)
        self.queue = KeyQueue(settings.queue, low_width)

    @property
    def stage(self) -> Literal["P1", "P2", "joint"]:
        """What is trained at this point of the budget."""
        if self.settings.stages == "P1,P2":
            return "P1" if self.progress < self.settings.first else "P2"
        return self.settings.stages

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The stage's terms: "volume" and "dimension_low" (P1), "voxel" and "dimension_high" (P2), and "loss"."""
        s, stage = self.settings, self.stage
        first, second = self.views(clean(batch.images))
        levels = self.encoded(first, frozen=stage == "P2")
        theirs = self.teacher.network.encode(second)
        terms: dict[str, Tensor] = {}
        if stage != "P2":
            tokens, their_tokens = self.tokens(levels[-1]), pooled(theirs[-1], self.token_grid)
            keys = self.teacher_low.network(their_tokens)
            terms["volume"], terms["dimension_low"] = self.low_terms(tokens, keys, batch.cases)
        if stage != "P1":
            maps, their_maps = self.backbone.decode(levels)[-1], self.teacher.network.decode(theirs)[-1]
            voxels = stratified_voxels(maps.shape[2:], self.voxel_grid, len(maps), maps.device)
            rows = self.high(voxel_features(maps, voxels))
            keys = self.teacher_high.network(voxel_features(their_maps, voxels))
            terms["voxel"] = voxel_contrast(rows, keys, voxels, batch.cases, s.distance, s.temperature)
            terms["dimension_high"] = dimension_contrast(
                rows.flatten(0, 1), keys.flatten(0, 1), s.dimension_temperature
            )
        weights = {"volume": 1.0, "voxel": 1.0}
        loss = torch.stack([weights.get(name, s.lambda_dimension) * term for name, term in terms.items()]).sum()
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def views(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's view of (B, C, ...) crops: one geometry, intensities each of its own."""
        moved = augment_spatial(images, None, self.settings.spatial, self.plan.aspect, self.plan.patch_shape)[0]
        return self.augment_intensity(moved), self.augment_intensity(moved)

    def encoded(self, images: Tensor, frozen: bool) -> list[Tensor]:
        """The encoder's maps; frozen, it gets no gradient and its norms keep their statistics."""
        if not frozen:
            return self.backbone.encode(images)
        self.backbone.encoder.eval()
        with torch.no_grad():
            levels = self.backbone.encode(images)
        self.backbone.encoder.train(self.training)
        return levels

    def tokens(self, bottleneck: Tensor) -> Tensor:
        """(B, T, M): the bottleneck, pooled to the token grid and projected."""
        return self.low(pooled(bottleneck, self.token_grid))

    def low_terms(self, tokens: Tensor, keys: Tensor, cases: Tensor) -> tuple[Tensor, Tensor]:
        """Lvol and Ldim of the student's and the teacher's tokens (sections 2.2 and 2.3)."""
        s = self.settings
        images, their_images = unit(tokens.mean(1)), unit(keys.mean(1))
        self.queue.hold(their_images, cases)
        volume = instance_contrast(images, their_images, cases, self.queue, s.temperature, in_batch=True)
        return volume, dimension_contrast(tokens.flatten(0, 1), keys.flatten(0, 1), s.dimension_temperature)

    def after_step(self) -> None:
        """The teacher follows, and this step's keys join the queue."""
        momentum = self.settings.momentum
        if self.stage != "P1":
            if not self.teacher_high.updates:
                # The decoder begins to learn: its teacher is to forget the random start as fast as a new one does. At
                # the full momentum, most of it would still be that start at the end of a run of hundreds of steps.
                self.teacher.updates.zero_()
            self.teacher_high.follow(self.high, momentum)
        self.teacher.follow(self.backbone, momentum)
        self.teacher_low.follow(self.low, momentum)
        self.queue.push_held()

    @property
    def transferred(self) -> tuple[str, ...]:
        """The encoder, and the decoder where a stage trained it."""
        return ("encoder", "decoder") if self.teacher_high.updates else ("encoder",)


def pooled(maps: Tensor, grid: tuple[int, ...]) -> Tensor:
    """(B, T, C): the mean of ``maps`` (B, C, ...) over each cell of ``grid``."""
    pool = F.adaptive_avg_pool2d if len(grid) == 2 else F.adaptive_avg_pool3d
    return pool(maps, grid).flatten(2).transpose(1, 2)  # type: ignore[arg-type]


def voxel_contrast(
    rows: Tensor, keys: Tensor, voxels: Tensor, cases: Tensor, distance: float, temperature: float
) -> Tensor:
    """Lvox without labels (section 2.4): each voxel against its own other view.

    Args:
        rows, keys: (B, N, M), of the student and of the teacher, at ``voxels`` (B, N, d) of the crops.
        cases, distance: crops of one volume (B), and voxels of one crop nearer than this, are neither positive nor
            negative.
    """
    anchors = unit(rows.flatten(0, 1))
    own = torch.arange(len(anchors), device=anchors.device)
    return infonce(anchors, unit(keys.flatten(0, 1)), own, apart(voxels, cases, distance), temperature)
