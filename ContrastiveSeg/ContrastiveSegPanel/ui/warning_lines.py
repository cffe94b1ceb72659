"""An icon with a few lines of warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt


class WarningLines:
    """Shown only while there are warnings."""

    def __init__(self, icon: Any, label: Any) -> None:
        self._icon, self._label = icon, label
        picture = qt.QApplication.style().standardIcon(qt.QStyle.SP_MessageBoxWarning)
        icon.setPixmap(picture.pixmap(16, 16))

    def show(self, lines: Sequence[str]) -> None:
        """Show ``lines``, or nothing."""
        self._label.setText("\n".join(lines))
        self._icon.setVisible(bool(lines))
        self._label.setVisible(bool(lines))
