"""CVRL-style semi-supervised fine-tuning: stage S, from a pre-trained checkpoint (stages P1 and P2) or from scratch.

Supervision on labeled crops; on all crops consistency with a momentum teacher, contrast of volumes and of voxels by
class, both along the feature dimension too. Sections are those of docs/methods/cvrl.md, where every formula
but the first and the consistency is marked as reconstructed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..contrast.dimensions import dimension_contrast, fitting_width
from ..contrast.heads import point_head
from ..contrast.infonce import infonce, unit
from ..contrast.momentum import Teacher
from ..contrast.queue import KeyQueue, instance_contrast
from ..contrast.voxels import strata, stratified_voxels, voxel_features
from ..data.batch import Batch, certain
from ..networks.backbone import Backbone
from ..parameters import as_in, parameter
from ..planning.plan import Plan
from .cvrl import CITATION, CVRLSettings, pooled
from .registry import register_method
from .semisupervised import Taught, TaughtSettings


@dataclass(frozen=True)
class CVRLTuningSettings(TaughtSettings):
    """Hyper-parameters of stage S (section 4; the supervised loss is the mean of Dice and cross-entropy)."""

    beta_low: float = parameter(0.1, help="weight of the contrast of volumes", source="[R]", at_least=0)
    beta_high: float = parameter(0.1, help="weight of the contrast of voxels", source="[R]", at_least=0)
    confidence: float = parameter(
        0.9,
        help="an unlabeled voxel takes part where the teacher gives its class at least this probability",
        source="[R]",
        at_least=0,
        at_most=1,
    )
    temperature: float = as_in(CVRLSettings, "temperature")
    dimension_temperature: float = as_in(CVRLSettings, "dimension_temperature")
    lambda_dimension: float = as_in(CVRLSettings, "lambda_dimension")
    width: int = as_in(CVRLSettings, "width")
    tokens: int = as_in(CVRLSettings, "tokens")
    queue: int = as_in(CVRLSettings, "queue")
    voxels: int = as_in(CVRLSettings, "voxels")


@register_method("cvrl", stage="finetune")
class CVRLTuning(Taught):
    """Student and teacher see the same crops in other intensities; features are contrasted at both ends."""

    Settings = CVRLTuningSettings
    settings: CVRLTuningSettings
    description = (
        "CVRL-style: supervised, consistent with a momentum teacher, and contrasted by volume and by class on labeled "
        "and unlabeled volumes. Reconstructed, as the paper's own text and code could not be had."
    )
    citation = CITATION

    def __init__(self, backbone: Backbone, plan: Plan, settings: CVRLTuningSettings, classes: int) -> None:
        super().__init__(backbone, plan, settings, classes)
        bottleneck = [n // t for n, t in zip(plan.patch_shape, backbone.total_stride, strict=True)]
        self.token_grid = strata(bottleneck, settings.tokens)
        self.voxel_grid = strata(plan.patch_shape, settings.voxels)
        deep, last = backbone.channels[-1], backbone.decoder_channels[-1]
        low_width = fitting_width(settings.width, settings.batch * prod(self.token_grid))
        self.low = point_head(deep, deep, low_width)
        self.high = point_head(
            last, settings.width, fitting_width(settings.width, settings.batch * prod(self.voxel_grid))
        )
        self.teacher_low, self.teacher_high = Teacher(self.low), Teacher(self.high)
        self.queue = KeyQueue(settings.queue, low_width)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """The terms "dice_ce", "consistency", "volume", "voxel", and "dimension" of both levels together."""
        s, student = self.settings, self.segmenter
        images, labels = self.moved(batch)
        encoded = student.backbone.encode(self.augment_intensity(images))
        maps = student.backbone.decode(encoded)
        logits = student.deep_logits(maps)
        theirs = self.augment_intensity(images)
        their_logits, their_encoded, their_map = self.taught_maps(theirs)
        supervised, finest = self.deep_loss(logits, labels, batch.missing)
        self.watch.update(logits[0], labels)
        probabilities = their_logits.softmax(1)
        consistency = (logits[0].float().softmax(1) - probabilities).square().mean()

        tokens = self.low(pooled(encoded[-1], self.token_grid))
        their_tokens = self.teacher_low.network(pooled(their_encoded, self.token_grid))
        keys = unit(their_tokens.mean(1))
        self.queue.hold(keys, batch.cases)
        volume = instance_contrast(unit(tokens.mean(1)), keys, batch.cases, self.queue, s.temperature, in_batch=True)

        voxels = stratified_voxels(labels.shape[1:], self.voxel_grid, len(labels), labels.device)
        rows = self.high(voxel_features(maps[-1], voxels)).flatten(0, 1)
        their_rows = self.teacher_high.network(voxel_features(their_map, voxels)).flatten(0, 1)
        classes = trusted(certain(labels, batch.missing), probabilities, s.confidence)
        classes = voxel_features(classes.unsqueeze(1), voxels).flatten()
        voxel = class_contrast(rows, their_rows, classes, s.temperature)
        low, high = (
            dimension_contrast(mine, other, s.dimension_temperature)
            for mine, other in ((tokens.flatten(0, 1), their_tokens.flatten(0, 1)), (rows, their_rows))
        )
        loss = supervised / 2 + self.unsupervised_weight * consistency
        loss = loss + s.beta_low * (volume + s.lambda_dimension * low)
        loss = loss + s.beta_high * (voxel + s.lambda_dimension * high)
        terms = {"dice_ce": finest, "consistency": consistency, "volume": volume, "voxel": voxel}
        return {"loss": loss, **{n: t.detach() for n, t in terms.items()}, "dimension": (low + high).detach()}

    @torch.no_grad()
    def taught_maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The teacher's logits, its bottleneck and its last decoder map."""
        network = self.synchronized_teacher()
        encoded = network.backbone.encode(images)
        last = network.backbone.decode(encoded)[-1]
        return network.head(last).float(), encoded[-1], last

    def after_step(self) -> None:
        """The teacher follows, and this step's keys join the queue."""
        super().after_step()
        self.teacher_low.follow(self.low, self.settings.momentum)
        self.teacher_high.follow(self.high, self.settings.momentum)
        self.queue.push_held()


def trusted(labels: Tensor, probabilities: Tensor, confidence: float) -> Tensor:
    """(B, ...) classes: ``labels``, and where they are -1 the teacher's, if it is sure enough; else -1."""
    sure, pseudo = probabilities.max(1)
    return torch.where(labels >= 0, labels, torch.where(sure >= confidence, pseudo, -1))


def class_contrast(rows: Tensor, keys: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Lvox by class (section 2.4): a voxel, and the mean key of its class, against the voxels of other classes.

    Args:
        rows, keys: (R, M), of the student and of the teacher, not necessarily normalized. classes: (R), -1 where none
            is known: such a voxel is neither anchor nor key.

    The two positives count together, as the mean of their exponentials. Other voxels of the class are not compared.
    """
    anchors, others = unit(rows), unit(keys)
    known = classes >= 0
    present = torch.unique(classes[known])
    member = (classes == present[:, None]).to(others.dtype)
    with torch.autocast(rows.device.type, enabled=False):
        means = unit(member @ others)
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device) & known
    own_mean = classes[:, None] == present
    positive = torch.cat([itself, own_mean], 1)
    foreign = known & (classes[:, None] != classes)
    compared = positive | torch.cat([foreign, torch.zeros_like(own_mean)], 1)
    # An anchor without class has no positive, and hence no part.
    return infonce(anchors, torch.cat([others, means]), positive, compared, temperature, together=True)
