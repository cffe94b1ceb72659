"""The log of the panel and its processes; the widget limits its size."""

from __future__ import annotations

import time
from typing import Any

import slicer

from ..workflows.session import Session
from .section import Section


class LogSection(Section):
    """The section Log: what the engine's processes say, to be copied into a report of an error."""

    def __init__(self, session: Session, ui: Any) -> None:
        super().__init__(session, ui)
        self.listen(session.log_line, self._append)
        ui.logCopyButton.connect("clicked()", self._copy)
        ui.logClearButton.connect("clicked()", ui.logText.clear)

    def _append(self, text: str) -> None:
        self.ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def _copy(self) -> None:
        slicer.app.clipboard().setText(self.ui.logText.toPlainText())
