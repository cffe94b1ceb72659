"""MACL: multi-level asymmetric contrastive pre-training of the encoder and the deepest decoder blocks, in one stage.

Zeng et al., "Multi-level Asymmetric Contrastive Learning for Medical Image Segmentation Pre-training",
arXiv 2309.11876 (IEEE JBHI 2026). Both branches share one encoder and gradients flow through both: there is no momentum
teacher, no queue and no stop-gradient. The auxiliary branch sees the full crop and has an encoder only; the dominant
branch sees it shrunk by s and has N decoder blocks too, so that both end on the same grid.

Sections are those of the specification, docs/methods/macl.md.
Marks in this file: [P] paper, [C] the authors' code, [A] our adaptation to 3D patches and small batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..contrast.collapse import CollapseGuard
from ..contrast.gather import world
from ..contrast.heads import InstanceHead, norm_of, pixel_head
from ..contrast.position_contrast import dense_position_contrast, position_contrast
from ..contrast.positions import Mode, compared_axes, cut_crops, paired_positions
from ..contrast.views import center, clean, decoder_blocks, down, reduction
from ..data.augment_intensity import NEVER, IntensitySettings, RandomRange
from ..data.augment_spatial import SpatialSettings, augment_spatial
from ..data.batch import Batch
from ..data.sampling import PatchSource
from ..errors import InputError
from ..networks.backbone import Backbone
from ..parameters import Parameters, parameter
from ..planning.patch import PatchRule
from ..planning.plan import Plan
from .method import Method, Optimization, margin
from .registry import register_method

# Brightness +-0.2 (BraTS) and contrast 0.8-1.2 (CHD, KiTS) [C]. Their brightness factor U(0, 1), which can turn a slice
# black, and their rounding to 8 bit are left out; blur is milder than theirs as 3D voxels are coarser [A].
_JITTER = IntensitySettings(
    brightness=RandomRange(0.8, -0.2, 0.2),
    contrast=RandomRange(0.8, 0.8, 1.2),
    gamma=NEVER,
    noise=NEVER,
    blur=RandomRange(0.3, 0.5, 1.0),
    low_resolution=NEVER,
)


@dataclass(frozen=True)
class MACLSettings(Parameters):
    """Hyper-parameters of MACL."""

    temperature: float = parameter(0.1, help="tau of the contrastive losses", source="[P, C]", above=0)
    base_temperature: float | None = parameter(
        None,
        help="multiplies the contrastive losses by tau / base; null for 1, 0.07 reproduces the authors' code",
        source="[P]",
        above=0,
    )
    threshold: float = parameter(
        0.1,
        help="samples whose positions differ by less on every axis attract: 0.1 for CHD and KiTS, 0.05 for BraTS",
        unit="share of the volume",
        source="[C]",
        at_least=0,
    )
    lambda_global: float = parameter(1.0, help="weight of the global loss", source="[P, C]", at_least=0)
    lambda_dense: float = parameter(0.5, help="weight of the dense loss", source="[P, C]", at_least=0)
    lambda_equivariance: float = parameter(1.0, help="weight of the equivariance loss", source="[P, C]", at_least=0)
    equivariance_norm: Literal["channel", "none"] = parameter(
        "channel",
        help="channel compares directions of feature vectors, so that this loss cannot win by shrinking the bottleneck "
        "to nothing; none is as published",
        source="[A], none [P, C]",
    )
    dense: Literal["auto", "crop", "cell"] = parameter(
        "auto",
        help="what the dense loss compares; crop, as published: the same cell of every crop, and crops attract when "
        "their centers are near; cell: every cell with every other, and cells attract when they themselves are near, "
        "so that crops of whole volumes still differ; auto: crop for slices, cell for 3D patches",
        source="[P, C], cell [A]",
    )
    most_cells: int = parameter(
        2048, help="cells of each branch, drawn where a step has more (dense: cell)", source="[A]", at_least=2
    )
    decoder_blocks: int | None = parameter(
        None,
        help="N, decoder blocks to pre-train, 2 in the paper; null for the most of 1 and 2 that the patch allows",
        source="[P, C]",
    )
    projection: int = parameter(128, help="length of the image embeddings", source="[C]", at_least=1)
    position: Literal["auto", "axis", "center3d"] = parameter(
        "auto",
        help="axis compares the position along the slice axis, center3d the crop's center on three axes; auto: axis "
        "for slices, center3d for 3D patches",
        source="[P], center3d [A]",
    )
    groups: int = parameter(2, help="G, positions a step", source="[A]", at_least=1)
    per_group: int = parameter(2, help="m, volumes of which a crop is drawn at each position", source="[A]", at_least=1)
    margin: float = margin()
    jitter_invariant: bool | None = parameter(
        None,
        help="change the intensities of the unmoved views too; null for no in slices, where identity is better, and "
        "yes in 3D patches",
        source="[P] no, [C] yes, null [A]",
    )
    # Flips, 20 degrees, 0.9-1.1, shifts of 0.1: the BraTS script [C], the mildest of the published ones; no shear.
    spatial: SpatialSettings = parameter(
        SpatialSettings(flip=0.5, rotation=20.0, scale=(0.9, 1.1), translation=0.1),
        help="moves of the moved views",
        source="[C]",
    )
    intensity: IntensitySettings = parameter(_JITTER, help="intensities of the moved views", source="[C, A]")
    gather: bool = parameter(
        True,
        help="with several processes, each contrasts with the samples of all; off keeps them apart",
        source="[A], off [C]",
    )
    collapse_warmup: int = parameter(
        500, help="steps after which a collapse is looked for", unit="steps", source="[A]", at_least=0
    )
    collapse_window: int = parameter(
        500,
        help="a run whose global loss (dense: cell: dense loss) stays at that of equal embeddings for so long is "
        "stopped; healthy trials left it within 150 steps",
        unit="steps",
        source="[A]",
        at_least=1,
    )


@register_method("macl", stage="pretrain")
class MACL(Method):
    """Global and dense contrast by position, and equivariance to shrinking, over two branches of one encoder.

    Raises:
        InputError: the patch does not allow the decoder blocks asked for, or fewer than two crops a step.
    """

    Settings = MACLSettings
    # Weight decay 1e-5, cosine to 0 without warm-up [C]. Their SGD at 0.01 (--optimizer sgd --learning-rate 0.01; the
    # paper's 0.1 does not learn) hardly moves in the hundreds of steps a CPU affords, hence AdamW [A].
    optimization = Optimization(
        optimizer="adamw", learning_rate=2e-3, momentum=0.9, weight_decay=1e-5, schedule="cosine"
    )
    description = (
        "Multi-level asymmetric contrast (MACL): encoder and deepest decoder blocks, no labels. In 2D the contrastive "
        "losses are as published; image vectors standardized where there is no batch norm, the normalized equivariance "
        "loss, paired drawing and all of 3D (where the dense loss tells cells apart) are ours."
    )
    citation = "Zeng et al., Multi-level Asymmetric Contrastive Learning, IEEE JBHI 2026, arXiv 2309.11876."
    settings: MACLSettings

    def __init__(self, backbone: Backbone, plan: Plan, settings: MACLSettings) -> None:
        super().__init__(backbone, plan, settings)
        if settings.groups * settings.per_group < 2:
            raise InputError("MACL needs two crops a step or more: one alone has nothing to differ from. Raise groups.")
        self.blocks = decoder_blocks(plan.patch_shape, backbone.strides, settings.decoder_blocks)
        self.factor = reduction(backbone.strides, self.blocks)
        automatic: Mode = "axis" if plan.dimensions == 2 else "center3d"
        self.mode: Mode = automatic if settings.position == "auto" else settings.position
        deep, decoded = backbone.channels[-1], backbone.decoder_channels[self.blocks - 1]
        unlike_batch = norm_of(backbone) != "batch"
        self.auxiliary_instances = InstanceHead(deep, decoded, settings.projection, unlike_batch)
        self.dominant_instances = InstanceHead(decoded, decoded, settings.projection, unlike_batch)
        self.pixels = pixel_head(plan.dimensions, deep, decoded, norm_of(backbone))
        flat = plan.dimensions == 2
        self.dense = ("crop" if flat else "cell") if settings.dense == "auto" else settings.dense
        self.jitter = not flat if settings.jitter_invariant is None else settings.jitter_invariant
        self.compared = compared_axes(plan, self.mode)
        self.guard = CollapseGuard(settings.collapse_warmup, settings.collapse_window)
        # No loss reaches the blocks above N: the optimizer is to leave them out, and several processes need not
        # exchange zeros for them.
        backbone.decoder[self.blocks :].requires_grad_(False)

    @classmethod
    def patch_rule(cls, backbone: Backbone, settings: MACLSettings) -> PatchRule:
        """Divisible for one decoder block, or as many as are asked for (section 4), and in 3D smaller than the volume.

        A bottleneck of one voxel could not be normalized, hence two multiples; and crops as large as the volume would
        all lie at the same place, where every other crop is a positive and there is nothing to contrast.
        """
        factor = reduction(backbone.strides, settings.decoder_blocks or 1)
        multiple = tuple(t * f for t, f in zip(backbone.total_stride, factor, strict=True))
        return PatchRule(multiple, least=2, max_coverage=0.6 if len(multiple) == 3 else 1.0)

    def draw(self, source: PatchSource, random: np.random.Generator) -> Batch:
        """Crops at G positions, each from m volumes of one data set, with a margin around the patch."""
        s = self.settings
        crops = paired_positions(source, self.plan, self.mode, s.groups, s.per_group, s.threshold, random)
        return cut_crops(source, self.plan, crops, s.margin)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The terms "loss", "global" (L_g), "dense" (L_d), "equivariance" (L_ER) and "bottleneck_scale" (mean |Y|).

        Raises:
            InputError: there is a single crop.
        """
        if len(batch.images) < 2:
            raise InputError("MACL needs two crops a step or more: one alone has nothing to differ from.")
        s = self.settings
        still_1, still_2, moved_1, moved_2 = self.views(clean(batch.images))

        # Auxiliary branch: encoder only, on full crops.
        deep = self.backbone.encode(still_2)[-1]
        deep_pixels = self.pixels(deep)
        deep_instances = self.auxiliary_instances(self.backbone.encode(moved_2)[-1])

        # Dominant branch: encoder and N decoder blocks, on shrunk crops. Its pixels have no projector (section 8).
        levels = self.backbone.encode(down(still_1, self.factor))
        small = levels[-1]
        pixels = self.backbone.decode(levels, self.blocks)[-1]
        instances = self.dominant_instances(self.decoded(down(moved_1, self.factor)))

        kind = (s.threshold, s.temperature, s.base_temperature, s.gather)
        crops = (batch.positions[:, self.compared], *kind, batch.data_sets)
        global_loss = position_contrast(deep_instances, instances, *crops)
        if self.dense == "crop":
            dense_loss = dense_position_contrast(deep_pixels, pixels, *crops)
            watched, rows = global_loss, 2 * len(batch.images)
        else:
            positions, data_sets = cell_positions(batch, deep_pixels.shape[2:], self.plan)
            chosen = torch.randperm(len(positions), device=positions.device)[: s.most_cells]
            deep_cells, dominant_cells = (
                maps.flatten(2).movedim(1, 2).flatten(0, 1)[chosen] for maps in (deep_pixels, pixels)
            )
            dense_loss = position_contrast(deep_cells, dominant_cells, positions[chosen], *kind, data_sets[chosen])
            # Crops of whole volumes all lie at one position and cannot be told apart; their cells can.
            watched, rows = dense_loss, 2 * len(chosen)
        equivariance_loss = equivariance(small, deep, self.factor, s.equivariance_norm)
        loss = s.lambda_global * global_loss + s.lambda_dense * dense_loss + s.lambda_equivariance * equivariance_loss

        scale = small.detach().abs().float().mean()
        kappa = s.temperature / (s.base_temperature or s.temperature)
        if self.training:
            self.guard.watch(scale, watched.detach() / kappa, rows * (world() if s.gather else 1))
        terms = {"global": global_loss, "dense": dense_loss, "equivariance": equivariance_loss}
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}, "bottleneck_scale": scale}

    def views(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """I1, I2 (unmoved, aligned with each other) and V1, V2 (moved, each on its own) of (B, C, ...) crops."""
        shape, s = self.plan.patch_shape, self.settings

        def still() -> Tensor:
            middle = center(images, shape)
            return self.augment_intensity(middle) if self.jitter else middle

        def moved() -> Tensor:
            return self.augment_intensity(augment_spatial(images, None, s.spatial, self.plan.aspect, shape)[0])

        return still(), still(), moved(), moved()

    def decoded(self, images: Tensor) -> Tensor:
        """Features after the N-th decoder block."""
        return self.backbone.decode(self.backbone.encode(images), self.blocks)[-1]

    def after_step(self) -> None:
        """Stop a run that has collapsed."""
        self.guard.check()

    @property
    def transferred(self) -> tuple[str, ...]:
        """The encoder and the decoder blocks 1..N."""
        return ("encoder", *(f"decoder.{block}" for block in range(self.blocks)))


def cell_positions(batch: Batch, grid: tuple[int, ...], plan: Plan) -> tuple[Tensor, Tensor]:
    """Position (B * cells, 3) and data set (B * cells,) of each cell of a map of ``grid`` cells over unmoved crops."""
    steps = [(torch.arange(n, device=batch.positions.device) + 0.5) / n - 0.5 for n in grid]
    if plan.dimensions == 2:
        steps.insert(plan.slice_axis, torch.zeros(1, device=batch.positions.device))
    offsets = torch.cartesian_prod(*steps)
    positions = batch.positions[:, None] + offsets * batch.extents[:, None]
    return positions.flatten(0, 1), batch.data_sets.repeat_interleave(len(offsets))


def equivariance(
    small: Tensor, deep: Tensor, factor: tuple[int, ...], norm: Literal["channel", "none"] = "channel"
) -> Tensor:
    """L_ER = mean |Y - down(Yt)|: features of the shrunk crop against shrunk features of the crop (section 3).

    ``small`` Y is (B, C, *grid), ``deep`` Yt is (B, C, *grid times factor); gradients flow into both. "channel"
    gives the feature vectors of both unit length first (section 8 item 8).
    """
    with torch.autocast(small.device.type, enabled=False):
        wide = torch.promote_types(small.dtype, torch.float32)
        small, shrunk = small.to(wide), down(deep.to(wide), factor)
        if norm == "channel":
            small, shrunk = F.normalize(small, dim=1, eps=1e-6), F.normalize(shrunk, dim=1, eps=1e-6)
        return F.l1_loss(small, shrunk)
