"""What methods share that learn from labeled and unlabeled crops together. Not a method itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..contrast.momentum import Teacher
from ..contrast.ramps import ramp
from ..data.batch import Batch
from ..data.sampling import PatchSource, draw_patches, network_axes
from ..networks.backbone import Backbone
from ..networks.segmenter import Segmenter
from ..parameters import as_in, parameter
from ..planning.plan import Plan
from .method import with_margin
from .supervised import Supervised, SupervisedSettings


@dataclass(frozen=True)
class SemiSupervisedSettings(SupervisedSettings):
    """Hyper-parameters that semi-supervised methods share."""

    batch: int = as_in(SupervisedSettings, "batch", source="UA-MT")
    unlabeled: int = parameter(2, help="unlabeled crops a step", source="UA-MT", at_least=1)
    weight: float = parameter(0.1, help="largest weight of the terms on unlabeled crops", source="UA-MT", at_least=0)
    ramp: float = parameter(
        0.4,
        help="part in which that weight rises to its largest",
        unit="share of the budget",
        source="[R]",
        at_least=0,
        at_most=1,
    )


class SemiSupervised(Supervised):
    """Draws labeled crops first, then unlabeled ones; without unlabeled volumes it draws labeled ones alone."""

    uses_unlabeled = True
    advice = (
        "Where it was measured, the same minutes of supervised fine-tuning, on the labels alone, were worth more. "
        "Compare the two on held-out cases."
    )
    settings: SemiSupervisedSettings

    def draw(self, source: PatchSource, random: np.random.Generator) -> Batch:
        size = with_margin(self.plan.patch, self.settings.margin)
        labeled, unlabeled = source.labeled, source.unlabeled
        parts = [draw_patches(source, size, self.settings.batch, self.settings.foreground, random, labeled)]
        if unlabeled:
            parts.append(draw_patches(source, size, self.settings.unlabeled, 0.0, random, unlabeled))
        return network_axes(Batch.joined(parts), self.plan)

    @property
    def unsupervised_weight(self) -> float:
        """The weight of the terms on unlabeled crops at this step."""
        return self.settings.weight * ramp(self.progress, self.settings.ramp)


def labeled_count(labels: Tensor) -> int:
    """How many crops come with labels; they are the first of the batch, the others hold -1 everywhere.

    A crop of a volume of which a part is labeled may hold -1 everywhere too; the first crop counts in any case.
    """
    labeled = (labels >= 0).flatten(1).any(1).nonzero()
    return int(labeled.max()) + 1 if len(labeled) else 1


@dataclass(frozen=True)
class TaughtSettings(SemiSupervisedSettings):
    """Hyper-parameters of methods with a teacher, as in UA-MT and its line.

    These halve the supervised loss, and the weight of the unlabeled crops rises over the whole budget.
    """

    ramp: float = as_in(SemiSupervisedSettings, "ramp", 1.0, source="UA-MT")
    momentum: float = parameter(0.99, help="momentum of the teacher", source="UA-MT", at_least=0, below=1)


class Taught(SemiSupervised):
    """A student whose momentum teacher predicts what unlabeled crops show."""

    settings: TaughtSettings

    def __init__(self, backbone: Backbone, plan: Plan, settings: TaughtSettings, classes: int) -> None:
        super().__init__(backbone, plan, settings, classes)
        self.teacher: Teacher[Segmenter] = Teacher(self.segmenter)

    @torch.no_grad()
    def taught(self, images: Tensor) -> Tensor:
        """The teacher's logits (B, classes, ...)."""
        return self.synchronized_teacher()(images).float()

    def synchronized_teacher(self) -> Segmenter:
        """The teacher's network, at first equal to the student: weights of a checkpoint came after both were made."""
        if not self.teacher.updates:
            self.teacher.follow(self.segmenter, 0.0)
        return self.teacher.network

    def after_step(self) -> None:
        self.teacher.follow(self.segmenter, self.settings.momentum)
