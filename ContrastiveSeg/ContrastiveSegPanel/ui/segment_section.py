"""Section Segment: volumes in, segments out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.descriptions import Pieces
from contrastiveseg.errors import InputError
from contrastiveseg.events import Event, Log, Progress
from contrastiveseg.results import SegmentResult

from ..mrml import scene
from ..mrml.parameters import Parameters
from ..mrml.undo import is_as_written
from ..timer import single_shot
from ..workflows import compatibility
from ..workflows.segmenting import Made, Options, Segmenting, volumes_in_scene
from ..workflows.session import Session
from ..workflows.task import Task
from .channels import Channels
from .device_box import DeviceBox
from .section import Section

_INPUTS = ("one", "several", "all")
#: The words of ``SegmentJob``, in the order of the box.
_PIECES: tuple[Pieces, ...] = ("auto", "all", "largest")
#: Row of the form in which the volume is chosen.
_VOLUME_ROW = 1
#: More warnings than these would push the button out of sight.
_MOST_WARNINGS = 3


class SegmentSection(Section):
    """One click is one :class:`Segmenting`; the last one can be undone."""

    def __init__(self, session: Session, ui: Any) -> None:
        super().__init__(session, ui)
        #: While widgets and parameters are being set from one another, neither tells of a choice of the user's.
        self._updating = False
        self._channels = Channels(ui.segmentFormLayout, _VOLUME_ROW, self._on_input)
        self._device = DeviceBox(ui.deviceComboBox, session)
        self._current: Segmenting | None = None
        self._last: Segmenting | None = None
        #: ID of a segmentation -> its last result.
        self._as_made: dict[str, Made] = {}
        self._clicked = 0.0
        # Loading a case changes many things in a row: look once, afterwards.
        self._refresh_timer = single_shot(self.refresh)
        self.task = Task(session.worker, ui.progressBar, ui.statusLabel)
        self.listen(self.task.changed, self.refresh)
        self.listen(session.checkpoint_changed, self._on_checkpoint)
        self.listen(session.devices_changed, self._device.fill)
        self.listen(session.missing_changed, self.refresh)
        self.listen(session.nodes_changed, self._refresh_soon)
        self.listen(session.node_leaving, self._on_node_leaving)
        icon = qt.QApplication.style().standardIcon(qt.QStyle.SP_MessageBoxWarning)
        ui.fitIcon.setPixmap(icon.pixmap(16, 16))
        ui.inputsComboBox.connect("currentIndexChanged(int)", self._on_changed)
        ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_input)
        ui.severalSelector.connect("checkedNodesChanged()", self._on_changed)
        ui.outputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_output)
        ui.piecesComboBox.connect("currentIndexChanged(int)", self._on_changed)
        for box in (ui.mirrorCheckBox, ui.uncertaintyCheckBox):
            box.connect("toggled(bool)", self._on_changed)
        ui.segmentButton.connect("clicked()", self.segment)
        ui.cancelButton.connect("clicked()", self.task.cancel)
        ui.undoButton.connect("clicked()", self.undo)
        self.refresh()

    # What the scene remembers

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
        ui, parameters = self.ui, self._parameters
        if self._updating or parameters is None:
            return
        self._updating = True
        ui.inputsComboBox.setCurrentIndex(_INPUTS.index(parameters.inputs) if parameters.inputs in _INPUTS else 0)
        if parameters.input is not None:
            ui.inputSelector.setCurrentNode(parameters.input)
        several = parameters.several
        for node in volumes_in_scene():
            ui.severalSelector.setCheckState(node, qt.Qt.Checked if node in several else qt.Qt.Unchecked)
        self._channels.set_nodes(parameters.channels)
        ui.outputSelector.setCurrentNode(parameters.output)
        ui.mirrorCheckBox.checked = parameters.mirror
        ui.piecesComboBox.setCurrentIndex(_PIECES.index(parameters.pieces) if parameters.pieces in _PIECES else 0)
        ui.uncertaintyCheckBox.checked = parameters.uncertainty
        self._updating = False
        self._refresh_soon()

    def _on_changed(self) -> None:
        """A widget has a new value: remember it with the scene."""
        ui, parameters = self.ui, self._parameters
        if parameters is not None and not self._updating:
            self._updating = True
            parameters.inputs = _INPUTS[ui.inputsComboBox.currentIndex]
            parameters.input = ui.inputSelector.currentNode()
            parameters.several = list(ui.severalSelector.checkedNodes())
            if self._channels:
                parameters.channels = self._channels.nodes()
            parameters.output = ui.outputSelector.currentNode()
            parameters.mirror = ui.mirrorCheckBox.checked
            parameters.pieces = _PIECES[ui.piecesComboBox.currentIndex]
            parameters.uncertainty = ui.uncertaintyCheckBox.checked
            self._updating = False
        self._refresh_soon()

    def _on_input(self) -> None:
        # A segmentation of another volume is not what the next result should go into.
        output = self.ui.outputSelector.currentNode()
        if not self._updating and output is not None and _is_of_another(output, self._volume()):
            self.ui.outputSelector.setCurrentNode(None)
        self._on_changed()

    def _volume(self) -> Any:
        """The volume on whose grid a single result will lie: of several channels the first."""
        return self._channels.nodes()[0] if self._channels else self.ui.inputSelector.currentNode()

    def _on_output(self) -> None:
        self.ui.show3DButton.setSegmentationNode(self.ui.outputSelector.currentNode())
        self._on_changed()

    def _on_node_leaving(self, node: Any) -> None:
        # The selector would go on to the next segmentation, which the user never chose to write into.
        if node is self.ui.outputSelector.currentNode():
            self.ui.outputSelector.setCurrentNode(None)
        self._as_made.pop(node.GetID(), None)

    def _on_checkpoint(self) -> None:
        entry = self.session.checkpoint
        plan_channels = entry.card.plan.channels if entry is not None and entry.card is not None else ()
        names = [channel.name for channel in plan_channels] if len(plan_channels) > 1 else []
        if self._channels.show(names) and self._parameters is not None:
            self._from_parameters()
        self.refresh()

    # What can be done now

    def _refresh_soon(self) -> None:
        self._refresh_timer.start(0)

    def refresh(self) -> None:
        """Show what can be done, and why not."""
        ui, busy, state = self.ui, self.task.busy, self.task.state
        how = "channels" if self._channels else _INPUTS[ui.inputsComboBox.currentIndex]
        for widgets, shown in (
            ((ui.inputsLabel, ui.inputsComboBox), not self._channels),
            ((ui.inputLabel, ui.inputSelector), how == "one"),
            ((ui.severalLabel, ui.severalSelector), how == "several"),
            ((ui.outputLabel, ui.outputSelector), how in ("one", "channels")),
        ):
            for widget in widgets:
                widget.setVisible(shown)
        why_not = self._why_not()
        ui.segmentButton.setVisible(not busy)
        ui.segmentButton.enabled = not why_not and not busy
        ui.segmentButton.toolTip = why_not or _("Segment with the chosen checkpoint (Ctrl+Enter)")
        ui.cancelButton.setVisible(busy)
        ui.cancelButton.enabled = state != "stopping"
        ui.undoButton.enabled = self._last is not None and not busy
        ui.undoButton.toolTip = (
            _("Put everything back as it was before the last click on Segment")
            if self._last is not None
            else _("Nothing was segmented yet that could be undone.")
        )
        ui.show3DButton.setVisible(ui.outputSelector.currentNode() is not None)
        ui.statusLabel.setVisible(bool(ui.statusLabel.text))
        told = [] if why_not else self._warnings()
        if len(told) > _MOST_WARNINGS:
            more = _("… and {count} more").format(count=len(told) - _MOST_WARNINGS)
            told = [*told[:_MOST_WARNINGS], more]
        ui.fitLabel.setText("\n".join(told))
        ui.fitIcon.setVisible(bool(told))
        ui.fitLabel.setVisible(bool(told))

    def _why_not(self) -> str:
        entry = self.session.checkpoint
        if self.session.obstacle:
            return self.session.obstacle
        if entry is None:
            return _("Choose a checkpoint first.")
        if entry.card is None:
            return _("The chosen checkpoint cannot be used.")
        if not entry.segments:
            return _("The chosen checkpoint was only pre-trained. Fine-tune it first.")
        if self._channels:
            chosen = self._channels.nodes()
            if None in chosen:
                return _("Choose a volume for every channel of the model.")
            if len({node.GetID() for node in chosen}) < len(chosen):
                return _("Two channels cannot be the same volume.")
        cases = self._cases()
        if not cases:
            return _("Load a volume, and choose it.")
        empty = next((v for case in cases for v in case if v.GetImageData() is None), None)
        if empty is not None:
            return _("{name} has no voxels.").format(name=empty.GetName())
        return ""

    def _cases(self) -> list[list[Any]]:
        """The volumes to segment now: a list for each case, with a volume for each channel."""
        if self._channels:
            chosen = self._channels.nodes()
            return [chosen] if None not in chosen else []
        how = _INPUTS[self.ui.inputsComboBox.currentIndex]
        if how == "one":
            node = self.ui.inputSelector.currentNode()
            return [[node]] if node is not None else []
        return [[node] for node in (self.ui.severalSelector.checkedNodes() if how == "several" else volumes_in_scene())]

    def _warnings(self) -> list[str]:
        entry = self.session.checkpoint
        if entry is None or entry.card is None:
            return []
        return [
            warning
            for case in self._cases()
            for channel, volume in enumerate(case)
            for warning in compatibility.warnings(volume, entry.card, channel)
        ]

    # Segmenting

    def segment(self) -> None:
        """Start; the button does it, and so may tests and scripts."""
        entry, cases = self.session.checkpoint, self._cases()
        if self.task.busy or self._why_not() or entry is None or entry.card is None:
            return
        if not entry.path.exists():
            self.session.refresh_catalog()
            self.session.report(_("{path} is gone. Choose another checkpoint.").format(path=entry.path))
            return
        single = len(cases) == 1 and (self._channels or self.ui.inputsComboBox.currentIndex == 0)
        output = self.ui.outputSelector.currentNode() if single else None
        if output is not None and _is_of_another(output, cases[0][0]):
            question = _("{segmentation} was made on another volume. Put the result of {volume} into it all the same?")
            question = question.format(segmentation=output.GetName(), volume=cases[0][0].GetName())
            output = output if self.session.confirm(question) else None
        if output is not None and not self._may_write_into(output, cases[0][0], entry.card.labels):
            return
        self._clicked = time.perf_counter()
        options = Options(
            mirror=self.ui.mirrorCheckBox.checked,
            pieces=_PIECES[self.ui.piecesComboBox.currentIndex],
            uncertainty=self.ui.uncertaintyCheckBox.checked,
            device=self._device.current,
        )
        current = Segmenting(entry.path, entry.card, cases, options, output, self.session.folder())
        self._current = current
        self.task.start(current.steps(), current.job(), self._on_result, self._on_problem, self._on_event)

    def _may_write_into(self, segmentation: Any, volume: Any, labels: Sequence[Label]) -> bool:
        """Whether a result of the volume can go in there, and may replace segments: its own ones as they were made;
        any others, and anybody's work, if the user says so."""
        try:
            scene.check_takes_labels(segmentation, volume)
        except InputError as problem:
            self.session.report(problem)
            return False
        replaced = scene.replaced_by_name(segmentation, labels).values()
        made = self._as_made.get(segmentation.GetID())
        # The segmentation itself does not name a volume that is gone.
        as_made = made.segments if made is not None and made.volume_id == volume.GetID() else {}
        # Segments prepared without voxels lose nothing; one of ours without them was emptied by the user.
        drawn = scene.filled(segmentation, [i for i in replaced if i not in as_made])
        losing = [i for i in replaced if i in as_made or i in drawn]
        if is_as_written(segmentation.GetSegmentation(), losing, as_made):
            return True
        names = [segmentation.GetSegmentation().GetSegment(identifier).GetName() for identifier in losing]
        question = _(
            "{segmentation} has segments that the result replaces, with all corrections in them: {names}. Replace "
            "them? To keep them, choose New segmentation as output."
        )
        return self.session.confirm(question.format(segmentation=segmentation.GetName(), names=", ".join(names)))

    def undo(self) -> None:
        """Put the scene back as it was before the last click on Segment."""
        last = self._last
        if last is None:
            return
        corrected = _("Segments were corrected since. Undo throws the corrections away. Undo anyway?")
        if last.edited_since and not self.session.confirm(corrected):
            return
        self._last = None
        try:
            last.undo()
            self.ui.statusLabel.setText(_("Undone."))
        except InputError as problem:
            self.ui.statusLabel.setText(_("Not everything could be undone."))
            self.session.report(problem)
        self.refresh()

    def cancel(self) -> None:
        """The scene closes: nothing of what runs may come into the next one."""
        self._last = None
        self._as_made.clear()
        current, self._current = self._current, None
        if current is not None:
            self.task.cancel()
            current.close()
        self.ui.show3DButton.setSegmentationNode(None)
        self.ui.statusLabel.setText("")
        self.refresh()

    def cleanup(self) -> None:
        super().cleanup()
        # The widgets live a little longer, and lose their nodes.
        self._refresh_timer.blockSignals(True)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Log):
            self.session.log(event.text)
        elif isinstance(event, Progress) and self._current is not None:
            self._take(self._current)

    def _on_result(self, result: SegmentResult) -> None:
        current = self._current
        if current is None:
            self.ui.statusLabel.setText("")
            return
        self._take(current)
        self._finish(current)
        seconds = time.perf_counter() - self._clicked
        count = len(current.segmentation_ids)
        nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in current.segmentation_ids]
        what = nodes[0].GetName() if count == 1 and nodes[0] is not None else _("{count} volumes").format(count=count)
        told = _("Done: {what}, {seconds:.1f} s.").format(what=what, seconds=seconds)
        if result.left_out:
            told += " " + _("Islands were left out; the log says of what.")
        self.ui.statusLabel.setText(told)
        self.session.log(told + " " + ", ".join(f"{k} {v:.2f}" for k, v in result.seconds.items() if v))
        self._tell_of_surprises(current)
        if result.failures:
            head = _("{count} volumes could not be segmented:").format(count=len(result.failures))
            self.session.report("\n".join([head, *(failure.what for failure in result.failures)]))

    def _on_problem(self, problem: Exception | str, cancelled: bool) -> None:
        current = self._current
        if current is None:
            self.ui.statusLabel.setText("")
            return
        if cancelled:
            self._take(current)
        self._finish(current)
        self._tell_of_surprises(current)
        if not cancelled:
            self.session.report(problem)

    def _tell_of_surprises(self, current: Segmenting) -> None:
        """Say which results are not where they were to be."""
        gone = _("{name} is gone from the scene; its segmentation was dropped.")
        for told in (*current.diverted, *(gone.format(name=name) for name in current.dropped)):
            self.ui.statusLabel.setText(told)
            self.session.log(told)

    def _take(self, current: Segmenting) -> None:
        try:
            current.take_finished()
        except InputError as problem:
            self.session.report(problem)

    def _finish(self, current: Segmenting) -> None:
        self._current = None
        current.close()
        self._as_made.update(current.as_made)
        if current.changed_scene:
            self._last = current
            node, volume = slicer.mrmlScene.GetNodeByID(current.segmentation_ids[-1]), self._volume()
            single = len(current.segmentation_ids) == 1 and node is not None and volume is not None
            # Another volume may have been chosen meanwhile, whose result should not go in there.
            if single and current.as_made[node.GetID()].volume_id == volume.GetID():
                self.ui.outputSelector.setCurrentNode(node)
        self.refresh()


def _is_of_another(segmentation: Any, volume: Any) -> bool:
    """Whether a segmentation was made on another volume than this one."""
    return scene.reference_volume(segmentation) not in (None, volume)
