"""The buttons Undo and Redo of the section Segment; one of them is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.errors import InputError

from ..plain_text import plain_tip
from ..workflows.segment_results import SegmentResults
from ..workflows.session import Session


class UndoButtons:
    """Take the last click on Segment back, and bring it back.

    Args:
        on_done: called with what to say after either.
    """

    def __init__(self, session: Session, ui: Any, results: SegmentResults, on_done: Callable[[str], None]) -> None:
        self._session, self._ui, self._results, self._on_done = session, ui, results, on_done
        ui.undoButton.connect("clicked()", self._undo)
        ui.redoButton.connect("clicked()", self._redo)

    def show_state(self, busy: bool) -> None:
        """``busy``: volumes are being segmented."""
        results, ui = self._results, self._ui
        ui.undoButton.setVisible(results.undone is None)
        ui.redoButton.setVisible(results.undone is not None)
        ui.undoButton.setEnabled(results.last is not None and not busy)
        ui.redoButton.setEnabled(results.undone is not None and not busy)
        ui.undoButton.setToolTip(plain_tip(results.undo_tip))

    def _undo(self) -> None:
        last, results = self._results.last, self._results
        question = _("Segments were corrected since. Undo throws the corrections away. Undo anyway?")
        if last is None or (last.changes.edited_since and not self._session.confirm(question)):
            return
        results.last, results.undone = None, last
        self._do(last.changes.undo, _("Undone."), _("Not everything could be undone."))

    def _redo(self) -> None:
        undone, results = self._results.undone, self._results
        question = _("Segments were changed since. Redo throws the changes away. Redo anyway?")
        if undone is None or (undone.changes.edited_since and not self._session.confirm(question)):
            return

        def bring_back() -> None:
            try:
                undone.changes.redo()
            finally:
                results.add(undone)

        self._do(bring_back, _("Redone."), _("Not everything could be redone."))

    def _do(self, change: Callable[[], None], done: str, partly: str) -> None:
        try:
            change()
        except InputError as problem:
            self._session.report(problem)
            done = partly
        self._on_done(done)
