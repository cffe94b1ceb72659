"""Section Pre-train: volumes, mostly without labels, to a checkpoint that learns from few labeled ones later."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import subprocess
import sys
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.descriptions import PretrainJob, Size
from contrastiveseg.results import PretrainResult

from .. import settings
from ..mrml.parameters import Parameters
from ..timer import single_shot
from ..workflows.cases import IGNORE, VALIDATION, Case, Cases
from ..workflows.session import Session
from ..workflows.task import Step, duration
from ..workflows.training import Training
from ..workflows.training_files import write_volumes
from .budget_box import Budget
from .chart import chart_in
from .device_box import chosen_device
from .methods_box import MethodsBox
from .section import Section

_MINUTES = (10, 60, 480)
_SOURCES = ("folder", "scene")
_SIZES: tuple[Size, ...] = ("auto", "tiny", "base", "large")


class PreTrainSection(Section):
    """Made to be left running: it goes on when the scene is closed."""

    def __init__(self, session: Session, ui: Any) -> None:
        super().__init__(session, ui)
        self._cases = Cases()
        self._methods = MethodsBox(session, ui.preTrainMethodComboBox, "pretrain", self._edited)
        self._budget = Budget(ui.preTrainBudgetComboBox, ui.preTrainStepsSpinBox, _MINUTES, self._edited)
        self._training = Training(session, ui.preTrainProgressBar, ui.preTrainStatusLabel, chart_in(ui.preTrainChart))
        self._on_scene = False
        # Reading a study changes many nodes in a row: look once, afterwards.
        self._timer = single_shot(self._show_state)
        ui.folderLineEdit.currentPath = settings.text("PretrainFolder")
        ui.labelsLineEdit.currentPath = settings.text("PretrainLabels")
        ui.sourceComboBox.connect("currentIndexChanged(int)", self._edited)
        ui.sizeComboBox.connect("currentIndexChanged(int)", self._edited)
        ui.folderLineEdit.connect("currentPathChanged(QString)", self._show_state)
        ui.preTrainButton.connect("clicked()", self._start)
        ui.preTrainCancelButton.connect("clicked()", self._training.cancel)
        self.listen(session.methods_changed, self._methods.fill)
        changes = (session.missing_changed, session.training_changed, self._training.task.changed)
        for signal in (*changes, session.methods_changed):
            self.listen(signal, self._show_state)
        self.listen(session.scene_closing, self._tell_that_it_goes_on)
        self.listen(self._cases.changed, lambda: self._timer.start(0))
        self._show_state()

    def set_parameters(self, parameters: Parameters) -> None:
        self._parameters = None
        self._methods.show(parameters.pretrain_method)
        self._budget.show(parameters.pretrain_budget)
        self.ui.sourceComboBox.setCurrentIndex(_index(_SOURCES, parameters.pretrain_source))
        self.ui.sizeComboBox.setCurrentIndex(_index(_SIZES, parameters.pretrain_size))
        self._parameters = parameters
        self._show_state()

    def cancel(self) -> None:
        if self._on_scene:
            self._training.leave_scene()

    def cleanup(self) -> None:
        self._timer.stop()
        self._cases.cleanup()
        self._training.cleanup()
        super().cleanup()

    def _tell_that_it_goes_on(self) -> None:
        if self._training.task.state == "running":
            self.session.log(_("The scene was closed. Pre-training goes on."))

    def _edited(self) -> None:
        if self._parameters is not None:
            self._parameters.pretrain_source = self._source
            self._parameters.pretrain_method = self._methods.current
            self._parameters.pretrain_size = _SIZES[self.ui.sizeComboBox.currentIndex]
            self._parameters.pretrain_budget = self._budget.text
        self._show_state()

    @property
    def _source(self) -> str:
        return _SOURCES[self.ui.sourceComboBox.currentIndex]

    @property
    def _takes_labels(self) -> bool:
        return self._source == "folder" and self._methods.uses_labels

    def _show_state(self) -> None:
        busy, obstacle = self._training.busy, self._obstacle()
        for widget in (self.ui.folderLabel, self.ui.folderLineEdit):
            widget.setVisible(self._source == "folder")
        for widget in (self.ui.labelsLabel, self.ui.labelsLineEdit):
            widget.setVisible(self._takes_labels)
        self.ui.preTrainNameLineEdit.setPlaceholderText(self._default_name())
        self.ui.preTrainButton.setVisible(not busy)
        self.ui.preTrainButton.setEnabled(not obstacle)
        self.ui.preTrainButton.setToolTip(obstacle or _("Learn from the volumes; it may run for hours"))
        self.ui.preTrainCancelButton.setVisible(busy)
        if busy:
            self.ui.preTrainChart.setVisible(True)
        self.ui.preTrainCancelButton.setEnabled(self._training.task.state in ("writing", "running"))

    def _obstacle(self) -> str:
        """Why nothing can be learned now, or ""."""
        if self.session.obstacle:
            return self.session.obstacle
        if self.session.training and not self._training.busy:
            return _("Another training is running.")
        if self._source == "folder" and not self.ui.folderLineEdit.currentPath.strip():
            return _("Choose a folder with volumes.")
        if self._source == "scene" and not self._volumes():
            return _("Load volumes first.")
        return ""

    def _volumes(self) -> list[Case]:
        """Not those to validate on: a checkpoint that has seen them would score too well."""
        return [case for case in self._cases.rows() if case.role not in (IGNORE, VALIDATION)]

    def _default_name(self) -> str:
        return f"{self._methods.current}-{datetime.date.today().isoformat()}"

    def _start(self) -> None:
        if self._training.busy or self._obstacle():
            return
        self._training.prepare(self.ui.preTrainNameLineEdit.text.strip() or self._default_name())
        steps: list[Step] = []
        labels = self.ui.labelsLineEdit.currentPath.strip() if self._takes_labels else ""
        images = self.ui.folderLineEdit.currentPath.strip()
        self._on_scene = self._source == "scene"
        if self._on_scene:
            images = str(self._training.folder / "images")
            steps, _files = write_volumes(self._volumes(), self._training.folder / "images")
        else:
            settings.set_text("PretrainFolder", images)
        if self._takes_labels:
            settings.set_text("PretrainLabels", labels)
        job = PretrainJob(
            images=(images,),
            labels=(labels,) if labels else (),
            output=str(self._training.output),
            method=self._methods.current,
            size=_SIZES[self.ui.sizeComboBox.currentIndex],
            device=chosen_device(self.session),
            cache=str(self._training.folder / "cache"),
            **self._budget.fields,
        )
        self._training.start(steps, job, self._done, "" if self._on_scene else resuming_command(job))

    def _done(self, result: PretrainResult) -> None:
        told = _("Done in {time}: {name}. Fine-tune it now.")
        time = duration(60 * result.minutes)
        self.ui.preTrainStatusLabel.setText(told.format(time=time, name=self._training.told_output))
        self.ui.preTrainNameLineEdit.setText("")


def resuming_command(job: PretrainJob) -> str:
    """What goes on with ``job`` in a terminal, after a crash."""
    words = ["contrastiveseg", job.kind]
    for field in dataclasses.fields(job):
        value = getattr(job, field.name)
        # The cache went with the files of this session.
        if value and value != field.default and field.name != "cache":
            words += ["--" + field.name.replace("_", "-"), *(value if isinstance(value, tuple) else (str(value),))]
    words.append("--resume")
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _index(words: tuple[str, ...], word: str) -> int:
    return words.index(word) if word in words else 0
