"""Learn from corrections: the queue of results to correct, and the button Learn again, as a part of Fine-tune."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..mrml.segment_status import Status
from ..plain_text import plain_tip
from ..workflows.cases import IGNORE, TRAIN, VALIDATION, Case, Structure
from ..workflows.correction_scores import CorrectedCase
from ..workflows.corrections import Correction, correction_of, queue_words, set_status, status_words
from ..workflows.display import show_case
from ..workflows.learning_again import checkpoint_to_go_on_from, what_is_missing
from ..workflows.session import Session
from .correct_button import CorrectButton
from .followed_box import follow, show_entry
from .short_names import told_apart

_VOLUME, _STATUS = range(2)


class LearnAgain:
    """A row a result, with its status to read and to set.

    Args:
        start: called when the user wants the training; the checkpoint to go on from is chosen by then.
        on_status: called when the user has given a result another status.
    """

    def __init__(self, session: Session, ui: Any, start: Callable[[], None], on_status: Callable[[], None]) -> None:
        self._session, self._ui, self._start, self._on_status = session, ui, start, on_status
        self._queue: list[Correction] = []
        header = ui.correctionsTable.horizontalHeader()
        header.setSectionResizeMode(_VOLUME, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(_STATUS, qt.QHeaderView.ResizeToContents)
        self._correct = CorrectButton(ui.correctChosenButton, self._chosen)
        ui.correctionsTable.connect("cellClicked(int,int)", self._show)
        ui.learnAgainButton.connect("clicked()", self._learn)

    @property
    def taught(self) -> list[str]:
        """IDs of the volumes whose corrected segments are learned from."""
        return [correction.volume_id for correction in self._queue if correction.taught and correction.completed]

    def show(self, cases: Sequence[Case], structures: Sequence[Structure], busy: bool) -> None:
        """``structures``: those to learn. ``busy``: a training runs, or nothing can be computed."""
        queue = [
            found
            for case in cases
            if case.segmentation_id
            and case.role not in (IGNORE, VALIDATION)
            and (found := correction_of(*_nodes(case), taught=case.role == TRAIN))
        ]
        self._fill(queue)
        entry, sentences = checkpoint_to_go_on_from(self._session), [queue_words(queue)]
        if entry is not None and self.taught:
            sentences += what_is_missing(entry, cases, structures)
        self._ui.correctionsHint.setText(" ".join(sentences))
        obstacle = ""
        if not self.taught:
            obstacle = _("Correct a result, and set its status to Completed.")
        elif entry is None:
            obstacle = _("Choose a checkpoint to start from in the section Model.")
        tip = _("Fine-tune {name} with the corrected results and the other cases to train on, in the section's budget")
        self._ui.learnAgainButton.setEnabled(not obstacle and not busy)
        self._ui.learnAgainButton.setToolTip(
            plain_tip(obstacle or tip.format(name=entry.name if entry is not None else ""))
        )
        self._correct.show_state()

    def _fill(self, queue: list[Correction]) -> None:
        """Rows that stay keep their widgets, so that an open list does not close."""
        table = self._ui.correctionsTable
        if [c.segmentation_id for c in queue] != [c.segmentation_id for c in self._queue]:
            table.setRowCount(0)
            table.setRowCount(len(queue))
            for row in range(len(queue)):
                table.setItem(row, _VOLUME, qt.QTableWidgetItem())
                box = qt.QComboBox()
                for status in Status:
                    box.addItem(status_words(status))
                follow(box, partial(self._set_status, row))
                table.setCellWidget(row, _STATUS, box)
        self._queue = queue
        names = told_apart([correction.name for correction in queue])
        for row, correction in enumerate(queue):
            table.item(row, _VOLUME).setText(names[row])
            table.item(row, _VOLUME).setToolTip(plain_tip(correction.name))
            box = table.cellWidget(row, _STATUS)
            show_entry(box, int(correction.status))
            text = _("{completed} of {segments} segments are completed and learned from")
            box.setToolTip(plain_tip(text.format(completed=correction.completed, segments=correction.segments)))
        table.setVisible(bool(queue))

    def _chosen(self) -> tuple[Any, Any] | None:
        row = self._ui.correctionsTable.currentRow()
        if not 0 <= row < len(self._queue):
            return None
        chosen = self._queue[row]
        nodes = [slicer.mrmlScene.GetNodeByID(i) for i in (chosen.segmentation_id, chosen.volume_id)]
        return None if None in nodes else (nodes[0], nodes[1])

    def _show(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            show_case(chosen[1])
        self._correct.show_state()

    def _set_status(self, row: int, index: int) -> None:
        set_status(self._queue[row], Status(index))
        self._on_status()

    def _learn(self) -> None:
        entry = checkpoint_to_go_on_from(self._session)
        if entry is not None and entry != self._session.checkpoint:
            self._session.set_checkpoint(entry.path)
        self._start()


def corrections_html(scores: Sequence[CorrectedCase], held_out: bool) -> str:
    """What :class:`.CorrectionScores` found, as rich text; "" without scores.

    Args:
        held_out: whether other volumes were held out, which say how good the checkpoint is on new ones.
    """
    rows = []
    for case in scores:
        volume = slicer.mrmlScene.GetNodeByID(case.volume_id)
        if volume is not None:
            cells = "".join(f"<td align='right'>{_number(dice)}</td>" for dice in (case.before, case.after))
            rows.append(f"<tr><td>{html.escape(volume.GetName())}</td>{cells}</tr>")
    if not rows:
        return ""
    head = "".join(f"<th align='right'>&nbsp;&nbsp;{name}</th>" for name in (_("Before"), _("After")))
    table = f"<tr><th align='left'>{_('Volume')}</th>{head}</tr>{''.join(rows)}"
    sentences = [
        _(
            "Before is too high: the corrections began with what a checkpoint made. After has learned from these very "
            "volumes. Neither says how good it is on new ones."
        )
    ]
    if not held_out:
        sentences.append(_("Give a volume that is not learned from the role Validation to know that."))
    return (
        f"<p>{_('Dice on the corrected volumes')}</p>"
        f"<table width='100%' cellspacing='0' cellpadding='2'>{table}</table>"
        + "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
    )


def _nodes(case: Case) -> tuple[Any, Any]:
    return slicer.mrmlScene.GetNodeByID(case.volume_id), slicer.mrmlScene.GetNodeByID(case.segmentation_id)


def _number(dice: float | None) -> str:
    return "-" if dice is None else f"{dice:.3f}"
