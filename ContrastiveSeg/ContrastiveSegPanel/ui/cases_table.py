"""The two tables of the Fine-tune section: the scene's volumes, and the structures in their segmentations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import qt
from slicer.i18n import tr as _

from ..mrml.region import regions
from ..plain_text import plain_tip
from ..workflows.cases import ROLES, UNLABELED, Case, Cases, Structure
from ..workflows.labeled_parts import PARTS, LabeledParts, part_words
from ..workflows.pairing import segmentations
from .followed_box import follow, show_entry
from .number_cell import number_cell
from .short_names import told_apart
from .silent import silent

_VOLUME, _SEGMENTATION, _ROLE, _DICE, _LABELED = range(5)
_NAME, _LEARN_AS, _COUNT = range(3)
_REGION_MEANING = _("The whole of this region; the volume around it is left out")


def role_text(role: str) -> str:
    """What a case is for, as its row says it."""
    return {
        "train": _("Train"),
        "unlabeled": _("Unlabeled"),
        "validation": _("Validation"),
        "ignore": _("Ignore"),
    }[role]


class CasesTable:
    """A row a volume; what the user chooses in it goes to ``cases`` and ``parts``."""

    def __init__(self, table: Any, cases: Cases, parts: LabeledParts) -> None:
        self._table, self._cases, self._parts = table, cases, parts
        self._shown: list[Case] = []
        #: What the boxes offer, and the ID of each entry ("" for none).
        self._names: list[str] = []
        self._ids: list[str] = []
        #: The Markups ROIs in which a volume can be labeled: (ID, name).
        self._regions: list[tuple[str, str]] = []
        # Slicer's tr takes 50 µs, and there are many rows.
        self._role_texts = {role: role_text(role) for role in ROLES}
        self._part_words = {part: part_words(part) for part in PARTS}
        header = table.horizontalHeader()
        for column in (_VOLUME, _SEGMENTATION):
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch)
        for column in (_ROLE, _DICE, _LABELED):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)

    def show(self, rows: Sequence[Case], dice: Mapping[str, float]) -> None:
        """``dice``: volume ID -> Dice. Rows that stay keep their widgets, so that an open list does not close."""
        regions_now = [(node.GetID(), node.GetName()) for node in regions()]
        if [r.volume_id for r in rows] != [r.volume_id for r in self._shown] or regions_now != self._regions:
            self._table.setRowCount(0)
            self._table.setRowCount(len(rows))
            self._names, self._regions = [], regions_now
            for number, row in enumerate(rows):
                self._add(number, row)
        nodes = segmentations()
        self._ids = ["", *(node.GetID() for node in nodes)]
        names = [_("None"), *(node.GetName() for node in nodes)]
        if names != self._names:
            self._names = names
            short = [names[0], *told_apart(names[1:])]
            for number in range(len(rows)):
                box = self._table.cellWidget(number, _SEGMENTATION)
                with silent(box):
                    box.clear()
                    box.addItems(short)
                for index, name in enumerate(names):
                    box.setItemData(index, plain_tip(name), qt.Qt.ToolTipRole)
        for number, (row, name) in enumerate(zip(rows, told_apart([row.name for row in rows]), strict=True)):
            self._update(number, row, name, dice.get(row.volume_id))
        # Otherwise it would only take room from the names.
        self._table.setColumnHidden(_DICE, not dice)
        self._shown = list(rows)

    def _add(self, number: int, row: Case) -> None:
        self._table.setItem(number, _VOLUME, qt.QTableWidgetItem())
        self._table.setItem(number, _DICE, number_cell(""))
        segmentation = _combo_box(6)
        follow(segmentation, partial(self._choose_segmentation, row.volume_id))
        self._table.setCellWidget(number, _SEGMENTATION, segmentation)
        role = _combo_box(5)
        for name, text in self._role_texts.items():
            role.addItem(text, name)
        follow(role, partial(self._choose_role, row.volume_id, role))
        self._table.setCellWidget(number, _ROLE, role)
        part = _combo_box(3)
        for index, (word, (name, meaning)) in enumerate(self._part_words.items()):
            part.addItem(name, word)
            part.setItemData(index, meaning, qt.Qt.ToolTipRole)
        for identifier, name in self._regions:
            part.addItem(_("In {region}").format(region=name), identifier)
            part.setItemData(part.count - 1, _REGION_MEANING, qt.Qt.ToolTipRole)
        follow(part, partial(self._choose_part, row.volume_id, part))
        self._table.setCellWidget(number, _LABELED, part)

    def _update(self, number: int, row: Case, name: str, dice: float | None) -> None:
        volume = self._table.item(number, _VOLUME)
        volume.setText(name)
        volume.setToolTip(plain_tip(row.name))
        self._table.item(number, _DICE).setText("" if dice is None else f"{dice:.3f}")
        segmentation = self._table.cellWidget(number, _SEGMENTATION)
        show_entry(segmentation, self._ids.index(row.segmentation_id or ""))
        segmentation.setToolTip(plain_tip(self._names[segmentation.currentIndex]))
        role = self._table.cellWidget(number, _ROLE)
        show_entry(role, ROLES.index(row.role))
        role.setToolTip(plain_tip(row.note))
        part = self._table.cellWidget(number, _LABELED)
        part.setEnabled(row.labeled)
        if not row.labeled:
            show_entry(part, -1)
            part.setToolTip("")
            return
        labeled = self._parts.of(row)
        offered = [*PARTS, *(identifier for identifier, _name in self._regions)]
        chosen = labeled.region or labeled.part
        show_entry(part, offered.index(chosen) if chosen in offered else -1)
        # The box is too narrow for most names of regions.
        meaning = f"{part.currentText}. {_REGION_MEANING}" if labeled.region else self._part_words[labeled.part][1]
        guess = _("Guessed. {why}").format(why=labeled.why) if labeled.guessed else ""
        part.setToolTip(plain_tip("\n".join(filter(None, (meaning, guess.strip())))))

    def _choose_segmentation(self, volume_id: str, index: int) -> None:
        if self._ids[index]:
            self._cases.set_segmentation(volume_id, self._ids[index])
        else:
            self._cases.set_role(volume_id, UNLABELED)
        # A choice that changes nothing changes the box itself.
        self._cases.changed.emit()

    def _choose_role(self, volume_id: str, box: Any, index: int) -> None:
        self._cases.set_role(volume_id, box.itemData(index))
        self._cases.changed.emit()

    def _choose_part(self, volume_id: str, box: Any, index: int) -> None:
        case = next((row for row in self._shown if row.volume_id == volume_id), None)
        if case is not None:
            self._parts.say(case, box.itemData(index))
        self._cases.changed.emit()


class StructuresTable:
    """A row a segment name, to tick and to rename."""

    def __init__(self, table: Any, cases: Cases) -> None:
        self._table, self._cases = table, cases
        self._shown: list[Structure] = []
        #: What was typed may come to nothing; then the cells have to be written again.
        self._stale = False
        header = table.horizontalHeader()
        header.setSectionResizeMode(_NAME, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(_LEARN_AS, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(_COUNT, qt.QHeaderView.ResizeToContents)
        table.connect("cellChanged(int,int)", self._edited)

    def show(self, structures: Sequence[Structure]) -> None:
        if list(structures) == self._shown and not self._stale:
            return
        self._shown, self._stale = list(structures), False
        with silent(self._table):
            self._table.setRowCount(len(structures))
            for number, structure in enumerate(structures):
                self._fill(number, structure)

    def _fill(self, number: int, structure: Structure) -> None:
        name = qt.QTableWidgetItem(structure.name)
        name.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
        name.setCheckState(qt.Qt.Checked if structure.learn else qt.Qt.Unchecked)
        swatch = qt.QPixmap(12, 12)
        swatch.fill(qt.QColor(*structure.color))
        name.setIcon(qt.QIcon(swatch))
        count = number_cell(str(structure.cases))
        count.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
        self._table.setItem(number, _NAME, name)
        self._table.setItem(number, _LEARN_AS, qt.QTableWidgetItem(structure.learn_as))
        self._table.setItem(number, _COUNT, count)

    def _edited(self, row: int, column: int) -> None:
        structure, item = self._shown[row], self._table.item(row, column)
        self._stale = True
        if column == _NAME:
            self._cases.set_learn(structure.key, item.checkState() == qt.Qt.Checked)
        elif column == _LEARN_AS:
            self._cases.set_learn_as(structure.key, item.text())


def _combo_box(letters: int) -> Any:
    """A box for so many wide letters: for the words of its column, of which the names need the width more."""
    box = qt.QComboBox()
    box.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(letters)
    box.view().setTextElideMode(qt.Qt.ElideMiddle)
    return box
