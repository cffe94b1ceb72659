"""MCSC (Liu et al., BMVC 2023): a CNN and a Transformer that teach each other, contrasted together at two scales.

Sections are those of docs/methods/mcsc.md. The 3D form is our reading (its section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contrast.balanced_contrast import balanced_contrast, sample_blocks
from ..contrast.voxels import cell_features
from ..data.batch import Batch, certain
from ..networks.backbone import Backbone
from ..networks.registry import build
from ..networks.segmenter import Segmenter
from ..networks.spec import NetworkSpec
from ..parameters import as_in, parameter
from ..planning.plan import Plan
from .registry import register_method
from .segmentation_loss import cross_entropy, squared_dice
from .semisupervised import SemiSupervised, SemiSupervisedSettings, labeled_count
from .supervised import at_level


@dataclass(frozen=True)
class MCSCSettings(SemiSupervisedSettings):
    """Hyper-parameters (section 4); shares of the budget stand for the public code's iterations out of 40 000."""

    weight: float = as_in(SemiSupervisedSettings, "weight", source="[C]")
    ramp: float = as_in(SemiSupervisedSettings, "ramp", 0.75, source="[C], iteration 30 000")
    contrast: float = parameter(
        0.001,
        help="weight of each scale's contrast in the loss of either network, and so counted twice",
        source="[C]",
        at_least=0,
    )
    unlabeled_from: float = parameter(
        0.075,
        help="part after which unlabeled crops enter the contrast",
        unit="share of the budget",
        source="[C], iteration 3000",
        at_least=0,
    )
    temperature: float = parameter(0.1, help="temperature of the contrast", source="[C]", above=0)
    fine_block: int | None = parameter(
        None,
        help="side of a block at full resolution; null for 19 in 2D, as published, and 7 in 3D",
        unit="voxels",
        source="[P, C], 3D [A]",
        at_least=1,
    )
    fine_groups: int = parameter(
        4,
        help="blocks of each map that are drawn a step; all in the public code, 16 in our 3D reading",
        source="[A]",
        at_least=1,
    )
    coarse_block: int | None = parameter(
        None,
        help="side of a block on the deepest decoder map, of which all are used; null for 14 in 2D, 7 in 3D",
        unit="cells",
        source="[P, C], 3D [A]",
        at_least=1,
    )
    width: int = parameter(128, help="channels of the embeddings", source="[C]", at_least=1)
    embedding: int = parameter(96, help="channels of the Transformer's tokens", source="[A]", at_least=1)
    heads: int = parameter(6, help="attention heads of the Transformer", source="[A]", at_least=1)
    depth: int = parameter(6, help="blocks of the Transformer", source="[A]", at_least=1)
    rival_rate: float = parameter(0.2, help="factor on the learning rate for the Transformer", source="[C]", at_least=0)
    deep_levels: int = parameter(
        0, help="lower decoder levels that are supervised too: none, MCSC supervises the finest", at_least=0, at_most=0
    )


@register_method("mcsc", stage="finetune")
class MCSC(SemiSupervised):
    """The CNN is the segmenter that is kept; the Transformer and the projectors serve training only."""

    Settings = MCSCSettings
    settings: MCSCSettings
    description = (
        "MCSC: CNN and Transformer supervise each other on unlabeled volumes, with balanced contrast at two scales. "
        "The public code's faults are mended (labels aligned, blocks cover the map); in 3D it is our reading."
    )
    citation = "Liu et al., Multi-Scale Cross Contrastive Learning for Semi-Supervised Segmentation, BMVC 2023."

    def __init__(self, backbone: Backbone, plan: Plan, settings: MCSCSettings, classes: int) -> None:
        super().__init__(backbone, plan, settings, classes)
        rival = NetworkSpec(
            "unetr",
            plan.dimensions,
            backbone.spec.in_channels,
            {
                "widths": list(backbone.channels),
                "strides": [list(stride) for stride in backbone.strides],
                "embedding": settings.embedding,
                "heads": settings.heads,
                "depth": max(settings.depth, backbone.levels),
            },
        )
        self.rival = Segmenter(build(rival), classes)
        self.rates = {"rival.": settings.rival_rate}
        self.projectors = nn.ModuleList(
            _Projector(backbone.decoder_channels[level], self.rival.backbone.decoder_channels[level], settings.width)
            for level in (-1, 0)
        )

    def step(self, batch: Batch) -> dict[str, Tensor]:
        images, labels = self.moved(batch)
        images = self.augment_intensity(images)
        known, sure = labeled_count(labels), certain(labels, batch.missing)
        maps = [network.backbone.decode(network.backbone.encode(images)) for network in (self.segmenter, self.rival)]
        logits = [network.head(m[-1]).float() for network, m in zip((self.segmenter, self.rival), maps, strict=True)]
        supervised = sum(self.supervised(one, labels, batch.missing) for one in logits)
        self.watch.update(logits[0], labels)
        pseudo, targets = logits[0].new_zeros(()), [sure[:known], sure[:known]]
        unlabeled = sure < 0
        crops = unlabeled.flatten(1).any(1)
        if crops.any():
            # Where channels come first, argmax takes ten times as long.
            cnn, transformer = (one.detach().max(1).indices for one in logits)
            pseudo = self.pseudo(logits[0][crops], transformer[crops], unlabeled[crops])
            pseudo = pseudo + self.pseudo(logits[1][crops], cnn[crops], unlabeled[crops])
            if self.progress >= self.settings.unlabeled_from:
                # Crossed: each copy of the features carries what the other network says of it.
                targets = [torch.where(unlabeled, other, sure) for other in (transformer, cnn)]
        contrast = self.contrast([[m[-1] for m in maps], [m[0] for m in maps]], targets)
        total = supervised + self.unsupervised_weight * pseudo + 2 * self.settings.contrast * sum(contrast)
        terms = {"loss": total, "supervised": supervised / 2, "pseudo": pseudo / 2}
        return terms | {"contrast_fine": contrast[0], "contrast_coarse": contrast[1]}

    def supervised(self, logits: Tensor, labels: Tensor, missing: Tensor | None) -> Tensor:
        """The mean of Dice loss and cross-entropy (section 2.1), over the labeled voxels."""
        dice = squared_dice(logits, labels, missing=missing)
        return (dice + cross_entropy(logits, labels, self.watch.weights, missing)) / 2

    def pseudo(self, logits: Tensor, taught: Tensor, region: Tensor) -> Tensor:
        """Dice loss against the classes ``taught`` by the other network, over the unlabeled voxels ``region``."""
        return squared_dice(logits, taught, region)

    def contrast(self, scales: list[list[Tensor]], targets: list[Tensor]) -> list[Tensor]:
        """L_scale of the fine and the coarse maps of both networks, each with its labels (section 2.3)."""
        s, flat = self.settings, self.plan.dimensions == 2
        blocks = ((s.fine_block or (19 if flat else 7), s.fine_groups), (s.coarse_block or (14 if flat else 7), 2**31))
        return [
            self._scale(maps, targets, projector, *block)
            for maps, projector, block in zip(scales, self.projectors, blocks, strict=True)
        ]

    def _scale(self, maps: list[Tensor], targets: list[Tensor], projector: nn.Module, side: int, groups: int) -> Tensor:
        classes = torch.cat([at_level(labels, maps[0]) for labels in targets])
        places = sample_blocks(classes, (side,) * (classes.ndim - 1), groups)
        chosen = classes.flatten(1).unsqueeze(1).expand(-1, places.shape[1], -1).gather(2, places)
        count = len(targets[0])
        rows = torch.cat(projector(_points(maps[0][:count], places[:count]), _points(maps[1][:count], places[count:])))
        losses = []
        for group in range(places.shape[1]):
            points = chosen[:, group].flatten()
            if (points > 0).any():
                embeddings = rows[:, group].flatten(0, 1)[points >= 0]
                losses.append(balanced_contrast(embeddings, points[points >= 0], self.settings.temperature))
        return torch.stack(losses).mean() if losses else 0 * rows.sum()


class _Projector(nn.Module):
    """A layer for each network's channels, then one they share: points (..., C) to embeddings (..., width)."""

    def __init__(self, cnn: int, transformer: int, width: int) -> None:
        super().__init__()
        self.cnn, self.transformer = nn.Linear(cnn, 2 * width), nn.Linear(transformer, 2 * width)
        self.shared = nn.Linear(2 * width, width)

    def forward(self, cnn: Tensor, transformer: Tensor) -> list[Tensor]:
        return [self.shared(F.relu(layer(x))) for layer, x in ((self.cnn, cnn), (self.transformer, transformer))]


def _points(maps: Tensor, places: Tensor) -> Tensor:
    """(B, C, ...) maps at (B, G, P) flat places: (B, G, P, C). Projecting these points alone is projecting the maps."""
    return cell_features(maps, places.flatten(1)).unflatten(1, places.shape[1:])
