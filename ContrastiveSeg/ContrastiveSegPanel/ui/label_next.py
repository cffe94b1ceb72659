"""Label next: which unlabeled volumes would teach the most, as a part of the Fine-tune section."""

from __future__ import annotations

from typing import Any, get_args

import qt
import slicer
from slicer.i18n import tr as _

from contrastiveseg.descriptions import RankJob, SliceDirection
from contrastiveseg.results import RankedCase, RankResult

from ..mrml.parameters import Parameters
from ..mrml.slice_views import show_place
from ..plain_text import plain_tip
from ..workflows.case_hints import channel_problems
from ..workflows.cases import Case, Cases
from ..workflows.labeled_parts import LabeledParts
from ..workflows.ranking import SlicePlace, rank_files, slice_places, to_rank
from ..workflows.session import Session
from ..workflows.task import Steps, Task
from .device_box import chosen_device
from .followed_box import index_of
from .job_section import JobSection, job_widgets
from .number_cell import number_cell
from .short_names import told_apart

_VOLUME, _SCORE, _UNCERTAINTY, _NOVELTY, _SLICE = range(5)
_DIRECTIONS: tuple[SliceDirection, ...] = get_args(SliceDirection)


class LabelNext(JobSection):
    """Ranks on the session's worker, so that it goes beside a training. A click on a row shows the slice to label."""

    def __init__(self, session: Session, ui: Any, cases: Cases, parts: LabeledParts) -> None:
        tip = _("Sort the volumes of which something is left to label by what labeling them would teach")
        super().__init__(session, ui, Task(session.worker), job_widgets(ui, "rank", tip))
        self._cases, self._parts = cases, parts
        self._sweep = Steps()
        self._scene_closed = False
        #: Of each row: the volume's ID and the slices to label, the best first.
        self._ranked: list[tuple[str, list[SlicePlace]]] = []
        self._row = 0
        header = ui.rankTable.horizontalHeader()
        header.setSectionResizeMode(_VOLUME, qt.QHeaderView.Stretch)
        for column in (_SCORE, _UNCERTAINTY, _NOVELTY, _SLICE):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        ui.rankTable.connect("cellClicked(int,int)", self._show)
        ui.rankTable.connect("cellActivated(int,int)", self._show)
        ui.fewSlicesLabel.connect("linkActivated(QString)", self._show_slice)
        ui.directionComboBox.connect("currentIndexChanged(int)", self._remember)
        self._fill([])

    def set_parameters(self, parameters: Parameters) -> None:
        self._parameters = None
        self.ui.directionComboBox.setCurrentIndex(index_of(_DIRECTIONS, parameters.rank_direction))
        self._parameters = parameters

    def _remember(self) -> None:
        if self._parameters is not None:
            self._parameters.rank_direction = self._direction

    @property
    def _direction(self) -> SliceDirection:
        return _DIRECTIONS[self.ui.directionComboBox.currentIndex]

    def _in_slices(self, case: Case) -> bool:
        return self._parts.of(case).part == "slices"

    def cancel(self) -> None:
        self._scene_closed = True
        self.task.cancel()
        self._fill([])
        self.set_status("")

    def obstacle(self) -> str:
        if general := self.session.card_obstacle:
            return general
        rows = self._cases.rows()
        ranked = to_rank(rows, self._in_slices)
        if not ranked:
            return _("There is no volume with the role Unlabeled, and none that is labeled on some slices only.")
        return channel_problems([case for case in rows if case in ranked or case.labeled], self._cases.channels)

    def start(self) -> None:
        entry = self.session.checkpoint
        if self.task.busy or self.obstacle() or entry is None:
            return
        self._folder = self.session.new_folder("rank-")
        files = rank_files(self._cases.rows(), self._in_slices, self._folder)
        self._volume_ids, self._ranked_by = files.volume_ids, entry.name
        job = RankJob(
            checkpoint=str(entry.path),
            input=files.input,
            labeled=files.labeled,
            direction=self._direction,
            device=chosen_device(self.session),
        )
        self._scene_closed = False
        self._fill([])
        self.task.start(files.steps, job, self._done, self._failed, self.session.log_event)

    def _done(self, result: RankResult) -> None:
        self._remove_files()
        if not self._scene_closed:
            self._fill([c for c in result.cases if slicer.mrmlScene.GetNodeByID(self._volume_ids[c.name])])
            text = _("Ranked with {checkpoint}. Click a volume to see the slice to label next.")
            self.set_status(text.format(checkpoint=self._ranked_by))

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
        self._ranked = []
        volumes = [slicer.mrmlScene.GetNodeByID(self._volume_ids[case.name]) for case in ranked]
        names = told_apart([volume.GetName() for volume in volumes])
        for row, (case, volume) in enumerate(zip(ranked, volumes, strict=True)):
            name = qt.QTableWidgetItem(names[row])
            name.setToolTip(plain_tip(volume.GetName()))
            table.setItem(row, _VOLUME, name)
            for column, value in ((_SCORE, case.score), (_UNCERTAINTY, case.uncertainty), (_NOVELTY, case.novelty)):
                table.setItem(row, column, number_cell("" if value is None else f"{value:.2f}"))
            places = slice_places(case, volume)
            table.setItem(row, _SLICE, qt.QTableWidgetItem(places[0].words))
            self._ranked.append((volume.GetID(), places))
        table.setVisible(bool(ranked))
        self.ui.fewSlicesLabel.setVisible(False)

    def _show(self, row: int) -> None:
        self._row = row
        _identifier, (best, *few) = self._ranked[row]
        links = ", ".join(f"<a href='{number}'>{place.index}</a>" for number, place in enumerate(few, 1))
        text = _("To label a few slices instead of the volume, take these {direction} ones: {slices}.")
        self.ui.fewSlicesLabel.setText(text.format(direction=best.direction, slices=links))
        self.ui.fewSlicesLabel.setVisible(bool(few))
        self._show_slice("0")

    def _show_slice(self, number: str) -> None:
        identifier, places = self._ranked[self._row]
        volume = slicer.mrmlScene.GetNodeByID(identifier)
        if volume is None:
            self.set_status(_("This volume is no longer in the scene."))
        else:
            show_place(volume, places[int(number)].point)
