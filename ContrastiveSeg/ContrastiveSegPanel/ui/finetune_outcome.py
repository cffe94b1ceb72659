"""What came of a fine-tuning, in the Fine-tune section: scores of the volumes held out, and of corrected ones."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.results import FinetuneResult

from ..workflows.cases import Case, Structure
from ..workflows.correction_scores import CorrectedCase, CorrectionScores
from ..workflows.session import Session
from .device_box import chosen_device
from .held_out_scores import held_out_dice, held_out_html
from .learn_again import corrections_html


@dataclass(frozen=True)
class Corrected:
    """Corrected cases that a training learns from, what they teach, and the checkpoint it goes on from."""

    cases: list[Case]
    structures: list[Structure]
    checkpoint: Path


#: Of a training that learns from no corrections.
NONE_CORRECTED = Corrected([], [], Path())


@dataclass(frozen=True)
class Source:
    """What a training learns from: name of a case -> ID of its volume, cases whose reference its checkpoint had made,
    the number of the scene, and what was corrected."""

    volume_ids: dict[str, str]
    circular: list[str]
    scene: int
    corrected: Corrected


class FinetuneOutcome:
    """The card with the scores of the last training, while its scene is open.

    Args:
        on_change: called when the card shows something else.

    Attributes:
        scene_number: of the scene that is open; each has another.
        dice: volume ID -> Dice, of the volumes that the last training held out.
        volume_ids: name of a case of the last training -> ID of its volume, while its scene is open.
        scores: of what it has learned again.
    """

    def __init__(self, session: Session, ui: Any, on_change: Callable[[], None]) -> None:
        self._session, self._ui, self._on_change = session, ui, on_change
        self.scores = CorrectionScores(session)
        self.scene_number = 0
        self.dice: dict[str, float] = {}
        self.volume_ids: dict[str, str] = {}
        self._source = Source({}, [], -1, NONE_CORRECTED)
        self._held_out = ""
        self._put("")

    @property
    def text(self) -> str:
        """What the card shows, as rich text; "" where it shows nothing."""
        return str(self._ui.outcomeLabel.text) if self._in_scene else ""

    @property
    def _in_scene(self) -> bool:
        """Whether the scene that the last training learns from is still open."""
        return self._source.scene == self.scene_number

    def leave_scene(self) -> None:
        """The scene is closed. Volumes of the next one may have the same IDs."""
        self.volume_ids, self.dice = {}, {}
        self.scene_number += 1
        self.scores.cancel()
        self._put("")

    def begin(self, source: Source) -> None:
        """A training begins; its scene may have been closed while it waited."""
        self._source = source
        self.volume_ids = source.volume_ids if self._in_scene else {}
        self._held_out = ""
        self._put("")

    def show(self, result: FinetuneResult) -> None:
        """Show the scores of a training that is done."""
        scored = held_out_dice(result)
        self.dice = {self.volume_ids[name]: dice for name, dice in scored.items() if name in self.volume_ids}
        nodes = {name: slicer.mrmlScene.GetNodeByID(identifier) for name, identifier in self.volume_ids.items()}
        names = {name: node.GetName() for name, node in nodes.items() if node is not None}
        self._held_out = held_out_html(result, names, self._source.circular)
        self._put(self._held_out)
        if not self._in_scene:
            self._session.log(", ".join(f"{name}: Dice {dice:.3f}" for name, dice in scored.items()))

    def score_corrected(self, made: Path) -> None:
        """Score the checkpoint ``made`` on the corrected cases that it has learned from, where it has."""
        if not self._in_scene:
            return
        corrected = self._source.corrected
        still = [case for case in corrected.cases if slicer.mrmlScene.GetNodeByID(case.volume_id) is not None]
        entries = {entry.path: entry for entry in self._session.catalog.entries()}
        card = entries[made].card if made in entries else None
        segmented = corrected.checkpoint in entries and entries[corrected.checkpoint].segments
        if still and segmented and card is not None and not self.scores.task.busy:
            checkpoints, device = (corrected.checkpoint, made), chosen_device(self._session)
            self.scores.start(still, corrected.structures, checkpoints, card, device, self.show_corrected)
            scoring = _("Scoring the corrected volumes with both checkpoints…")
            self._put(f"{self._held_out}<p>{html.escape(scoring)}</p>")

    def show_corrected(self, scores: list[CorrectedCase]) -> None:
        """Add the scores of corrected cases to what is shown."""
        self._put(self._held_out + corrections_html(scores, held_out=bool(self._held_out)))

    def _put(self, text: str) -> None:
        self._ui.outcomeLabel.setText(text)
        self._ui.outcomeCard.setVisible(bool(text) and self._in_scene)
        self._on_change()
