"""Section Pre-train: volumes, mostly without labels, to a checkpoint that learns from few labeled ones later."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from slicer.i18n import tr as _

from contrastiveseg.command_line import command_line
from contrastiveseg.descriptions import PretrainJob, Size
from contrastiveseg.results import PretrainResult

from .. import settings
from ..mrml.parameters import Parameters
from ..timer import single_shot
from ..workflows.cases import IGNORE, VALIDATION, Case, Cases
from ..workflows.interrupted import Interrupted
from ..workflows.session import Session
from ..workflows.task import Step, duration
from ..workflows.training import Callbacks
from ..workflows.training_files import write_volumes
from .device_box import chosen_device
from .followed_box import index_of
from .training_section import TrainingSection, dated

_MINUTES = (10, 60, 480)
_SOURCES = ("folder", "scene")
_SIZES: tuple[Size, ...] = get_args(Size)


class PreTrainSection(TrainingSection):
    """Volumes from a folder or from the scene, and the training, which may run for hours."""

    def __init__(self, session: Session, ui: Any) -> None:
        self._cases = Cases()
        self._on_scene = False
        # Reading a study changes many nodes in a row: look once, afterwards.
        self._timer = single_shot(self.show_state)
        tip = _("Learn from the volumes; it may run for hours")
        method, name = ui.preTrainMethodComboBox, ui.preTrainNameLineEdit
        super().__init__(session, ui, "preTrain", "pretrain", method, name, minutes=_MINUTES, tip=tip)
        ui.folderLineEdit.currentPath = settings.text("PretrainFolder")
        ui.labelsLineEdit.currentPath = settings.text("PretrainLabels")
        ui.sourceComboBox.connect("currentIndexChanged(int)", self.remember)
        ui.sizeComboBox.connect("currentIndexChanged(int)", self.remember)
        ui.folderLineEdit.connect("currentPathChanged(QString)", self.show_state)
        self.listen(session.methods_changed, self.show_state)
        self.listen(self._cases.changed, lambda: self._timer.start(0))
        self.show_state()

    def goes_on(self) -> str:
        return _("The scene was closed. Pre-training goes on.")

    def set_parameters(self, parameters: Parameters) -> None:
        self._parameters = None
        self._methods.show(parameters.pretrain_method)
        self._advanced.show(parameters.pretrain_advanced)
        self._budget.show(parameters.pretrain_budget)
        self.ui.sourceComboBox.setCurrentIndex(index_of(_SOURCES, parameters.pretrain_source))
        self.ui.sizeComboBox.setCurrentIndex(index_of(_SIZES, parameters.pretrain_size))
        self._parameters = parameters
        self.show_state()

    def cancel(self) -> None:
        if self._on_scene:
            self.training.leave_scene()
            self.forget_ended()

    def cleanup(self) -> None:
        self._timer.blockSignals(True)
        self._cases.cleanup()
        super().cleanup()

    def remember(self) -> None:
        if self._parameters is not None:
            self._parameters.pretrain_source = self._source
            self._parameters.pretrain_method = self._methods.current
            self._parameters.pretrain_advanced = self._advanced.changes
            self._parameters.pretrain_size = _SIZES[self.ui.sizeComboBox.currentIndex]
            self._parameters.pretrain_budget = self._budget.text
        self.show_state()

    @property
    def _source(self) -> str:
        return _SOURCES[self.ui.sourceComboBox.currentIndex]

    @property
    def _takes_labels(self) -> bool:
        return self._source == "folder" and self._methods.uses_labels

    def show_state(self) -> None:
        super().show_state()
        for widget in (self.ui.folderLabel, self.ui.folderLineEdit):
            widget.setVisible(self._source == "folder")
        for widget in (self.ui.labelsLabel, self.ui.labelsLineEdit):
            widget.setVisible(self._takes_labels)

    def setup_obstacle(self) -> str:
        if general := self.training_obstacle():
            return general
        if self._source == "folder" and not self.ui.folderLineEdit.currentPath.strip():
            return _("Choose a folder with volumes.")
        if self._source == "scene" and not self._volumes():
            return _("Load volumes first.")
        return ""

    def _volumes(self) -> list[Case]:
        """Not those to validate on: a checkpoint that has seen them would score too well."""
        return [case for case in self._cases.rows() if case.role not in (IGNORE, VALIDATION)]

    def default_name(self) -> str:
        return dated(self._methods.current)

    def launch(self) -> None:
        prepared = self.prepare()
        if prepared is None:
            return
        steps: list[Step] = []
        labels = self.ui.labelsLineEdit.currentPath.strip() if self._takes_labels else ""
        images = self.ui.folderLineEdit.currentPath.strip()
        on_scene = self._source == "scene"
        if on_scene:
            images = str(prepared.folder / "images")
            steps, _files = write_volumes(self._volumes(), prepared.folder / "images")
        else:
            settings.set_text("PretrainFolder", images)
        if self._takes_labels:
            settings.set_text("PretrainLabels", labels)
        job = PretrainJob(
            images=(images,),
            labels=(labels,) if labels else (),
            output=str(prepared.output),
            method=self._methods.current,
            settings=self._advanced.settings,
            size=_SIZES[self.ui.sizeComboBox.currentIndex],
            device=chosen_device(self.session),
            cache=str(prepared.folder / "cache"),
            **self._budget.fields,
        )
        command = "" if on_scene else resuming_command(job)
        self.training.start(prepared, steps, job, Callbacks(partial(self._begun, on_scene), self._done, command))

    def going_on_with(self, training: Interrupted) -> Callbacks | None:
        if not isinstance(training.job, PretrainJob):
            return None
        return Callbacks(partial(self._begun, False), self._done)

    def _begun(self, on_scene: bool) -> None:
        self._on_scene = on_scene

    def _done(self, result: PretrainResult) -> None:
        text = _("Done in {time}: {name}. Fine-tune it now.")
        # One that was gone on with, or watched again, has trained before.
        took = duration(max(self.training.seconds, 60 * result.minutes))
        self.show_done(text.format(time=took, name=self.training.output_name))


def resuming_command(job: PretrainJob) -> str:
    """What goes on with ``job`` in a terminal, after a crash."""
    # The cache went with the files of this session.
    words = ["contrastiveseg", *command_line(replace(job, cache=None, resume=True))]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
