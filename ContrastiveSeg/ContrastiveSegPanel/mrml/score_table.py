"""Scores of a segmentation against a reference as a table node of the scene, and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vtk
from slicer.i18n import tr as _

from contrastiveseg.files import write_text
from contrastiveseg.printable import inert
from contrastiveseg.results import ScoreRow

#: Field of a row of the engine's ``evaluate`` -> title, unit and description of its column.
COLUMNS = {
    "dice": (_("Dice"), "", _("Overlap: 1 is perfect, 0 is none")),
    "hd95_mm": (_("HD95 (mm)"), "mm", _("95th percentile of the distances between the surfaces")),
    "assd_mm": (_("ASSD (mm)"), "mm", _("Mean distance between the surfaces")),
    "volume_ml": (_("Volume (ml)"), "ml", _("Volume in the segmentation")),
    "reference_ml": (_("Reference (ml)"), "ml", _("Volume in the reference")),
}
#: Field -> title of its column where it is shown, where that is shorter.
_SHORT = {"reference_ml": _("Ref.")}
#: Decimals, and significant digits: more than any image resolves. A table shows all the digits it gets, and six columns
#: are to fit into the panel.
_DECIMALS, _DIGITS = 4, 6


def write_table(node: Any, rows: Sequence[ScoreRow], names: Mapping[int, str]) -> None:
    """Fill the table ``node`` with a row a label, rounded to 6 digits, 4 of them decimals; undefined is nan.

    Args:
        rows: of the engine's ``evaluate``. names: label -> the segment's name.
    """
    was = node.StartModify()
    node.RemoveAllColumns()
    node.SetUseColumnTitleAsColumnHeader(True)
    segments = vtk.vtkStringArray()
    segments.SetName(_("Segment"))
    for row in rows:
        segments.InsertNextValue(names[row.label])
    node.AddColumn(segments)
    for field, (title, unit, description) in COLUMNS.items():
        column = vtk.vtkDoubleArray()
        column.SetName(title)
        for row in rows:
            value = getattr(row, field)
            column.InsertNextValue(math.nan if value is None else round(float(f"{value:.{_DIGITS}g}"), _DECIMALS))
        node.AddColumn(column)
        # Slicer's table shows the title with the unit behind it, as "HD95 [mm]"; a CSV has only the name.
        node.SetColumnTitle(title, _SHORT.get(field, title.removesuffix(f" ({unit})")))
        node.SetColumnUnitLabel(title, unit)
        node.SetColumnDescription(title, description)
    node.SetLocked(True)
    node.EndModify(was)


def table_csv(node: Any) -> str:
    """The table as CSV; what is undefined is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    table = node.GetTable()
    columns = [table.GetColumn(i) for i in range(table.GetNumberOfColumns())]
    writer.writerow([column.GetName() for column in columns])
    for row in range(table.GetNumberOfRows()):
        writer.writerow([_cell(column.GetValue(row)) for column in columns])
    return text.getvalue()


def _cell(value: str | float) -> str | float:
    if isinstance(value, str):
        return inert(value)
    return "" if isinstance(value, float) and math.isnan(value) else value


def export_table(node: Any, path: Path) -> None:
    """Write :func:`table_csv` to ``path``.

    Raises:
        InputError: it cannot be written there.
    """
    write_text(path, table_csv(node))
