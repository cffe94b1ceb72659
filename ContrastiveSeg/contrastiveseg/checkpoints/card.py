"""The card of a checkpoint: the metadata in the header of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from ..networks.spec import NetworkSpec
from ..planning.plan import MOST_OVERLAP, Plan, is_orientation
from .familiarity import Familiarity
from .starters import as_typed

#: Raised whenever an older reader would misunderstand the card.
SCHEMA = 3

#: See :class:`Card`.
Decision = Literal["largest", "last"]


@dataclass(frozen=True)
class Label:
    """A segment: its voxel value, and how to show and code it (``terminology`` is Slicer's serialized entry)."""

    value: int
    name: str
    color: tuple[int, int, int] | None = None
    terminology: str | None = None


@dataclass(frozen=True)
class TrainingCase:
    """A case that training saw.

    Attributes:
        name: a running number, or its name where that was to be kept.
        digest, name_hash: of its image file(s)' content and of its name, salted (:mod:`.anonymity`). Where the
            provenance has no salt, the plain SHA-256 and "", as in the first versions.

    Of a label that was used: the share of the voxels that it labels, and the values that were looked for, None for all.
    """

    name: str
    digest: str
    label_used: bool
    labeled: float = 1.0
    structures: tuple[int, ...] | None = None
    name_hash: str = ""


@dataclass(frozen=True)
class Provenance:
    """Where the weights come from.

    Attributes:
        base: SHA-256 of the checkpoint training started from, None from scratch.
        base_method: that checkpoint's method.
        kept: which weights these are: "best" validated, "average" over the steps, or "last".
        interventions: what was changed during the training, as a structure was being missed.
        optimization: optimizer, learning rates and their schedule.
        cases: what was trained on, and before that on with its labels. Large pre-training sets list the first
            thousand, or all with labels; ``case_count`` is exact. salt: of their hashes.
        steps, seed, minutes: the run. scores: e.g. {"validation_dice": 0.91}.
        created: ISO date. software: name and version.
        license: of the weights, with that of those they were made from. citation: papers to cite.
        sources: the checkpoints and files that they were made from, the first one first.
    """

    base: str | None = None
    base_method: str | None = None
    cases: tuple[TrainingCase, ...] = ()
    case_count: int = 0
    steps: int = 0
    seed: int = 0
    minutes: float = 0.0
    kept: str = ""
    interventions: tuple[str, ...] = ()
    optimization: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    created: str = ""
    software: str = ""
    license: str = ""
    citation: str = ""
    sources: tuple[str, ...] = ()
    salt: str = ""

    @property
    def labeled_cases(self) -> tuple[TrainingCase, ...]:
        """The listed cases whose label was used."""
        return tuple(case for case in self.cases if case.label_used)


@dataclass(frozen=True)
class Card:
    """A checkpoint's metadata.

    Attributes:
        kind: "pretrained" (backbone only, to be fine-tuned) or "segmenter" (backbone and head, ready to segment).
        method, settings: what it was trained with.
        network, plan: rebuild the network and prepare its input.
        labels: segments in the order of the head's classes 1..n (class 0 is background); empty when pre-trained.
        one_piece: values of those that were in one piece in every training case, see :mod:`.segmentation.one_piece`.
        transferred: the backbone's sub-modules that were trained and are worth loading.
        decision: how a voxel's class follows from the logits. "largest": the one with the largest. "last": of the
            classes 1..n whose logit is above 0 the last one, else the background; nnU-Net's regions, which overlap.
        familiarity: what its labeled cases look like to it; None where that is not known, as in checkpoints that are
            only pre-trained, imported or of earlier versions.
        checksum: of the weights, by which damage is noticed; "" where there is none, as in those of earlier versions.

    >>> import contrastiveseg as cs
    >>> card = cs.inspect("organs.safetensors")
    >>> card.kind, [label.value for label in card.labels]
    ('segmenter', [1, 2, 3])
    """

    kind: Literal["pretrained", "segmenter"]
    method: str
    network: NetworkSpec
    plan: Plan
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()
    one_piece: tuple[int, ...] = ()
    transferred: tuple[str, ...] = ("encoder", "decoder")
    decision: Decision = "largest"
    familiarity: Familiarity | None = None
    provenance: Provenance = field(default_factory=Provenance)
    checksum: str = ""
    schema: int = SCHEMA


def check_card(card: Card, where: str) -> None:
    """Refuse a card with impossible values, or with values that contradict each other.

    Raises:
        InputError: there are such values; ``where`` names the card in the message.
    """
    plan, values = card.plan, [label.value for label in card.labels]
    conventions = plan.conventions
    for holds, words in (
        (min(*plan.spacing, *(plan.volume_spacing or ())) > 0, "plan.spacing must be above 0"),
        (min(plan.patch) >= 1, "plan.patch must be 1 or more"),
        (0 <= plan.slice_axis <= 2, "plan.slice_axis must be 0, 1 or 2"),
        (is_orientation(conventions.orientation), "plan.conventions.orientation must be stored, or as LPS or RAS"),
        (0 <= conventions.overlap <= MOST_OVERLAP, f"plan.conventions.overlap must be from 0 to {MOST_OVERLAP}"),
        (
            set(conventions.mirrored or ()) <= set(range(plan.dimensions)),
            "plan.conventions.mirrored names an axis that the network does not have",
        ),
        (len(plan.channels) > 0, "plan.channels is empty"),
        (plan.dimensions == card.network.dimensions, "plan and network differ in their dimensions"),
        (len(plan.channels) == card.network.in_channels, "plan and network differ in their number of channels"),
        (all(c.normalization.low <= c.normalization.high for c in plan.channels), "a channel's low is above its high"),
        (all(0 < value < 2**16 for value in values), "label values must be 1 to 65535"),
        (len(values) == len(set(values)), "two labels have the same value"),
        (len(values) <= 255, "there can be at most 255 labels"),
        (set(card.one_piece) <= set(values), "one_piece names a value that no label has"),
        (card.familiarity is None or _is_sound(card.familiarity), "familiarity needs levels with a spread above 0"),
    ):
        if not holds:
            raise InputError(f"{where}: {words}. The file is damaged or was changed by hand; copy it again.")


def check_segments(card: Card, path: Path) -> None:
    """Refuse a checkpoint that cannot segment, by the ``card`` of the file at ``path``.

    Raises:
        InputError: it was only pre-trained.
    """
    if card.kind != "segmenter":
        typed = as_typed(path)
        raise InputError(
            f"{typed} was only pre-trained ({card.method}) and knows no labels yet. Fine-tune it first: "
            f"contrastiveseg finetune --checkpoint {typed} --images ... --labels ..."
        )


def _is_sound(familiarity: Familiarity) -> bool:
    levels, spread = familiarity.center, familiarity.spread
    return familiarity.cases > 0 and 0 < len(levels) == len(spread) and all(levels) and min(spread) > 0
