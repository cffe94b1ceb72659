"""Texts that hold names from files, such as those of a stranger's checkpoint, shown as they are and not as HTML.

Qt takes a text that looks like HTML for it, wherever it is not told otherwise: it would load pictures and show links.
"""

from __future__ import annotations

import html
from typing import Any

import qt


def plain_label(text: str) -> Any:
    """A label that shows ``text`` as it is."""
    label = qt.QLabel()
    label.textFormat = qt.Qt.PlainText
    label.setText(text)
    return label


def plain_tip(text: str) -> str:
    """``text`` for a tool tip or a dialog of Slicer, which cannot be told: escaped where it might look like HTML."""
    return f"<span>{html.escape(text)}</span>".replace("\n", "<br>") if "<" in text else text
