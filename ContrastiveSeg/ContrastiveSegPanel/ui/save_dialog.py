"""Asking for a file to write."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ..workflows.session import Session


def file_to_write(session: Session, title: str, proposed: Path, filters: str) -> Path | None:
    """The file that the user chooses, with the ending of ``proposed`` where none is typed; None if none is chosen.

    Args:
        filters: kinds of files as Qt's dialogs take them.
    """
    chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, str(proposed), filters)
    if not chosen:
        return None
    path = Path(chosen) if Path(chosen).suffix else Path(chosen + proposed.suffix)
    # The file dialog has confirmed the name that was typed.
    question = _("{path} exists already. Replace it?").format(path=path)
    return path if path == Path(chosen) or not path.exists() or session.confirm(question) else None
