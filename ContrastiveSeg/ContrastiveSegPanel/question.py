"""Questions to the user."""

from __future__ import annotations

import textwrap

import qt
import slicer
from slicer.i18n import tr as _

#: Characters in a line of a question.
_LINE = 80


def confirmed(question: str) -> bool:
    """Ask the user; whether the answer is yes. The key Enter answers no, which ``slicer.util``'s dialogs cannot do."""
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setWindowTitle(_("Contrastive Segmentation"))
    box.setIcon(qt.QMessageBox.Question)
    box.textFormat = qt.Qt.PlainText
    box.setText(question)
    box.setStandardButtons(qt.QMessageBox.Yes | qt.QMessageBox.No)
    box.setDefaultButton(qt.QMessageBox.No)
    answer = box.exec_()
    box.deleteLater()
    return answer == qt.QMessageBox.Yes


def answered(question: str) -> str:
    """Ask the user for a line of text; what was typed, or "" where the question was put aside."""
    # Qt does not wrap it, and would make the dialog wider than the screen.
    lines = "\n".join(textwrap.fill(line, _LINE) for line in question.splitlines())
    text = qt.QInputDialog.getText(slicer.util.mainWindow(), _("Contrastive Segmentation"), lines)
    return (text or "").strip()
