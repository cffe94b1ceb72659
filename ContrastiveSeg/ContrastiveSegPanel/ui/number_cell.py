"""Numbers in tables."""

from __future__ import annotations

from typing import Any

import qt


def number_cell(text: str) -> Any:
    """An item of a table that shows ``text`` at the right, where digits stand below one another."""
    item = qt.QTableWidgetItem(text)
    item.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight | qt.Qt.AlignVCenter))
    return item
