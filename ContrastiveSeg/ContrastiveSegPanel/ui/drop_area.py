"""A widget that files can be dropped on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt


class DropArea(qt.QWidget):
    """Takes local files and folders that ``takes`` says yes to, and hands each to ``on_file``; other drops are left to
    Slicer."""

    def __init__(self, takes: Callable[[Path], bool], on_file: Callable[[Path], None]) -> None:
        super().__init__()
        self._takes, self._on_file = takes, on_file
        self.setAcceptDrops(True)

    def dragEnterEvent(self, event: Any) -> None:
        if self._files(event):
            event.acceptProposedAction()
        else:
            event.ignore()

    def dropEvent(self, event: Any) -> None:
        files = self._files(event)
        if files:
            event.acceptProposedAction()
        for file in files:
            self._on_file(file)

    def _files(self, event: Any) -> list[Path]:
        files = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        return [file for file in files if self._takes(file)]
