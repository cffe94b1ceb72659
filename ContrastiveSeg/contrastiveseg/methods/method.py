"""What a method is: the class that pre-training and fine-tuning minimize.

A method is one file of this folder, named like the method. It holds a frozen dataclass of hyper-parameters, each
described with its source (:mod:`..parameters`), and a :class:`Method`, registered by
:func:`.registry.register_method`. Nothing else in the engine names a method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from ..data.augment_intensity import IntensitySettings, augment_intensity
from ..data.batch import Batch
from ..data.sampling import PatchSource
from ..networks.backbone import Backbone
from ..networks.segmenter import Segmenter
from ..parameters import Parameters, parameter
from ..planning.patch import PatchRule
from ..planning.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Optimization(Parameters):
    """How a method is minimized; each method states its own optimizer, learning rate, weight decay and schedule."""

    optimizer: Literal["sgd", "adamw"] = parameter(help="sgd with momentum (not Nesterov's), or adamw")
    learning_rate: float = parameter(help="peak learning rate", at_least=0)
    transferred_rate: float = parameter(
        1.0, help="factor on the learning rate of weights that come from a checkpoint", at_least=0
    )
    momentum: float = parameter(0.9, help="momentum of sgd", at_least=0, below=1)
    weight_decay: float = parameter(help="weight decay", at_least=0)
    schedule: Literal["cosine", "poly"] = parameter(
        help="decay of the rate over the budget to 0: by a cosine, or polynomial with power 0.9"
    )
    warm_up: float = parameter(
        0.0, help="part in which the rate rises linearly from 0", unit="share of the budget", at_least=0, at_most=1
    )
    clip: float = parameter(12.0, help="largest norm of the gradient", above=0)
    ema: float = parameter(0.0, help="decay of the averaged weights that are kept, 0 for none", at_least=0, below=1)


def margin() -> Any:
    """The parameter ``margin`` of methods that move the crops they draw."""
    return parameter(
        1.15,
        help="size of the crops that are drawn, so that moving them brings in little padding",
        unit="times the patch",
        source="[A]",
        at_least=1,
    )


def with_margin(patch: Sequence[int], margin: float) -> list[int]:
    """Voxels of the crops to draw for a ``patch``, ``margin`` times as large; an axis of one voxel stays that."""
    return [math.ceil(n * margin) if n > 1 else 1 for n in patch]


class Method(nn.Module):
    """Makes its views from a batch and returns named loss terms; owns its heads, teacher and queue.

    Being a module, its ``state_dict`` is all that resuming needs, and its parameters are what the optimizer trains.

    Attributes:
        settings: the frozen dataclass of hyper-parameters; its type is ``Settings``.
        backbone: the network being trained, the same module as in fine-tuning and inference.
        progress: how much of the budget is used, from 0 to 1; the loop sets it before each step, so that ramps and
            stages fit a budget of any length.
        steps_done: the number of steps before this one; the loop sets it too.

    >>> import contrastiveseg as cs
    >>> from contrastiveseg.methods.registry import find_method
    >>> method = find_method("pretrain", "macl")
    >>> issubclass(method, cs.Method), method.uses_labels
    (True, False)
    """

    progress: float = 0.0
    steps_done: int = 0

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
    rates: Mapping[str, float] = MappingProxyType({})

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
        if self.plan.has_ct:
            how = replace(how, bias=replace(how.bias, probability=0.0), curve=replace(how.curve, probability=0.0))
        return augment_intensity(images, how)

    def after_step(self) -> None:
        """Called after each optimizer step: momentum teachers and queues move here."""

    @property
    def interventions(self) -> tuple[str, ...]:
        """What the method changed in its own course so far, as sentences: logged as they come and kept in the card."""
        return ()

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
    #: What to know before it is chosen, a sentence that panel and terminal show.
    advice: ClassVar[str] = ""
    #: Names of the structures, class 1 first, for sentences.
    class_names: tuple[str, ...] = ()

    def __init__(self, backbone: Backbone, plan: Plan, settings: Any, classes: int, auxiliary: int = 0) -> None:
        super().__init__(backbone, plan, settings)
        self.segmenter = Segmenter(backbone, classes, auxiliary)
        # The segmenter holds the backbone; a second registration would double the state dict.
        self.__dict__["backbone"] = self._modules.pop("backbone")

    def set_prior(self, frequencies: Sequence[float]) -> None:
        """Let every segmenter of the method begin with how often each class occurs, background first."""
        for module in self.modules():
            if isinstance(module, Segmenter):
                module.set_prior(frequencies)

    @property
    def transferred(self) -> tuple[str, ...]:
        return ("encoder", "decoder")
