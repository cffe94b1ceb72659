"""MixCL-style pre-training: contrast of images by identity, of pixels by label where there is one, and reconstruction.

After Li, Quan and Zhou, "MixCL: Pixel label matters to contrastive learning", arXiv 2203.02114, of which only the
abstract and the start of the introduction could be read and no code exists. That three consistencies are kept at once
(identity, label, reconstruction) is the paper's; every formula, head and weight is reconstructed from standard parts:
MoCo's queue, supervised pixel contrast (Hu et al. 2021), contrast with reconstruction in one network (PCRL).

It learns from labels where there are any: a checkpoint says of which cases. Sections are those of the specification,
docs/methods/mixcl.md. Marks: [R] reconstructed there, [A] our adaptation to small volumes and budgets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..contrast.geometry import View
from ..contrast.heads import InstanceHead, norm_of, projection
from ..contrast.infonce import unit
from ..contrast.label_contrast import draw_cells, label_contrast
from ..contrast.momentum import Teacher
from ..contrast.queue import KeyQueue, instance_contrast
from ..contrast.reconstruction import ErrorNorm, cut_out, reconstruction_loss
from ..contrast.views import clean
from ..data.augment_intensity import IntensitySettings
from ..data.augment_spatial import SpatialSettings
from ..data.batch import Batch, certain
from ..data.sampling import PatchSource, draw_patches, network_axes
from ..networks.backbone import Backbone
from ..parameters import Parameters, parameter
from ..planning.plan import Plan
from .method import Optimization, margin, with_margin
from .registry import register_method
from .two_views import TwoViews, strong_changes


@dataclass(frozen=True)
class MixCLSettings(Parameters):
    """Hyper-parameters; the paper's own are not known."""

    weight_identity: float = parameter(1.0, help="weight of the identity contrast", source="[R]", at_least=0)
    weight_label: float = parameter(1.0, help="weight of the label contrast", source="[R]", at_least=0)
    weight_reconstruction: float = parameter(1.0, help="weight of the reconstruction", source="[R]", at_least=0)
    identity_temperature: float = parameter(0.2, help="temperature of the identity contrast", source="PCRL", above=0)
    label_temperature: float = parameter(0.1, help="temperature of the label contrast", source="Hu et al.", above=0)
    queue: int = parameter(
        1024,
        help="keys of past steps; 4096 is more than a run of hundreds of steps fills",
        source="[A], for 4096 [R]",
        at_least=1,
    )
    momentum: float = parameter(
        0.99, help="momentum of the key encoder, for short runs", source="[R]", at_least=0, below=1
    )
    projection: int = parameter(128, help="length of the image embeddings", source="[R]", at_least=1)
    pixel_projection: int = parameter(64, help="length of the pixel embeddings", source="[R]", at_least=1)
    pixel_level: int = parameter(
        2,
        help="decoder map of the label term, 2 for stride 4; the deepest if there are fewer",
        source="[R]",
        at_least=0,
    )
    cells: int = parameter(128, help="the most cells of each class of each data set a step", source="[R]", at_least=1)
    batch: int = parameter(4, help="crops a step", at_least=2)
    labeled: float = parameter(
        0.5,
        help="share of the crops that are from volumes with labels, where there are both kinds",
        source="[R]",
        at_least=0,
        at_most=1,
    )
    foreground: float = parameter(
        0.5,
        help="share of the labeled crops that are centered on a labeled voxel",
        source="[A]",
        at_least=0,
        at_most=1,
    )
    margin: float = margin()
    lost: tuple[float, float] = parameter(
        (0.1, 0.3),
        help="smallest and largest share of the voxels replaced by noise",
        source="[R]",
        at_least=0,
        below=1,
    )
    box: int = parameter(
        6, help="side of the boxes that are replaced by noise", unit="voxels", source="[A]", at_least=1
    )
    error: ErrorNorm = parameter("squared", help="how reconstruction is measured", source="[R]")
    # Rotation 15, scale 0.85-1.15, mirroring [R]; volumes of ours come in one orientation, hence no mirroring [A].
    spatial: SpatialSettings = parameter(
        SpatialSettings(flip=0.0, scale=(0.85, 1.15)), help="moves of each view", source="[R], flip [A]"
    )
    # Brightness and contrast 0.3, gamma 0.7-1.5, and noise and blur as part of the corruption [R].
    intensity: IntensitySettings = parameter(
        strong_changes(0.3, blur=0.3),
        help="intensities of each view, before boxes are cut out",
        source="[R], bias and curve [A]",
    )


@register_method("mixcl", stage="pretrain")
class MixCL(TwoViews):
    """Identity contrast at the bottleneck, label contrast in the decoder, reconstruction at the end, in one stage."""

    Settings = MixCLSettings
    uses_labels = True
    # AdamW at 1e-3 with a short warm-up is one of the starting points named [R]; the rate is ours for short runs [A].
    optimization = Optimization(
        optimizer="adamw", learning_rate=2e-3, weight_decay=1e-5, schedule="cosine", warm_up=0.05
    )
    description = (
        "MixCL-style contrast of images by identity and of pixels by label (where there are labels), and "
        "reconstruction of clean views: encoder and decoder. Reconstructed from the abstract; the paper's method text "
        "and code could not be had."
    )
    citation = (
        "Li, Quan and Zhou, MixCL: Pixel label matters to contrastive learning, arXiv 2203.02114 (MixCL-style: "
        "reconstructed)."
    )
    settings: MixCLSettings

    def __init__(self, backbone: Backbone, plan: Plan, settings: MixCLSettings) -> None:
        super().__init__(backbone, plan, settings)
        deep, level = backbone.channels[-1], min(settings.pixel_level, backbone.levels - 1)
        #: Which of the decoder's maps the label term taps, deepest first.
        self.tapped = backbone.levels - 1 - level
        tapped, last = backbone.decoder_channels[self.tapped], backbone.decoder_channels[-1]
        self.identity = InstanceHead(deep, deep, settings.projection, standardize=norm_of(backbone) != "batch")
        self.pixels = projection(plan.dimensions, tapped, settings.pixel_projection, hidden=tapped)
        self.reconstruction = projection(plan.dimensions, last, len(plan.channels))
        self.teacher = Teacher(backbone, without=("decoder",))
        self.teacher_identity = Teacher(self.identity)
        self.queue = KeyQueue(settings.queue, settings.projection)

    def draw(self, source: PatchSource, random: np.random.Generator) -> Batch:
        """Crops with labels, of volumes that have some, and without (-1)."""
        s = self.settings
        count = max(round(s.batch * s.labeled), s.labeled > 0) if source.unlabeled else s.batch
        count = count if source.labeled else 0
        size = with_margin(self.plan.patch, s.margin)
        parts = []
        if count:
            parts.append(draw_patches(source, size, count, s.foreground, random, source.labeled))
        if s.batch - count:
            parts.append(draw_patches(source, size, s.batch - count, 0.0, random, source.unlabeled))
        return network_axes(Batch.joined(parts), self.plan)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The terms "identity", "label", "reconstruction", and "damage", the error of a network that changes nothing.

        Labels of None count as unlabeled.
        """
        s, count = self.settings, len(batch.images)
        view = self.views(batch)
        changed = cut_out(self.augment_intensity(view.images), s.lost, s.box)
        levels = self.backbone.encode(changed)
        maps = self.backbone.decode(levels)

        # Identity: the key of each view is the other view of the same crop.
        queries = unit(self.identity(levels[-1]))
        keys = unit(self.teacher_identity.network(self.teacher.network.encode(changed)[-1]))
        cases = batch.cases.repeat(2)
        self.queue.hold(keys, cases)
        identity = instance_contrast(
            queries, keys.roll(count, 0), cases, self.queue, s.identity_temperature, in_batch=False
        )
        data_sets = batch.data_sets.repeat(2)
        label = self.label_loss(self.pixels(maps[self.tapped]), view.labels, data_sets)
        rebuilt = self.reconstruction(maps[-1])
        reconstruction = reconstruction_loss(rebuilt, view.images, s.error)
        loss = s.weight_identity * identity + s.weight_label * label + s.weight_reconstruction * reconstruction
        damage = reconstruction_loss(changed, view.images, s.error)
        terms = {"identity": identity, "label": label, "reconstruction": reconstruction, "damage": damage}
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def views(self, batch: Batch) -> View:
        """Two views of each crop, each moved on its own with its labels; the first views come first."""
        images, count = clean(batch.images), len(batch.images)
        if batch.labels is None:
            return self.moved_twice(images, torch.full((count, *images.shape[2:]), -1, device=images.device))
        return self.moved_twice(images, certain(batch.labels, batch.missing))

    def label_loss(self, embeddings: Tensor, labels: Tensor | None, data_sets: Tensor) -> Tensor:
        """L_lab of a map (V, P, *grid) of pixel embeddings of views with ``labels`` (V, *shape) of ``data_sets`` (V).

        Each cell has the label nearest to its center.
        """
        assert labels is not None
        grid = embeddings.shape[2:]
        at_cells = F.interpolate(labels.unsqueeze(1).float(), size=grid, mode="nearest-exact").long().flatten()
        sets = data_sets.repeat_interleave(math.prod(grid))
        chosen = draw_cells(at_cells, sets, self.settings.cells)
        rows = embeddings.flatten(2).transpose(1, 2).flatten(0, 1)[chosen]
        return label_contrast(rows, at_cells[chosen], sets[chosen], self.settings.label_temperature)

    def after_step(self) -> None:
        """The key network follows, and this step's keys join the queue."""
        self.teacher.follow(self.backbone, self.settings.momentum)
        self.teacher_identity.follow(self.identity, self.settings.momentum)
        self.queue.push_held()

    @property
    def transferred(self) -> tuple[str, ...]:
        """Encoder and decoder."""
        return ("encoder", "decoder")
