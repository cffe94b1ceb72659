"""Section Batch: many volumes at once, of a folder or a sequence, and which results of a batch to look at first."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.results import Failure

from .. import settings
from ..mrml.parameters import Parameters
from ..mrml.sequences import frame_count
from ..workflows.batches import BatchCallbacks, Batches, folder_batch, sequence_batch
from ..workflows.quality import Looked
from ..workflows.segment_checks import checkpoint_obstacle
from ..workflows.session import Session
from ..workflows.task import duration
from .device_box import chosen_device
from .followed_box import index_of
from .job_section import JobSection, job_widgets
from .quality_table import QualityTable
from .queue_button import QueueButton
from .segment_options import PIECES

_SOURCES = ("folder", "sequence")


class BatchSection(JobSection):
    """Segments on the second process, so that the section Segment can be used meanwhile."""

    def __init__(self, session: Session, ui: Any) -> None:
        self._batches = Batches(session)
        tip = _("Segment every volume; files that are finished already stay as they are")
        super().__init__(session, ui, self._batches.task, job_widgets(ui, "batch", tip))
        self._since = 0.0
        ui.batchInputLineEdit.currentPath = settings.text("BatchInput")
        ui.batchOutputLineEdit.currentPath = settings.text("BatchOutput")
        for edit in (ui.batchInputLineEdit, ui.batchOutputLineEdit):
            edit.connect("currentPathChanged(QString)", self.show_state)
        ui.batchSourceComboBox.connect("currentIndexChanged(int)", self._chosen)
        ui.sequenceSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._chosen)
        self._queue_button = QueueButton(session, ui.batchQueueButton, self._setup_obstacle, self._launch)
        self._quality = QualityTable(session, ui)
        self.listen(session.batch_looked_at, self._show_looked)
        self.listen(session.checkpoint_changed, self.show_state)
        self.listen(session.training_changed, self.show_state)
        self.show_state()

    def set_parameters(self, parameters: Parameters) -> None:
        self._parameters = None
        self.ui.batchUncertaintyCheckBox.setChecked(parameters.batch_uncertainty)
        self.ui.batchSourceComboBox.setCurrentIndex(index_of(_SOURCES, parameters.batch_source))
        self.ui.sequenceSelector.setCurrentNode(parameters.batch_sequence)
        super().set_parameters(parameters)
        self.show_state()

    def cancel(self) -> None:
        """A folder's batch goes on without the scene."""
        self._quality.show(None)

    def show_state(self) -> None:
        super().show_state()
        self._queue_button.show_state()
        ui, folder = self.ui, self._source == "folder"
        for widget in (ui.batchInputLabel, ui.batchInputLineEdit, ui.batchOutputLabel, ui.batchOutputLineEdit):
            widget.setVisible(folder)
        ui.batchUncertaintyCheckBox.setVisible(folder)
        for widget in (ui.sequenceLabel, ui.sequenceSelector):
            widget.setVisible(not folder)

    def _chosen(self) -> None:
        if self._parameters is not None:
            self._parameters.batch_source = self._source
            self._parameters.batch_sequence = self.ui.sequenceSelector.currentNode()
        self.show_state()

    @property
    def _source(self) -> str:
        return _SOURCES[self.ui.batchSourceComboBox.currentIndex]

    def obstacle(self) -> str:
        if self.session.training and not self.task.busy:
            return _("Another job is running, see the section Jobs. Add this one to the queue.")
        return self._setup_obstacle()

    def _setup_obstacle(self) -> str:
        if general := checkpoint_obstacle(self.session):
            return general
        if self._source == "sequence":
            return self._sequence_obstacle()
        if not self._input:
            return _("Choose a folder with volumes.")
        if not Path(self._input).is_dir():
            return _("{path} is no folder.").format(path=self._input)
        if not self._output:
            return _("Choose a folder for the results.")
        if Path(self._input).absolute() == Path(self._output).absolute():
            return _("Choose another folder for the results than that of the volumes.")
        return ""

    def _sequence_obstacle(self) -> str:
        card, sequence = self.session.card, self.ui.sequenceSelector.currentNode()
        if sequence is None:
            return _("Choose a sequence of volumes.")
        if card is not None and len(card.plan.channels) > 1:
            return _("This checkpoint takes several volumes a case, a sequence has one a frame.")
        try:
            frame_count(sequence)
        except InputError as problem:
            return str(problem)
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
        entry = self.session.checkpoint
        if entry is None or entry.card is None:
            return
        parameters = self._parameters
        pieces = parameters.pieces if parameters is not None else "auto"
        # The options of the section Segment.
        how = partial(
            SegmentJob,
            checkpoint=str(entry.path),
            mirror=parameters.mirror if parameters is not None else False,
            pieces=PIECES[index_of(PIECES, pieces)],
            device=chosen_device(self.session),
        )
        if self._source == "folder":
            batch = folder_batch(self._folder_job(how), entry.card)
        else:
            sequence = self.ui.sequenceSelector.currentNode()
            batch = sequence_batch(sequence, how, entry.card, self.session.folder())
        self._batches.start(batch, BatchCallbacks(self._done, self._on_problem, self._begun))

    def _folder_job(self, how: Callable[..., SegmentJob]) -> SegmentJob:
        maps = self.ui.batchUncertaintyCheckBox.checked
        settings.set_text("BatchInput", self._input)
        settings.set_text("BatchOutput", self._output)
        if self._parameters is not None:
            self._parameters.batch_uncertainty = maps
        # With a slash, a name with a dot in it is a folder too.
        output = self._output.rstrip("/\\") + "/"
        uncertainty = str(Path(self._output) / "uncertainty") if maps else None
        return how(input=(self._input,), output=output, uncertainty=uncertainty, continue_=True)

    def _begun(self) -> None:
        self._since = time.monotonic()

    def _done(self, target: str, count: int, failures: tuple[Failure, ...]) -> None:
        text = _("Done in {time}: {count} label maps in {target}.")
        self.set_status(text.format(time=duration(time.monotonic() - self._since), count=count, target=target))
        if failures:
            head = _("{count} volumes could not be segmented:").format(count=len(failures))
            self.session.report("\n".join([head, *(failure.what for failure in failures)]))

    def _on_problem(self, problem: Exception | str, cancelled: bool) -> None:
        if cancelled:
            self.set_status(_("Stopped. Files that are finished stay; start it again to go on."))
            self.session.log(str(problem))
        else:
            self.session.report(problem)

    def _show_looked(self, looked: Looked) -> None:
        self._quality.show(looked)
