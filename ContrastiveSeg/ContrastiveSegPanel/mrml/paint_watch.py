"""Notices when the user has painted in a segmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from ..timer import single_shot


class PaintWatch(slicer.util.VTKObservationMixin):
    """Calls ``on_change`` at once when the segmentation that is followed changes, and ``on_pause`` a little after the
    last of several changes."""

    #: A stroke that is being drawn changes a segment many times.
    PAUSE_MS = 300

    def __init__(self, on_change: Callable[[], None], on_pause: Callable[[], None]) -> None:
        super().__init__()
        self._on_change = on_change
        self._timer = single_shot(on_pause)
        self._followed: Any = None

    def follow(self, segmentation: Any) -> None:
        """Watch this segmentation and no other; None watches none."""
        if segmentation is self._followed:
            return
        self.close()
        self._followed = segmentation
        if segmentation is not None:
            event = slicer.vtkSegmentation.SourceRepresentationModified
            self.addObserver(segmentation.GetSegmentation(), event, self._on_modified)

    def pass_over(self) -> None:
        """What has changed by now was not painted by the user."""
        self._timer.stop()

    def close(self) -> None:
        """Watch no longer."""
        self._timer.stop()
        self.removeObservers()
        self._followed = None

    def _on_modified(self, caller: Any, event: Any) -> None:
        self._timer.start(self.PAUSE_MS)
        self._on_change()
