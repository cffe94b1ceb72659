"""The table of structures that other cases have and one lacks, in the Fine-tune section."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import qt
from slicer.i18n import tr as _

from ..plain_text import plain_tip
from ..workflows.missing_structures import MissingStructure, say_absent
from .followed_box import follow, show_entry
from .short_names import told_apart

_VOLUME, _SEGMENT, _MEANING = range(3)
_CHOICES = (False, True)


class MissingTable:
    """A row a case and structure; shown only while something is missing.

    Args:
        on_change: called when the user has decided.
    """

    def __init__(self, table: Any, label: Any, on_change: Callable[[], None]) -> None:
        self._table, self._label, self._on_change = table, label, on_change
        self._shown: list[MissingStructure] = []
        header = table.horizontalHeader()
        for column in (_VOLUME, _SEGMENT):
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(_MEANING, qt.QHeaderView.ResizeToContents)
        self.show([])

    def show(self, missing: Sequence[MissingStructure]) -> None:
        """Rows that stay keep their widgets, so that an open list does not close."""
        rows = [(m.case.volume_id, m.name) for m in missing]
        if rows != [(m.case.volume_id, m.name) for m in self._shown]:
            self._table.setRowCount(0)
            self._table.setRowCount(len(missing))
            for number in range(len(missing)):
                self._add(number)
        self._shown = list(missing)
        names = told_apart([entry.case.name for entry in missing])
        for number, entry in enumerate(missing):
            for column, text, whole in ((_VOLUME, names[number], entry.case.name), (_SEGMENT, entry.name, entry.name)):
                item = self._table.item(number, column)
                item.setText(text)
                item.setToolTip(plain_tip(whole))
            show_entry(self._table.cellWidget(number, _MEANING), _CHOICES.index(entry.absent))
        for widget in (self._table, self._label):
            widget.setVisible(bool(missing))

    def _add(self, number: int) -> None:
        for column in (_VOLUME, _SEGMENT):
            self._table.setItem(number, column, qt.QTableWidgetItem())
        box = qt.QComboBox()
        box.addItem(_("Not drawn: leave out"))
        box.addItem(_("Absent: teach as absent"))
        box.setItemData(0, _("It may be anywhere in what is not painted of this volume"), qt.Qt.ToolTipRole)
        box.setItemData(1, _("What is not painted of this volume is no such structure"), qt.Qt.ToolTipRole)
        follow(box, partial(self._choose, number))
        self._table.setCellWidget(number, _MEANING, box)

    def _choose(self, number: int, index: int) -> None:
        say_absent(self._shown[number], _CHOICES[index])
        self._on_change()
