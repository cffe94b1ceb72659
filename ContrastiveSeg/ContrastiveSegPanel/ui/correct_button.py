"""The button Correct of the section Segment: the displayed result in Slicer's Segment Editor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..workflows.display import correct


class CorrectButton:
    """Opens the Segment Editor.

    Args:
        to_correct: the segmentation to open and the volume that it was made on, or None.
    """

    def __init__(self, button: Any, to_correct: Callable[[], tuple[Any, Any] | None]) -> None:
        self._button, self._to_correct = button, to_correct
        button.connect("clicked()", self._open)

    def show_state(self) -> None:
        """Show whether there is something to correct."""
        enabled = self._to_correct() is not None
        self._button.setEnabled(enabled)
        self._button.setToolTip(
            _("Open it in the Segment Editor, over its own volume, where its uncertainty map is highest")
            if enabled
            else _("There is no segmentation of this volume to correct. Segment it first, or choose one as output.")
        )

    def _open(self) -> None:
        chosen = self._to_correct()
        if chosen is not None:
            correct(*chosen)
