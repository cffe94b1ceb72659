"""Label next: which unlabeled volumes would teach the most, as a part of the Fine-tune section."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from contrastiveseg.descriptions import RankJob
from contrastiveseg.events import Event, Log
from contrastiveseg.results import RankedCase, RankResult

from ..mrml.slice_views import show_place
from ..workflows.case_hints import channel_problems
from ..workflows.cases import UNLABELED, Cases
from ..workflows.session import Session
from ..workflows.task import Steps, Task
from ..workflows.training_files import case_names, write_volumes
from .device_box import chosen_device
from .job_section import JobSection, job_widgets

_VOLUME, _SCORE, _UNCERTAINTY, _NOVELTY = range(4)


class LabelNext(JobSection):
    """Ranks on the session's worker, so that it goes beside a training. A click on a row shows its volume."""

    def __init__(self, session: Session, ui: Any, cases: Cases) -> None:
        tip = _("Sort the unlabeled volumes by what labeling them would teach")
        super().__init__(session, ui, Task(session.worker), job_widgets(ui, "rank", tip))
        self._cases = cases
        self._sweep = Steps()
        self._scene_closed = False
        #: Of each row: the volume's ID and the place to show.
        self._ranked: list[tuple[str, tuple[float, float, float]]] = []
        header = ui.rankTable.horizontalHeader()
        header.setSectionResizeMode(_VOLUME, qt.QHeaderView.Stretch)
        for column in (_SCORE, _UNCERTAINTY, _NOVELTY):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        ui.rankTable.connect("cellClicked(int,int)", self._show)
        ui.rankTable.connect("cellActivated(int,int)", self._show)
        self._fill([])

    def cancel(self) -> None:
        self._scene_closed = True
        self.task.cancel()
        self._fill([])
        self.set_status("")

    def obstacle(self) -> str:
        entry = self.session.checkpoint
        if self.session.obstacle:
            return self.session.obstacle
        if entry is None or entry.card is None:
            return _("Choose a checkpoint in the section Model.")
        rows = self._cases.rows()
        if not any(case.role == UNLABELED for case in rows):
            return _("There is no volume with the role Unlabeled.")
        return channel_problems([case for case in rows if case.role == UNLABELED or case.labeled], self._cases.channels)

    def start(self) -> None:
        entry = self.session.checkpoint
        if self.task.busy or self.obstacle() or entry is None:
            return
        rows = self._cases.rows()
        unlabeled = [case for case in rows if case.role == UNLABELED]
        labeled = [case for case in rows if case.labeled]
        self._folder = Path(tempfile.mkdtemp(prefix="rank-", dir=self.session.folder()))
        steps, files = write_volumes([*unlabeled, *labeled], self._folder / "images")
        names = case_names([*unlabeled, *labeled])
        self._volume_ids = {names[case.volume_id]: case.volume_id for case in unlabeled}
        job = RankJob(
            checkpoint=str(entry.path),
            input=tuple(file for case in unlabeled for file in files[case.volume_id]),
            labeled=tuple(file for case in labeled for file in files[case.volume_id]),
            device=chosen_device(self.session),
        )
        self._scene_closed = False
        self._fill([])
        self.task.start(steps, job, self._done, self._failed, self._on_event)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Log):
            self.session.log(event.text)

    def _done(self, result: RankResult) -> None:
        self._remove_files()
        if not self._scene_closed:
            self._fill([c for c in result.cases if slicer.mrmlScene.GetNodeByID(self._volume_ids[c.name])])
            self.set_status(_("Click a volume to see where the checkpoint is least sure."))

    def _failed(self, problem: Exception | str, cancelled: bool) -> None:
        self._remove_files()
        if not cancelled:
            self.session.report(problem)

    def _remove_files(self) -> None:
        files = [*sorted(self._folder.rglob("*"), reverse=True), self._folder]
        self._sweep.start([("", path.rmdir if path.is_dir() else path.unlink) for path in files], lambda problem: None)

    def _fill(self, ranked: list[RankedCase]) -> None:
        table = self.ui.rankTable
        table.setRowCount(len(ranked))
        for row, case in enumerate(ranked):
            volume = slicer.mrmlScene.GetNodeByID(self._volume_ids[case.name])
            name = qt.QTableWidgetItem(volume.GetName())
            name.setToolTip(volume.GetName())
            table.setItem(row, _VOLUME, name)
            for column, value in ((_SCORE, case.score), (_UNCERTAINTY, case.uncertainty), (_NOVELTY, case.novelty)):
                item = qt.QTableWidgetItem("" if value is None else f"{value:.2f}")
                item.setData(qt.Qt.TextAlignmentRole, int(qt.Qt.AlignRight | qt.Qt.AlignVCenter))
                table.setItem(row, column, item)
        table.setVisible(bool(ranked))
        self._ranked = [(self._volume_ids[case.name], case.world) for case in ranked]

    def _show(self, row: int) -> None:
        identifier, place = self._ranked[row]
        volume = slicer.mrmlScene.GetNodeByID(identifier)
        if volume is None:
            self.set_status(_("This volume is no longer in the scene."))
        else:
            show_place(volume, place)
