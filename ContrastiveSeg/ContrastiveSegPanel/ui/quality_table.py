"""The segmentations of the last batch by doubt, to click on and to export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from contrastiveseg.errors import ContrastiveSegError
from contrastiveseg.results import QualityCase

from .. import settings
from ..plain_text import plain_tip
from ..workflows.quality import Looked, forget
from ..workflows.session import Session
from .number_cell import number_cell
from .save_dialog import file_to_write
from .short_names import told_apart

_CASE, _DOUBT, _UNCERTAINTY, _DISTANCE, _WHY = range(5)
_NUMBERS = (_DOUBT, _UNCERTAINTY, _DISTANCE)


class QualityTable:
    """A row a case, the most doubtful first; the tool tip of a row has volumes and pieces of all structures."""

    def __init__(self, session: Session, ui: Any) -> None:
        self._session, self._ui = session, ui
        self._looked: Looked | None = None
        header = ui.qualityTable.horizontalHeader()
        header.setSectionResizeMode(_CASE, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(_WHY, qt.QHeaderView.Stretch)
        for column in _NUMBERS:
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        ui.qualityTable.connect("cellClicked(int,int)", self._show_place)
        ui.qualityTable.connect("cellActivated(int,int)", self._show_place)
        ui.exportQualityButton.connect("clicked()", self._export)
        self.show(None)

    def show(self, looked: Looked | None) -> None:
        """Show a batch, or none."""
        forget(self._looked)
        self._looked, ui = looked, self._ui
        cases = looked.named if looked is not None else ()
        ui.qualityTable.setRowCount(len(cases))
        names = told_apart([case.name for case in cases])
        for row, case in enumerate(cases):
            uncertainty = "" if case.uncertainty is None else f"{case.uncertainty:.3f}"
            distance = "" if case.distance is None else f"{case.distance:.1f}"
            texts = (names[row], f"{case.doubt:.2f}", uncertainty, distance, "; ".join(case.reasons) or _measures(case))
            for column, text in enumerate(texts):
                item = number_cell(text) if column in _NUMBERS else qt.QTableWidgetItem(text)
                tips = {_CASE: (case.name, _measures(case)), _WHY: (case.name, text, _measures(case))}
                item.setToolTip(plain_tip("\n".join(tips.get(column, (text,)))))
                ui.qualityTable.setItem(row, column, item)
        # Older checkpoints know no distance, and without maps there is no uncertainty; the names need the room.
        ui.qualityTable.setColumnHidden(_DISTANCE, all(case.distance is None for case in cases))
        ui.qualityTable.setColumnHidden(_UNCERTAINTY, all(case.uncertainty is None for case in cases))
        for widget in (ui.qualityTable, ui.qualityHint, ui.qualityNamesCheckBox, ui.exportQualityButton):
            widget.setVisible(looked is not None)
        if looked is not None:
            hint = _("{batch}, the most doubtful first. Click one to see the place to look at.")
            ui.qualityHint.setText(hint.format(batch=looked.title))

    def _show_place(self, row: int) -> None:
        if self._looked is None:
            return
        try:
            self._looked.show(self._looked.cases[row])
        except ContrastiveSegError as problem:
            self._session.report(problem)

    def _export(self) -> None:
        if self._looked is None:
            return
        filters = f"{_('Page with pictures')} (*.html);;{_('Comma-separated values')} (*.csv)"
        proposed = Path(settings.text("ExportFolder")) / "quality.html"
        path = file_to_write(self._session, _("Export the table"), proposed, filters)
        if path is None:
            return
        try:
            self._looked.export(path, self._ui.qualityNamesCheckBox.checked)
        except (ContrastiveSegError, OSError) as problem:
            self._session.report(problem)
            return
        settings.set_text("ExportFolder", str(path.parent))
        self._session.log(_("Written to {path}.").format(path=path))


def _measures(case: QualityCase) -> str:
    """Volume and pieces of every structure, in words."""
    one, several = _("{name} {ml:.4g} ml"), _("{name} {ml:.4g} ml in {count} pieces")
    return ", ".join(
        (several if case.pieces[name] > 1 else one).format(name=name, ml=ml, count=case.pieces[name])
        for name, ml in case.volumes_ml.items()
    )
