"""What sections with a job have in common: the buttons that start and cancel it, its progress and its status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..plain_text import plain_tip
from ..signal import Signal
from ..workflows.session import Session
from ..workflows.task import Task
from .section import Section


@dataclass(frozen=True)
class JobWidgets:
    """The widgets of one job in a .ui file.

    Attributes:
        tip: tool tip of the start button while it can be pressed.
    """

    start: Any
    cancel: Any
    bar: Any
    status: Any
    tip: str


def job_widgets(ui: Any, prefix: str, tip: str) -> JobWidgets:
    """The widgets whose names begin with ``prefix``: Button, CancelButton, ProgressBar and StatusLabel."""
    names = ("Button", "CancelButton", "ProgressBar", "StatusLabel")
    start, cancel, bar, status = (getattr(ui, prefix + name) for name in names)
    return JobWidgets(start, cancel, bar, status, tip)


class JobSection(Section):
    """A section, or a part of one, that runs one job at a time.

    Attributes:
        task: the job's progress.
        shown: signal after every change of what is shown, but of the progress.
    """

    def __init__(self, session: Session, ui: Any, task: Task, widgets: JobWidgets) -> None:
        super().__init__(session, ui)
        self.task, self._widgets = task, widgets
        self.shown = Signal()
        widgets.bar.setVisible(False)
        widgets.status.setText("")
        widgets.start.connect("clicked()", self.start)
        widgets.cancel.connect("clicked()", task.cancel)
        self.listen(task.changed, self.show_state)
        self.listen(task.progressed, self._show_progress)
        self.listen(task.status, self.set_status)
        self.listen(session.missing_changed, self.show_state)

    def start(self) -> None:
        """Start the job, if nothing prevents it; the start button calls it."""
        raise NotImplementedError

    def obstacle(self) -> str:
        """Why the job cannot be started now, in words for the user, or ""."""
        raise NotImplementedError

    def show_state(self) -> None:
        """Show whether the job can be started, and why not, or that it runs."""
        busy, obstacle, widgets = self.task.busy, self.obstacle(), self._widgets
        shown, hidden = (widgets.cancel, widgets.start) if busy else (widgets.start, widgets.cancel)
        focused = hidden.hasFocus()
        shown.setVisible(True)
        hidden.setVisible(False)
        widgets.start.setEnabled(not obstacle and not busy)
        widgets.start.setToolTip(plain_tip(obstacle or widgets.tip))
        widgets.cancel.setEnabled(self.task.state in ("writing", "running"))
        if focused:
            # Otherwise it goes to what comes next, a table.
            shown.setFocus()
        widgets.bar.setVisible(busy)
        self.shown.emit()

    def set_status(self, text: str) -> None:
        """The line of text beside the buttons."""
        self._widgets.status.setText(text)
        self.shown.emit()

    @property
    def status(self) -> str:
        """The text beside the buttons."""
        return str(self._widgets.status.text)

    def _show_progress(self, done: float, total: float) -> None:
        bar = self._widgets.bar
        bar.setRange(0, 1000 if total else 0)
        bar.setValue(round(1000 * done / total) if total else 0)
