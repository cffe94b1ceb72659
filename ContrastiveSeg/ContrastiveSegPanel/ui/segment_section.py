"""Section Segment: volumes in, segments out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.errors import InputError
from contrastiveseg.events import Event, Progress
from contrastiveseg.results import Failure, SegmentResult

from ..mrml.parameters import Parameters
from ..mrml.slice_views import displayed_volumes
from ..timer import single_shot
from ..workflows import segment_checks
from ..workflows.computers import chosen
from ..workflows.display import show_results
from ..workflows.quality import SceneQuality
from ..workflows.segment_queue import SegmentQueue
from ..workflows.segment_results import SegmentResults, made_on_another, next_output, summary
from ..workflows.segmenting import Segmenting
from ..workflows.session import Session
from ..workflows.task import Step, Task, do_all
from .correct_button import CorrectButton
from .dicom_button import DicomButton
from .job_section import JobSection, JobWidgets
from .queue_button import QueueButton
from .segment_inputs import SegmentInputs
from .segment_options import SegmentOptions
from .segment_output import Declined, agreed_output
from .undo_buttons import UndoButtons
from .warning_lines import WarningLines


class SegmentSection(JobSection):
    """One click is one :class:`Segmenting`; the last one can be undone."""

    def __init__(self, session: Session, ui: Any) -> None:
        tip = _("Segment with the chosen checkpoint (Ctrl+Enter)")
        widgets = JobWidgets(ui.segmentButton, ui.cancelButton, ui.progressBar, ui.statusLabel, tip)
        super().__init__(session, ui, Task(session.worker), widgets)
        #: While widgets and parameters are being set from one another, neither is a choice of the user's.
        self._updating = False
        self._inputs = SegmentInputs(ui, self._on_changed, self._on_input)
        self._options = SegmentOptions(session, ui, self._on_changed)
        self._warnings = WarningLines(ui.fitIcon, ui.fitLabel)
        self._results = SegmentResults()
        self._quality = SceneQuality(session, session.batch_looked_at.emit)
        self._queued = SegmentQueue(session, self._on_queued, self._on_queue_problem)
        self._queue_button = QueueButton(session, ui.segmentQueueButton, self.obstacle, self._add_to_queue)
        self._current: Segmenting | None = None
        self._clicked = 0.0
        #: ID of the volume and path of the checkpoint that were chosen when the status was set.
        self._status_of: tuple[str, str] = ("", "")
        # Loading a case changes many things in a row: look once, afterwards.
        self._refresh_timer = single_shot(self.show_state)
        self.listen(session.checkpoint_changed, self._on_checkpoint)
        self.listen(session.training_changed, self.show_state)
        self.listen(session.devices_changed, self._options.device.fill)
        self.listen(session.nodes_changed, self._refresh_soon)
        self.listen(session.displayed_changed, self._on_displayed)
        self.listen(session.node_leaving, self._on_node_leaving)
        ui.outputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_output)
        self._correct = CorrectButton(ui.correctButton, self._to_correct)
        self._dicom = DicomButton(session, ui.dicomSegButton, self._to_correct)
        self.listen(self._dicom.task.status, self.set_status)
        self._undo = UndoButtons(session, ui, self._results, self._after_undo)
        self.show_state()

    def set_parameters(self, parameters: Parameters) -> None:
        self.forget_parameters()
        super().set_parameters(parameters)
        self._from_parameters()
        parameters.changed.connect(self._from_parameters)

    def forget_parameters(self) -> None:
        if self._parameters is not None:
            self._parameters.changed.disconnect(self._from_parameters)
        super().forget_parameters()

    def _from_parameters(self) -> None:
        parameters = self._parameters
        if self._updating or parameters is None:
            return
        self._updating = True
        self._inputs.load(parameters)
        self._options.load(parameters)
        self.ui.outputSelector.setCurrentNode(parameters.output)
        self._updating = False
        self._refresh_soon()

    def _on_changed(self) -> None:
        """A widget has a new value: remember it with the scene."""
        parameters = self._parameters
        if parameters is not None and not self._updating:
            self._updating = True
            self._inputs.store(parameters)
            self._options.store(parameters)
            parameters.output = self.ui.outputSelector.currentNode()
            self._updating = False
        self._refresh_soon()

    def _on_input(self) -> None:
        # A segmentation of another volume is not what the next result should go into.
        output = self.ui.outputSelector.currentNode()
        if not self._updating and output is not None and made_on_another(output, self._inputs.volume):
            self.ui.outputSelector.setCurrentNode(None)
        self._drop_status_of_another()
        self._on_changed()

    def _on_displayed(self) -> None:
        self._inputs.follow(displayed_volumes())
        self._refresh_soon()

    def _on_output(self) -> None:
        self.ui.show3DButton.setSegmentationNode(self.ui.outputSelector.currentNode())
        self._on_changed()

    def _on_node_leaving(self, node: Any) -> None:
        # The selector would go on to the next segmentation, which the user never chose to write into.
        if node is self.ui.outputSelector.currentNode():
            self.ui.outputSelector.setCurrentNode(None)
        self._results.forget(node.GetID())

    def _on_checkpoint(self) -> None:
        if self._inputs.show_channels(self.session) and self._parameters is not None:
            self._from_parameters()
        self._drop_status_of_another()
        self.show_state()

    def set_status(self, text: str) -> None:
        self._status_of = self._chosen_now()
        super().set_status(text)

    def _chosen_now(self) -> tuple[str, str]:
        volume, entry = self._inputs.volume, self.session.checkpoint
        return (volume.GetID() or "" if volume is not None else "", str(entry.path) if entry is not None else "")

    def _drop_status_of_another(self) -> None:
        """Beside another volume or checkpoint, what was said of a result would pass for one of theirs."""
        if not self.task.busy and self._status_of != self._chosen_now():
            self.set_status("")

    def _refresh_soon(self) -> None:
        self._refresh_timer.start(0)

    def obstacle(self) -> str:
        return segment_checks.obstacle(self.session, self._inputs.channels, self._inputs.cases())

    def show_state(self) -> None:
        super().show_state()
        ui = self.ui
        self._inputs.show_widgets()
        for widget in (ui.outputLabel, ui.outputSelector):
            widget.setVisible(self._inputs.single)
        self._queue_button.show_state()
        self._correct.show_state()
        self._dicom.show_state()
        self._undo.show_state(self.task.busy)
        ui.show3DButton.setVisible(ui.outputSelector.currentNode() is not None)
        ui.statusLabel.setVisible(bool(ui.statusLabel.text))
        warnings = [] if self.obstacle() else segment_checks.warnings(self.session, self._inputs.cases())
        self._warnings.show(warnings)

    def start(self) -> None:
        if self.task.busy:
            return
        self._clicked = time.perf_counter()
        current = self._prepared()
        if current is not None:
            self._current = current
            done, failed, take = self._on_result, self._on_problem, current.finished
            self.task.start(current.steps(), current.job(), done, failed, self._on_event, chosen(), take)

    def _add_to_queue(self) -> None:
        work = self._prepared()
        if work is not None:
            names = [node.GetName() for node in (case[0] for case in self._inputs.cases())]
            several = _("{count} volumes").format(count=len(names))
            self._queued.add(work, names[0] if len(names) == 1 else several)

    def _prepared(self) -> Segmenting | None:
        """The work as it is set up now; None where nothing can be done, which is told."""
        entry, cases = self.session.checkpoint, self._inputs.cases()
        if self.obstacle() or entry is None or entry.card is None:
            return None
        if not entry.path.exists():
            self.session.refresh_catalog()
            self.session.report(_("{path} is gone. Choose another checkpoint.").format(path=entry.path))
            return None
        output = self.ui.outputSelector.currentNode() if self._inputs.single else None
        if output is not None:
            try:
                output = agreed_output(self.session, self._results, output, cases[0][0], entry.card.labels)
            except Declined:
                return None
        try:
            return Segmenting(entry.path, entry.card, cases, self._options.current, output, self.session.folder())
        except InputError as problem:
            self.session.report(problem)
            return None

    def _to_correct(self) -> tuple[Any, Any] | None:
        output = self.ui.outputSelector.currentNode() if self._inputs.single else None
        return self._results.to_correct(output, displayed_volumes())

    def _after_undo(self, text: str) -> None:
        self.set_status(text)
        output = next_output(self._results.last, self._inputs.volume) if self._results.last is not None else None
        if output is not None:
            self.ui.outputSelector.setCurrentNode(output)
        self.show_state()

    def cancel(self) -> None:
        """The scene closes: nothing of what runs may come into the next one."""
        self._results.clear()
        self._dicom.cancel()
        self._quality.cancel()
        self._queued.cancel()
        current, self._current = self._current, None
        if current is not None:
            self.task.cancel()
            current.close()
        self.ui.show3DButton.setSegmentationNode(None)
        self.set_status("")
        self.show_state()

    def cleanup(self) -> None:
        super().cleanup()
        # The widgets live a little longer, and lose their nodes.
        self._refresh_timer.blockSignals(True)

    def _on_event(self, event: Event) -> None:
        self.session.log_event(event)
        if isinstance(event, Progress) and self._current is not None:
            self._take(self._current.finished()[:1])

    def _on_result(self, result: SegmentResult) -> None:
        current = self._current
        if current is None:
            self.set_status("")
            return
        looking = current.is_batch and len(result.written) > 1
        self._end(current, close=not looking)
        text = summary(current, result, time.perf_counter() - self._clicked)
        if looking:
            text += " " + _("The section Batch says which to look at first.")
            self._quality.start(current)
        self.set_status(text)
        self.session.log(text + " " + ", ".join(f"{k} {v:.2f}" for k, v in result.seconds.items() if v))
        self._show_misplaced(current)
        self._report_failures(current, result.failures)

    def _on_queued(self, work: Segmenting, failures: tuple[Failure, ...]) -> None:
        self._after(work)
        count = len(work.segmentation_ids)
        self.set_status(_("Done: {count} from the queue, see the section Jobs.").format(count=count))
        self._show_misplaced(work)
        self._report_failures(work, failures)
        self.show_state()

    def _on_queue_problem(self, problem: Exception | str, cancelled: bool) -> None:
        if cancelled:
            self.session.log(str(problem))
        else:
            self.session.report(problem)

    def _report_failures(self, work: Segmenting, failures: Sequence[Failure]) -> None:
        if failures:
            head = _("{count} volumes could not be segmented:").format(count=len(failures))
            self.session.report("\n".join([head, *(str(work.worded(failure.what)) for failure in failures)]))

    def _on_problem(self, problem: Exception | str, cancelled: bool) -> None:
        current = self._current
        if current is None:
            self.set_status("")
            return
        if cancelled:
            self._take(current.finished())
        self._end(current)
        self._show_misplaced(current)
        if not cancelled:
            self.session.report(current.worded(problem))

    def _show_misplaced(self, current: Segmenting) -> None:
        for text in current.misplaced():
            self.set_status(text)
            self.session.log(text)

    def _take(self, finished: Sequence[Step]) -> None:
        try:
            do_all(finished)
        except InputError as problem:
            self.session.report(problem)

    def _end(self, current: Segmenting, close: bool = True) -> None:
        """What the engine has made is in the scene; ``close`` the work."""
        self._current = None
        if close:
            current.close()
        self._after(current)

    def _after(self, current: Segmenting) -> None:
        """The results are in the scene."""
        self._results.add(current)
        output = next_output(current, self._inputs.volume)
        if output is not None:
            self.ui.outputSelector.setCurrentNode(output)
        if current.as_made:
            chosen = self._inputs.volume if self._inputs.single else None
            show_results([made.volume_id for made in current.as_made.values()], chosen)
        self.show_state()
