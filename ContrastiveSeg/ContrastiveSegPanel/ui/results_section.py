"""Section Results: how well a segmentation agrees with a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from contrastiveseg.errors import ContrastiveSegError
from contrastiveseg.results import EvaluateResult

from .. import settings
from ..mrml import scene
from ..mrml.parameters import Parameters
from ..mrml.score_table import export_table, write_table
from ..mrml.segments import segments_of
from ..workflows.comparison import compare, other_patient
from ..workflows.pairing import volume_of
from ..workflows.session import Session
from ..workflows.task import Task
from .job_section import JobSection, job_widgets
from .save_dialog import file_to_write

#: Pixels above and below the titles of the table's columns.
_TITLE_MARGIN = 8


class ResultsSection(JobSection):
    """Overlap and surface distances of a segmentation and a reference, as a table to be exported."""

    def __init__(self, session: Session, ui: Any) -> None:
        tip = _("Overlap and surface distances, segment by segment")
        super().__init__(session, ui, Task(session.worker), job_widgets(ui, "measure", tip))
        self._scene_closed = False
        ui.predictionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._chosen)
        ui.referenceSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._chosen)
        ui.exportButton.connect("clicked()", self._export)
        # All columns fit into the panel; titles and names take several lines for it.
        ui.resultsTable.verticalHeader().setVisible(False)
        ui.resultsTable.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header = ui.resultsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Stretch)
        header.setDefaultAlignment(qt.Qt.AlignCenter | qt.Qt.TextWordWrap)
        header.setMinimumHeight(2 * header.fontMetrics().lineSpacing() + _TITLE_MARGIN)
        ui.resultsTable.setVisible(False)
        self.listen(session.nodes_changed, self.show_state)
        self.listen(session.node_leaving, self._on_node_leaving)
        self.show_state()

    def set_parameters(self, parameters: Parameters) -> None:
        self._parameters = None
        ui, measured = self.ui, (self.ui.predictionSelector.currentNode(), self.ui.referenceSelector.currentNode())
        ui.predictionSelector.setCurrentNode(parameters.prediction)
        ui.referenceSelector.setCurrentNode(parameters.reference)
        self._parameters = parameters
        if measured != (ui.predictionSelector.currentNode(), ui.referenceSelector.currentNode()):
            self._show_table(None)
            self.set_status("")

    def cancel(self) -> None:
        self._scene_closed = True
        self.task.cancel()
        self._show_table(None)
        self.set_status("")

    def _chosen(self) -> None:
        if self._parameters is not None:
            self._parameters.prediction = self.ui.predictionSelector.currentNode()
            self._parameters.reference = self.ui.referenceSelector.currentNode()
        self.show_state()

    def _on_node_leaving(self, node: Any) -> None:
        # A selector would go on to the next segmentation, whose scores would pass for the other's.
        for selector in (self.ui.predictionSelector, self.ui.referenceSelector):
            if node is selector.currentNode():
                selector.setCurrentNode(None)

    def show_state(self) -> None:
        super().show_state()
        table = self.ui.resultsTable.mrmlTableNode()
        if table is not None and slicer.mrmlScene.GetNodeByID(table.GetID()) is None:
            self._show_table(None)
            self.set_status("")
        self._show_export()

    def obstacle(self) -> str:
        prediction, reference = self.ui.predictionSelector.currentNode(), self.ui.referenceSelector.currentNode()
        if self.session.obstacle:
            return self.session.obstacle
        if prediction is None or reference is None:
            return _("Choose a segmentation and its reference.")
        if prediction is reference:
            return _("Choose two different segmentations.")
        if not segments_of(reference):
            return _("The reference has no segments.")
        if volume_of(reference) is None and volume_of(prediction) is None:
            return _("Neither segmentation says which volume it was made on, so there is no voxel grid to compare on.")
        return ""

    def start(self) -> None:
        if self.task.busy or self.obstacle():
            return
        prediction, reference = self.ui.predictionSelector.currentNode(), self.ui.referenceSelector.currentNode()
        question = other_patient(prediction, reference)
        if question and not self.session.confirm(question):
            return
        volume = volume_of(reference) or volume_of(prediction)
        folder = self.session.new_folder("measure-")
        comparison = compare(prediction, reference, volume, folder)
        self._names = comparison.names
        others = ", ".join(comparison.unmatched)
        note = " " + _("Not in the reference: {names}.").format(names=others) if others else ""
        self._title = _("{prediction} against {reference}").format(
            prediction=prediction.GetName(), reference=reference.GetName()
        )
        # Other segmentations may be chosen while the table is still shown.
        self._summary = f"{self._title}.{note}"
        self._scene_closed, self._folder = False, folder
        self.task.start(comparison.steps, comparison.job, self._done, self._failed)

    def _done(self, result: EvaluateResult) -> None:
        self._remove_files()
        if self._scene_closed:
            return
        table = self.ui.resultsTable.mrmlTableNode()
        if table is None or table.GetName() != self._title:
            table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", self._title)
        write_table(table, result.rows, self._names)
        self._show_table(table)
        self.set_status(self._summary)

    def _failed(self, problem: Exception | str, cancelled: bool) -> None:
        self._remove_files()
        if not cancelled:
            self.session.report(problem)

    def _remove_files(self) -> None:
        for file in self._folder.iterdir():
            file.unlink()
        self._folder.rmdir()

    def _show_table(self, node: Any) -> None:
        table = self.ui.resultsTable
        table.setMRMLTableNode(node)
        table.setVisible(node is not None)
        self._show_export()

    def _show_export(self) -> None:
        measured = self.ui.resultsTable.mrmlTableNode() is not None
        self.ui.exportButton.setEnabled(measured and not self.task.busy)
        self.ui.exportButton.setToolTip(
            _("Write the table to a CSV file") if measured else _("Measure first; the table can then be exported.")
        )

    def _export(self) -> None:
        node = self.ui.resultsTable.mrmlTableNode()
        proposed = Path(settings.text("ExportFolder")) / f"{scene.safe_names([node])[node.GetID()]}.csv"
        filters = _("Comma-separated values") + " (*.csv)"
        path = file_to_write(self.session, _("Export the table"), proposed, filters)
        if path is None:
            return
        try:
            export_table(node, path)
        except (ContrastiveSegError, OSError) as problem:
            self.session.report(problem)
            return
        settings.set_text("ExportFolder", str(path.parent))
        self.set_status(self._summary + " " + _("Written to {path}.").format(path=path))
