"""Sections, and the effect's options, as high as what they hold."""

from __future__ import annotations

from typing import Any

import qt

from ..timer import single_shot


class FullHeight(qt.QObject):
    """Keeps a widget with a layout from being squeezed; a section only while it is open.

    Slicer's module panel gives a module at least the height of its minimum size hint. That leaves tables and wrapped
    texts less than they need: here the height that the contents need at the widget's width becomes the minimum.
    """

    def __init__(self, widget: Any) -> None:
        super().__init__()
        self._widget, self._collapsible = widget, bool(widget.inherits("ctkCollapsibleButton"))
        self._timer = single_shot(self.measure)
        widget.installEventFilter(self)
        if self._collapsible:
            widget.connect("contentsCollapsed(bool)", self.measure)
        self.measure()

    def eventFilter(self, watched: Any, event: Any) -> bool:
        if event.type() in (qt.QEvent.LayoutRequest, qt.QEvent.Resize):
            self._timer.start(0)
        return False

    def measure(self) -> None:
        """Measure the contents again."""
        widget, height = self._widget, 0
        if not (self._collapsible and widget.collapsed):
            layout = widget.layout()
            height = layout.totalSizeHint().height()
            if layout.hasHeightForWidth():
                height = max(height, layout.totalHeightForWidth(widget.width))
        if height != widget.minimumHeight:
            widget.setMinimumHeight(height)

    def cleanup(self) -> None:
        """Watch the widget no longer."""
        self._timer.stop()
        self._widget.removeEventFilter(self)
