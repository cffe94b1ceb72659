"""Section Preview: a few painted strokes spread over their volume, while the user goes on painting."""

from __future__ import annotations

import time
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.errors import InputError
from contrastiveseg.results import PreviewResult

from ..mrml.paint_watch import PaintWatch
from ..mrml.parameters import Parameters
from ..mrml.slice_views import displayed_volumes
from ..plain_text import plain_tip
from ..timer import single_shot
from ..workflows.previewing import (
    Previewing,
    channels_painted_on,
    obstacle,
    paint,
    painted_in_editor,
    volume_painted_on,
)
from ..workflows.segmenting import volumes_in_scene
from ..workflows.session import Session
from ..workflows.task import Task
from .device_box import chosen_device
from .job_section import JobSection, job_widgets


class PreviewSection(JobSection):
    """A click previews; further strokes stop a preview that runs and start it anew, or start one where wished."""

    def __init__(self, session: Session, ui: Any) -> None:
        tip = _("Show over the volume what the strokes would become, with the features of the chosen checkpoint")
        super().__init__(session, ui, Task(session.worker), job_widgets(ui, "preview", tip))
        self._previewing = Previewing()
        self._watch = PaintWatch(self._on_stroke, self._on_pause)
        #: Whether a stroke was painted while the preview ran.
        self._again = False
        #: Whether the preview that runs was asked for by a click: its problems are shown in a window.
        self._by_click = True
        self._scene_closed = False
        self._clicked = 0.0
        self._timer = single_shot(self.show_state)
        for signal in (session.checkpoint_changed, session.nodes_changed, session.displayed_changed):
            self.listen(signal, self._refresh_soon)
        self.listen(session.entered, self._follow_editor)
        ui.strokesSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_chosen)
        ui.followCheckBox.connect("toggled(bool)", self._on_follow)
        ui.paintButton.connect("clicked()", self._paint)
        ui.takeButton.connect("clicked()", self._take)
        ui.takeBackButton.connect("clicked()", self._take_back)
        self.show_state()

    def set_parameters(self, parameters: Parameters) -> None:
        super().set_parameters(parameters)
        self._follow_editor()
        self.show_state()

    def _follow_editor(self) -> None:
        painted = painted_in_editor()
        if painted is not None and self._strokes is None:
            self.ui.strokesSelector.setCurrentNode(painted)
        self._refresh_soon()

    def _refresh_soon(self) -> None:
        self._timer.start(0)

    def _on_chosen(self) -> None:
        self._watch.follow(self._strokes)
        if not self.task.busy:
            # What is said there is of another segmentation.
            self.set_status("")
        self._refresh_soon()

    @property
    def _strokes(self) -> Any:
        return self.ui.strokesSelector.currentNode()

    @property
    def _volume(self) -> Any:
        """The first volume that the slice views show and that could be painted on, or None."""
        return next((node for node in displayed_volumes() if node in volumes_in_scene()), None)

    def obstacle(self) -> str:
        card = self.session.card
        return self.session.card_obstacle or (obstacle(card, self._strokes) if card is not None else "")

    def show_state(self) -> None:
        super().show_state()
        ui, strokes = self.ui, self._strokes
        idle = not self.task.busy
        volume = self._volume
        ui.paintButton.setEnabled(volume is not None)
        tip = _(
            "Paint on {name} in the Segment Editor: in the chosen segmentation if it is of this volume, else a new one"
        )
        nothing = _("Load a volume: one that the slice views show can be painted on.")
        ui.paintButton.setToolTip(plain_tip(tip.format(name=volume.GetName()) if volume is not None else nothing))
        ui.takeButton.setEnabled(idle and strokes is not None and self._previewing.can_take(strokes))
        ui.takeBackButton.setEnabled(idle and strokes is not None and self._previewing.can_take_back(strokes))

    def start(self) -> None:
        self._begin(by_click=True)

    def _begin(self, by_click: bool) -> None:
        entry, strokes = self.session.checkpoint, self._strokes
        if self.task.busy or self.obstacle() or entry is None or entry.card is None:
            return
        self._by_click, self._again, self._scene_closed = by_click, False, False
        self._watch.follow(strokes)
        self._clicked = time.perf_counter()
        self._checkpoint = entry.path
        channels = channels_painted_on(entry.card, strokes)
        steps = self._previewing.steps(strokes, volume_painted_on(strokes), channels, self.session.folder())
        job = self._previewing.job(entry.path, chosen_device(self.session))
        self.task.start(steps, job, self._done, self._failed, self.session.log_event)

    def _on_stroke(self) -> None:
        if self.task.busy:
            self._again = True
            self.task.cancel()

    def _on_pause(self) -> None:
        if self.ui.followCheckBox.checked and not self.task.busy:
            self._begin(by_click=False)

    def _on_follow(self) -> None:
        if self.ui.followCheckBox.checked:
            self._begin(by_click=False)

    def _done(self, result: PreviewResult) -> None:
        if self._scene_closed:
            self._forget()
            return
        try:
            node = self._previewing.show(self._checkpoint)
        except InputError as problem:
            self._report(problem)
            return
        if node is None:
            self.set_status(_("The volume or the strokes are gone from the scene; the preview was dropped."))
        else:
            self.set_status(_summary(result, time.perf_counter() - self._clicked))
        self.show_state()
        if self._again:  # the stroke came too late to stop this one
            self._begin(self._by_click)

    def _failed(self, problem: Exception | str, cancelled: bool) -> None:
        if self._scene_closed:
            self._forget()
        elif cancelled and self._again:
            self._begin(self._by_click)
        elif not cancelled:
            self._report(problem)
        self.show_state()

    def _report(self, problem: Exception | str) -> None:
        """A window at every stroke would stop the painting."""
        if self._by_click:
            self.session.report(problem)
        else:
            self.session.log(str(problem))
            self.set_status(str(problem))

    def _paint(self) -> None:
        self.ui.strokesSelector.setCurrentNode(paint(self._volume, self._strokes))

    def _take(self) -> None:
        strokes = self._strokes
        volume = volume_painted_on(strokes)
        try:
            overlaps = self._previewing.overlaps(strokes, volume)
            question = _("Segments overlap in {name}, and would not any more: {overlaps} Take the preview anyway?")
            question = question.format(name=strokes.GetName(), overlaps=" ".join(overlaps))
            if overlaps and not self.session.confirm(question):
                return
            self._previewing.take(strokes, volume)
            text = _(
                "Taken into {name}. What you had painted is as you painted it. Correct it, then set its status to "
                "Completed: only then is it learned from."
            )
            self.set_status(text.format(name=strokes.GetName()))
        except InputError as problem:
            self.session.report(problem)
        self._watch.pass_over()
        self.show_state()

    def _take_back(self) -> None:
        undo = self._previewing.undo
        question = _("Segments were corrected since. Undo throws the corrections away. Undo anyway?")
        if undo is None or (undo.edited_since and not self.session.confirm(question)):
            return
        try:
            self._previewing.take_back(self._strokes, volume_painted_on(self._strokes))
            self.set_status(_("Undone."))
        except InputError as problem:
            self.session.report(problem)
        self._watch.pass_over()
        self.show_state()

    def cancel(self) -> None:
        self._scene_closed, self._again = True, False
        self.task.cancel()
        self._watch.close()
        if not self.task.busy:  # else at its end: the worker may still write
            self._forget()
        self.ui.followCheckBox.setChecked(False)
        self.show_state()

    def _forget(self) -> None:
        self._previewing.close()
        self.set_status("")

    def cleanup(self) -> None:
        super().cleanup()
        # The widgets live a little longer, and lose their nodes.
        self._timer.blockSignals(True)
        self._watch.close()


def _summary(result: PreviewResult, seconds: float) -> str:
    """How long it took, for the user, and what it had to assume."""
    text = _("Previewed in {seconds:.1f} s.").format(seconds=seconds)
    if result.background:
        return text
    assumed = _(
        "No background was painted, so it was assumed where the volume is unlike the strokes. Where the preview is "
        "too large, paint a segment named background, or erase in the segment."
    )
    return f"{text} {assumed}"
