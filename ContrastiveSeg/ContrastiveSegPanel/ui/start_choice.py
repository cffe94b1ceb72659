"""Which checkpoints to start from besides the chosen one, of the Fine-tune section: the best is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt

from ..plain_text import plain_tip
from ..workflows.session import Session
from .silent import silent


class StartChoice:
    """A checkbox that shows a list of the other checkpoints, to tick.

    Args:
        on_change: called when the user has ticked something else.
    """

    def __init__(self, session: Session, ui: Any, on_change: Callable[[], None]) -> None:
        self._session, self._box, self._table, self._on_change = session, ui.startsCheckBox, ui.startsTable, on_change
        self._paths: list[Path] = []
        self._ticked: list[str] = []
        ui.startsTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.startsTable.connect("cellChanged(int,int)", self._edited)
        ui.startsCheckBox.connect("toggled(bool)", self._changed)
        self.show()

    @property
    def ticked(self) -> list[str]:
        """File names of what is ticked, also of checkpoints that are not there now."""
        return list(self._ticked) if self._box.checked else []

    @property
    def starts(self) -> tuple[str, ...]:
        """The files of the checkpoints to start from as well."""
        return tuple(str(path) for path in self._paths if path.name in self.ticked)

    def load(self, ticked: list[str]) -> None:
        """Tick what a scene remembers."""
        self._ticked = [name for name in ticked if isinstance(name, str)]
        with silent(self._box):
            self._box.setChecked(bool(self._ticked))
        self._paths = []
        self.show()

    def show(self) -> None:
        """Show the checkpoints there are now, without the one that is chosen anyway."""
        chosen = self._session.checkpoint
        entries = [
            entry
            for entry in self._session.catalog.entries()
            if entry.card is not None and (chosen is None or entry.path != chosen.path)
        ]
        self._table.setVisible(self._box.checked)
        if [entry.path for entry in entries] == self._paths:
            return
        self._paths = [entry.path for entry in entries]
        with silent(self._table):
            self._table.setRowCount(len(entries))
            for row, entry in enumerate(entries):
                item = qt.QTableWidgetItem(entry.name)
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
                item.setCheckState(qt.Qt.Checked if entry.path.name in self._ticked else qt.Qt.Unchecked)
                item.setToolTip(plain_tip(entry.name))
                self._table.setItem(row, 0, item)

    def _edited(self, row: int, column: int) -> None:
        name, checked = self._paths[row].name, self._table.item(row, column).checkState() == qt.Qt.Checked
        self._ticked = [other for other in self._ticked if other != name] + ([name] if checked else [])
        self._on_change()

    def _changed(self, checked: bool) -> None:
        self.show()
        self._on_change()
