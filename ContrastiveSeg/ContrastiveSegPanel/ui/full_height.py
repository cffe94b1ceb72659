"""Sections as high as what they hold."""

from __future__ import annotations

from typing import Any

import qt

from ..timer import single_shot


class FullHeight(qt.QObject):
    """Keeps an open section from being squeezed.

    Slicer's module panel gives a module at least the height of its minimum size hint. That leaves tables and wrapped
    texts less than they need: here the height that the contents need at the section's width becomes the minimum.
    """

    def __init__(self, section: Any) -> None:
        super().__init__()
        self._section = section
        self._timer = single_shot(self.measure)
        section.installEventFilter(self)
        section.connect("contentsCollapsed(bool)", self.measure)
        self.measure()

    def eventFilter(self, watched: Any, event: Any) -> bool:
        if event.type() in (qt.QEvent.LayoutRequest, qt.QEvent.Resize):
            self._timer.start(0)
        return False

    def measure(self) -> None:
        """Measure the contents again."""
        section, height = self._section, 0
        if not section.collapsed:
            layout = section.layout()
            height = layout.totalSizeHint().height()
            if layout.hasHeightForWidth():
                height = max(height, layout.totalHeightForWidth(section.width))
        if height != section.minimumHeight:
            section.setMinimumHeight(height)

    def cleanup(self) -> None:
        """Watch the section no longer."""
        self._timer.stop()
        self._section.removeEventFilter(self)
