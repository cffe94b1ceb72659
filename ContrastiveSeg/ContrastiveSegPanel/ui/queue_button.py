"""The button that puts another job into the queue while one runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..workflows.session import Session


class QueueButton:
    """Shown only while the queue is busy; otherwise a job is started by its own button.

    Args:
        obstacle: why the job cannot be done, or "".
        launch: puts the job into the queue.
    """

    def __init__(self, session: Session, button: Any, obstacle: Callable[[], str], launch: Callable[[], None]) -> None:
        self._session, self._button, self._obstacle, self._launch = session, button, obstacle, launch
        button.connect("clicked()", self._on_click)

    def show_state(self) -> None:
        """Show whether the job can be put into the queue."""
        obstacle = self._obstacle()
        self._button.setVisible(self._session.training)
        self._button.setEnabled(not obstacle)
        self._button.setToolTip(obstacle or _("Begin it, as it is set up now, after the jobs before it; see Jobs"))

    def _on_click(self) -> None:
        if self._session.training and not self._obstacle():
            self._launch()
