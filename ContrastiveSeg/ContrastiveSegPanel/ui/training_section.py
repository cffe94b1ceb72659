"""What the sections Fine-tune and Pre-train have in common: method, parameters, budget, name, curve, training."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from ..workflows.interrupted import Interrupted
from ..workflows.session import Session
from ..workflows.training import Callbacks, Prepared, Training
from .advanced_form import AdvancedForm
from .budget_box import Budget
from .chart import chart_in
from .job_section import JobSection, job_widgets
from .methods_box import MethodsBox
from .queue_button import QueueButton


class TrainingSection(JobSection):
    """A section that trains on the session's second process; the training goes on when the scene is closed.

    Args:
        prefix: start of the names of the widgets for the job, the budget, the advanced form and the chart.
        stage: of the methods to choose from, "finetune" or "pretrain".
        minutes: the budgets to choose from, before a number of steps.
        tip: tool tip of the start button.
    """

    def __init__(
        self,
        session: Session,
        ui: Any,
        prefix: str,
        stage: str,
        method_box: Any,
        name_edit: Any,
        minutes: Sequence[int],
        tip: str,
    ) -> None:
        self.training = Training(session)
        super().__init__(session, ui, self.training.task, job_widgets(ui, prefix, tip))
        self._name_edit, self._chart_frame = name_edit, getattr(ui, f"{prefix}Chart")
        self.chart = chart_in(self._chart_frame, self.training)
        self._methods = MethodsBox(session, method_box, stage, self._method_chosen)
        self._advanced = AdvancedForm(session, getattr(ui, f"{prefix}Advanced"), stage, self._methods, self.remember)
        combo, steps = getattr(ui, f"{prefix}BudgetComboBox"), getattr(ui, f"{prefix}StepsSpinBox")
        self._budget = Budget(combo, steps, minutes, self.remember)
        self.listen(session.methods_changed, self._methods.fill)
        self.listen(session.methods_changed, self._advanced.fill)
        self._queue_button = QueueButton(session, getattr(ui, f"{prefix}QueueButton"), self.setup_obstacle, self.launch)
        self.listen(session.training_changed, self.show_state)
        self.listen(session.going_on, self._go_on)
        self.listen(session.scene_closing, self._log_that_it_goes_on)

    def goes_on(self) -> str:
        """Logged when the scene is closed while it trains."""
        raise NotImplementedError

    def remember(self) -> None:
        """The user has changed something: keep it with the scene, and show what follows from it."""
        raise NotImplementedError

    def default_name(self) -> str:
        """The checkpoint's name where the user gives none."""
        raise NotImplementedError

    def setup_obstacle(self) -> str:
        """Why no such training can be started, whatever runs now, or ""."""
        raise NotImplementedError

    def launch(self) -> None:
        """Put a training as it is set up now into the queue; it begins at once where nothing runs."""
        raise NotImplementedError

    def going_on_with(self, training: Interrupted) -> Callbacks | None:
        """What to do with an interrupted training that goes on; None for one of another kind."""
        raise NotImplementedError

    def start(self) -> None:
        if not self.task.busy and not self.obstacle():
            self.launch()

    def obstacle(self) -> str:
        if self.session.training and not self.training.busy:
            return _("Another job is running, see the section Jobs. Add this one to the queue.")
        return self.setup_obstacle()

    def _go_on(self, training: Interrupted) -> None:
        callbacks = self.going_on_with(training)
        if callbacks is not None:
            self.training.go_on(training, callbacks)

    def cleanup(self) -> None:
        self.training.cleanup()
        super().cleanup()

    def show_state(self) -> None:
        super().show_state()
        self._queue_button.show_state()
        self._name_edit.setPlaceholderText(self.default_name())
        if self.task.busy:
            self._chart_frame.setVisible(True)

    def training_obstacle(self) -> str:
        """What prevents any training, or ""."""
        return self.session.obstacle or self._advanced.obstacle

    def prepare(self) -> Prepared | None:
        """Choose the checkpoint's path, by the name that the user gives, and make the folder for its files; None where
        that cannot be, which is told."""
        try:
            return self.training.prepare(self._name_edit.text.strip() or self.default_name())
        except OSError as problem:
            self.session.report(problem)
            return None

    def show_done(self, text: str) -> None:
        """Say that the training has ended; the next one gets another name."""
        self.set_status(text)
        self._name_edit.setText("")

    def forget_ended(self) -> None:
        """The scene closes: beside the next one, curve and status of a training that has ended would be of others'
        volumes. One that goes on keeps them."""
        if not self.task.busy:
            self.chart.clear()
            self._chart_frame.setVisible(False)
            self.set_status("")

    def _method_chosen(self) -> None:
        self._advanced.fill()
        self.remember()

    def _log_that_it_goes_on(self) -> None:
        if self.task.state == "running":
            self.session.log(self.goes_on())


def dated(name: str) -> str:
    """``name`` with the day: YYYY-MM-DD."""
    return f"{name}-{datetime.date.today().isoformat()}"
