"""Aligned: voxel contrast by known geometry on decoder features, and reconstruction of clean views. Our own method.

It puts together what the evidence speaks for: positives given by the known map between two moved views of a
crop (as in Consistent View Alignment, arXiv 2509.13846), features of the decoder's last level, so that the whole
network is pre-trained (MACL goes part of that way), voxels told apart only where they are far from each other (CVRL),
and reconstruction as the anchor that keeps features from losing the image (MixCL). One network sees both views.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..contrast.geometry import inside, inverse, sample, transform
from ..contrast.heads import point_head, projection
from ..contrast.infonce import infonce, unit
from ..contrast.reconstruction import ErrorNorm, cut_out, reconstruction_loss
from ..contrast.views import clean
from ..contrast.voxels import strata, stratified_points
from ..data.augment_intensity import IntensitySettings
from ..data.augment_spatial import SpatialSettings
from ..data.batch import Batch
from ..networks.backbone import Backbone
from ..parameters import Parameters, parameter
from ..planning.plan import Plan
from .method import Optimization, margin
from .registry import register_method
from .two_views import TwoViews, check_moves, strong_changes


@dataclass(frozen=True)
class AlignedSettings(Parameters):
    """Hyper-parameters, all ours."""

    weight_contrast: float = parameter(0.3, help="weight of the contrast", at_least=0)
    weight_reconstruction: float = parameter(1.0, help="weight of the reconstruction", at_least=0)
    temperature: float = parameter(0.1, help="temperature of the contrast", above=0)
    width: int = parameter(64, help="length of a point's embedding", at_least=1)
    points: int = parameter(256, help="points compared in each crop, one from each stratum of the patch", at_least=2)
    near: float = parameter(
        0.125,
        help="points of crops of one data set that are nearer in the body than this on every axis are neither positive "
        "nor negative, as they usually are the same tissue",
        unit="share of the patch",
        at_least=0,
    )
    lost: tuple[float, float] = parameter(
        (0.1, 0.3), help="smallest and largest share of a view's voxels replaced by noise", at_least=0, below=1
    )
    box: int = parameter(6, help="side of the boxes that are replaced by noise", unit="voxels", at_least=1)
    error: ErrorNorm = parameter("absolute", help="how reconstruction is measured")
    batch: int = parameter(4, help="crops a step, of each of which there are two views", at_least=1)
    margin: float = margin()
    # Volumes come in one orientation, hence no mirroring.
    spatial: SpatialSettings = parameter(SpatialSettings(flip=0.0, scale=(0.8, 1.2)), help="moves of each view")
    # Strong and independent for each view: intensity alone must not tell which voxels belong together.
    intensity: IntensitySettings = parameter(strong_changes(0.3, blur=0.2), help="intensities of each view")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_moves(self.spatial)


@register_method("aligned", stage="pretrain")
class Aligned(TwoViews):
    """Each point of a view against the same place of the other view, behind the whole network, and reconstruction."""

    Settings = AlignedSettings
    optimization = Optimization(
        optimizer="adamw", learning_rate=2e-3, weight_decay=1e-5, schedule="cosine", warm_up=0.05
    )
    description = (
        "Aligned (our own): contrast of voxels at the same place of two views, on decoder features, and reconstruction "
        "of clean views: encoder and decoder, no labels. Combines ideas of MACL, CVRL and MixCL; no paper of this name."
    )
    citation = "This software. Cf. Consistent View Alignment, arXiv 2509.13846."
    settings: AlignedSettings

    def __init__(self, backbone: Backbone, plan: Plan, settings: AlignedSettings) -> None:
        super().__init__(backbone, plan, settings)
        last = backbone.decoder_channels[-1]
        self.grid = strata(plan.patch_shape, settings.points)
        self.head = point_head(last, settings.width, settings.width)
        self.reconstruction = projection(plan.dimensions, last, len(plan.channels))

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The terms "contrast" and "reconstruction", "damage" (the error of a network that changes nothing), "loss"."""
        s, images, count = self.settings, clean(batch.images), len(batch.images)
        view = self.moved_twice(images)
        changed = cut_out(self.augment_intensity(view.images), s.lost, s.box)
        maps = self.backbone.decode(self.backbone.encode(changed))[-1]

        points = stratified_points(self.grid, count, images.device)
        # The patch is the middle of the crop; coordinates are the crop's.
        share = torch.tensor([p / n for p, n in zip(self.plan.patch_shape, images.shape[2:], strict=True)])
        in_crop = ((2 * points - 1) * share.to(points.device)).flip(-1)
        in_view = transform(inverse(view.matrices), in_crop.repeat(2, 1, 1))
        first, second = unit(self.head(sample(maps, in_view))).split(count)
        seen = inside(in_view)
        contrast = point_contrast(
            first,
            second,
            (seen[:count] & seen[count:]).flatten(),
            far(positions_of(points, batch, self.plan), self.reach(batch), batch.data_sets),
            s.temperature,
        )
        reconstruction = reconstruction_loss(self.reconstruction(maps), view.images, s.error)
        damage = reconstruction_loss(changed, view.images, s.error)
        loss = s.weight_contrast * contrast + s.weight_reconstruction * reconstruction
        terms = {"contrast": contrast, "reconstruction": reconstruction, "damage": damage}
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def reach(self, batch: Batch) -> Tensor:
        """(B, 3): how near a position is on each axis of the body; between slices, as a share of the whole volume."""
        reach = batch.extents * self.settings.near
        if self.plan.dimensions == 2:
            reach[:, self.plan.slice_axis] = self.settings.near
        return reach

    @property
    def transferred(self) -> tuple[str, ...]:
        """Encoder and decoder."""
        return ("encoder", "decoder")


def positions_of(points: Tensor, batch: Batch, plan: Plan) -> Tensor:
    """(B, N, 3): where in the body ``points`` (B, N, d) in [0, 1]^d of the patches lie."""
    offsets = torch.zeros(*points.shape[:2], 3, device=points.device)
    axes = [axis for axis in range(3) if plan.dimensions == 3 or axis != plan.slice_axis]
    offsets[..., axes] = points - 0.5
    return batch.positions[:, None] + offsets * batch.extents[:, None]


def far(positions: Tensor, reach: Tensor, data_sets: Tensor) -> Tensor:
    """(B N, B N): which positions (B, N, 3) differ by ``reach`` (B, 3), that of the first, or more on some axis.

    Positions in different ``data_sets`` (B,) are always far.
    """
    points = positions.shape[1]
    rows, limits = positions.flatten(0, 1), reach.repeat_interleave(points, 0)
    sets = data_sets.repeat_interleave(points)
    apart = sets[:, None] != sets
    # Axis by axis: all differences at once would be the largest tensor of a step with many crops.
    for coordinate, limit in zip(rows.unbind(-1), limits.unbind(-1), strict=True):
        apart |= (coordinate[:, None] - coordinate).abs() >= limit[:, None]
    return apart


def point_contrast(first: Tensor, second: Tensor, seen: Tensor, apart: Tensor, temperature: float) -> Tensor:
    """InfoNCE of points, the mean of both directions.

    Args:
        first, second: (B, N, P) of unit length, the same places in two views. seen: (B N), those that lie in both.
        apart: (B N, B N), which points may repel each other.
    """
    one, other = first.flatten(0, 1), second.flatten(0, 1)
    index = torch.arange(len(one), device=one.device)
    compared = (apart & seen) | (index[:, None] == index)
    positive = torch.where(seen, index, -1)
    return (
        infonce(one, other, positive, compared, temperature) + infonce(other, one, positive, compared, temperature)
    ) / 2
