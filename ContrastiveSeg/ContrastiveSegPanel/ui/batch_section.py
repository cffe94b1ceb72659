"""Section Batch: a folder of volumes to a folder of label maps, and which results of a batch to look at first."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.descriptions import Pieces, SegmentJob
from contrastiveseg.events import Event, Log
from contrastiveseg.results import Failure

from .. import settings
from ..mrml.parameters import Parameters
from ..workflows.folder_batch import FolderBatch
from ..workflows.quality import Looked
from ..workflows.segment_checks import checkpoint_obstacle
from ..workflows.session import Session
from ..workflows.task import duration
from .device_box import chosen_device
from .job_section import JobSection, job_widgets
from .quality_table import QualityTable
from .queue_button import QueueButton

_PIECES: tuple[Pieces, ...] = ("auto", "all", "largest")


class BatchSection(JobSection):
    """Segments on the second process, so that the section Segment can be used meanwhile."""

    def __init__(self, session: Session, ui: Any) -> None:
        self._batch = FolderBatch(session)
        tip = _("Segment every volume of the folder; what is finished already stays as it is")
        super().__init__(session, ui, self._batch.task, job_widgets(ui, "batch", tip))
        self._since = 0.0
        ui.batchInputLineEdit.currentPath = settings.text("BatchInput")
        ui.batchOutputLineEdit.currentPath = settings.text("BatchOutput")
        for edit in (ui.batchInputLineEdit, ui.batchOutputLineEdit):
            edit.connect("currentPathChanged(QString)", self.show_state)
        self._queue_button = QueueButton(session, ui.batchQueueButton, self._setup_obstacle, self._launch)
        self._quality = QualityTable(session, ui)
        self.listen(session.batch_looked_at, self._show_looked)
        self.listen(session.checkpoint_changed, self.show_state)
        self.listen(session.training_changed, self.show_state)
        self.show_state()

    def set_parameters(self, parameters: Parameters) -> None:
        super().set_parameters(parameters)
        self.ui.batchUncertaintyCheckBox.setChecked(parameters.batch_uncertainty)

    def cancel(self) -> None:
        """A folder's batch goes on without the scene."""
        self._quality.show(None)

    def show_state(self) -> None:
        super().show_state()
        self._queue_button.show_state()

    def obstacle(self) -> str:
        if self.session.training and not self.task.busy:
            return _("Another job is running, see the section Jobs. Add this one to the queue.")
        return self._setup_obstacle()

    def _setup_obstacle(self) -> str:
        if general := checkpoint_obstacle(self.session):
            return general
        if not self._input:
            return _("Choose a folder with volumes.")
        if not Path(self._input).is_dir():
            return _("{path} is no folder.").format(path=self._input)
        if not self._output:
            return _("Choose a folder for the results.")
        if Path(self._input).absolute() == Path(self._output).absolute():
            return _("Choose another folder for the results than that of the volumes.")
        return ""

    def start(self) -> None:
        if not self.task.busy and not self.obstacle():
            self._launch()

    @property
    def _input(self) -> str:
        return str(self.ui.batchInputLineEdit.currentPath).strip()

    @property
    def _output(self) -> str:
        return str(self.ui.batchOutputLineEdit.currentPath).strip()

    def _launch(self) -> None:
        entry, parameters = self.session.checkpoint, self._parameters
        if entry is None or entry.card is None:
            return
        settings.set_text("BatchInput", self._input)
        settings.set_text("BatchOutput", self._output)
        maps = self.ui.batchUncertaintyCheckBox.checked
        if parameters is not None:
            parameters.batch_uncertainty = maps
        pieces = parameters.pieces if parameters is not None else "auto"
        job = SegmentJob(
            checkpoint=str(entry.path),
            input=(self._input,),
            # With a slash, a name with a dot in it is a folder too.
            output=self._output.rstrip("/\\") + "/",
            uncertainty=str(Path(self._output) / "uncertainty") if maps else None,
            mirror=parameters.mirror if parameters is not None else False,
            pieces=next((known for known in _PIECES if known == pieces), "auto"),
            device=chosen_device(self.session),
            continue_=True,
        )
        self._batch.start(job, entry.card, self._begun, self._segmented, self._on_problem, self._on_event)

    def _begun(self) -> None:
        self._since = time.monotonic()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Log):
            self.session.log(event.text)

    def _segmented(self, output: str, count: int, failures: tuple[Failure, ...]) -> None:
        text = _("Done in {time}: {count} label maps in {folder}.")
        self.set_status(text.format(time=duration(time.monotonic() - self._since), count=count, folder=output))
        if failures:
            head = _("{count} volumes could not be segmented:").format(count=len(failures))
            self.session.report("\n".join([head, *(failure.what for failure in failures)]))

    def _on_problem(self, problem: Exception | str, cancelled: bool) -> None:
        if cancelled:
            self.set_status(_("Stopped. What is finished stays; start it again to go on."))
            self.session.log(str(problem))
        else:
            self.session.report(problem)

    def _show_looked(self, looked: Looked) -> None:
        self._quality.show(looked)
