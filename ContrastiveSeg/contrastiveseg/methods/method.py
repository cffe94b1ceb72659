"""What a method is: the class that pre-training and fine-tuning minimize.

A method is one file of this folder, named like the method. It holds a frozen dataclass of hyper-parameters (each with
its source) and a :class:`Method`, registered by :func:`.registry.register_method`. Nothing else in the engine names a
method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from ..data.batch import Batch
from ..data.sampling import PatchSource
from ..networks.backbone import Backbone
from ..networks.segmenter import Segmenter
from ..planning.patch import PatchRule
from ..planning.plan import Plan
from ..volumes.augment import IntensitySettings, intensity


@dataclass(frozen=True)
class Optimization:
    """How a method wants to be minimized.

    Attributes:
        optimizer: "sgd" (Nesterov-free momentum) or "adamw".
        learning_rate: peak rate. transferred_rate: factor on it for weights that come from a checkpoint.
        schedule: "cosine" or "poly" (power 0.9) decay over the budget, down to ``floor`` times the peak.
        warm_up: share of the budget in which the rate rises linearly from 0.
        clip: largest norm of the gradient. ema: decay of the averaged weights that are kept, 0 for none.
    """

    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = 2e-3
    transferred_rate: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-5
    schedule: Literal["cosine", "poly"] = "cosine"
    floor: float = 0.0
    warm_up: float = 0.0
    clip: float = 12.0
    ema: float = 0.0


class Method(nn.Module):
    """Makes its views from a batch and returns named loss terms; owns its heads, teacher and queue.

    Being a module, its ``state_dict`` is all that resuming needs, and its parameters are what the optimizer trains.

    Attributes:
        settings: the frozen dataclass of hyper-parameters; its type is ``Settings``.
        backbone: the network being trained, the same module as in fine-tuning and inference.
        progress: how much of the budget is used, from 0 to 1; the loop sets it before each step, so that ramps and
            stages fit a budget of any length.
    """

    progress: float = 0.0

    Settings: ClassVar[type]
    #: How to minimize it; a job may override single values.
    optimization: ClassVar[Optimization]
    #: A sentence for ``inspect`` and the panel: what the method is, and how faithful to its paper.
    description: ClassVar[str]
    #: The paper, for the checkpoint's card.
    citation: ClassVar[str]
    #: In pre-training: whether it learns from labels too, where volumes have some.
    uses_labels: ClassVar[bool] = False
    #: Factors on the learning rate of the parameters whose names begin so.
    rates: ClassVar[Mapping[str, float]] = MappingProxyType({})

    def __init__(self, backbone: Backbone, plan: Plan, settings: Any) -> None:
        super().__init__()
        self.backbone, self.plan, self.settings = backbone, plan, settings

    @classmethod
    def patch_rule(cls, backbone: Backbone, settings: Any) -> PatchRule:
        """What this method asks of the training patch; by default what the network does."""
        return PatchRule(backbone.total_stride)

    def draw(self, source: PatchSource, random: np.random.Generator) -> Batch:
        """The crops one step needs, on the CPU, from ``source``; all randomness comes from ``random``."""
        raise NotImplementedError

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms of one training step; "loss" is the one to minimize, the others are for the curves.

        Called on the training device under the loop's autocast, with the global torch generator seeded for this step.
        """
        raise NotImplementedError

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """:meth:`step`, under the name that distributed training hooks into."""
        return self.step(batch)

    def augment_intensity(self, images: Tensor) -> Tensor:
        """``images`` (B, C, ...) in other intensities, as the settings' ``intensity`` says.

        CT gets neither bias fields nor curves: Hounsfield units mean the same everywhere.
        """
        how: IntensitySettings = self.settings.intensity
        if any(channel.modality == "CT" for channel in self.plan.channels):
            how = replace(how, bias=replace(how.bias, probability=0.0), curve=replace(how.curve, probability=0.0))
        return intensity(images, how)

    def after_step(self) -> None:
        """Called after each optimizer step: momentum teachers and queues move here."""

    @property
    def transferred(self) -> tuple[str, ...]:
        """Names of the backbone's sub-modules this method trains, e.g. ("encoder", "decoder.0")."""
        raise NotImplementedError


class SegmentationMethod(Method):
    """A method of fine-tuning: it owns a :class:`Segmenter` of ``classes`` (background included).

    ``auxiliary`` lower decoder levels get a head of their own for deep supervision.
    """

    #: Whether it learns from volumes without labels too (``PatchSource.unlabeled``).
    uses_unlabeled: ClassVar[bool] = False

    def __init__(self, backbone: Backbone, plan: Plan, settings: Any, classes: int, auxiliary: int = 0) -> None:
        super().__init__(backbone, plan, settings)
        self.segmenter = Segmenter(backbone, classes, auxiliary)
        # The segmenter holds the backbone; a second registration would double the state dict.
        self.__dict__["backbone"] = self._modules.pop("backbone")

    @property
    def transferred(self) -> tuple[str, ...]:
        return ("encoder", "decoder")
