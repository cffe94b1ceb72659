"""From a result to a better checkpoint: correct where the doubt is, mark as completed, learn again."""

from pathlib import Path

import numpy as np
import pytest
import slicer
from nodes import OBLIQUE, transform, turned
from patients import SHAPE, add_patient, add_segmentation, add_volume, boxes
from segment_driver import pick

from contrastiveseg.checkpoints.learned_cases import learned_cases

SECONDS = 90
IN_PROGRESS, COMPLETED, FLAGGED = 1, 2, 3


def set_status(node, *statuses):
    """As Slicer's table of segments does."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    for number, status in enumerate(statuses):
        logic.SetSegmentStatus(node.GetSegmentation().GetNthSegment(number), status)


def statuses_of(node):
    logic, segmentation = slicer.vtkSlicerSegmentationsModuleLogic, node.GetSegmentation()
    return [logic.GetSegmentStatus(segmentation.GetNthSegment(i)) for i in range(segmentation.GetNumberOfSegments())]


def add_result(name, seed, names=("Liver", "Spleen"), checkpoint="made.safetensors"):
    """A volume with what a checkpoint has made of it."""
    volume, node = add_patient(name, seed, names)
    node.SetAttribute("ContrastiveSeg.Predicted", checkpoint)
    set_status(node, *[IN_PROGRESS for _ in names])
    return volume, node


class Driver:
    def __init__(self, module, wait_for):
        self.panel, self.session, self.wait_for = module.panel, module.panel.session, wait_for
        self.section = module.panel.sections["fineTune"]
        self.ui = self.section.ui

    def settle(self):
        self.wait_for(lambda: not self.section._timer.active)
        self.wait_for(lambda: not self.section._parts._to_look_at(self.section._cases.rows()))
        self.section.refresh()

    def queue(self):
        table = self.ui.correctionsTable
        return {table.item(row, 0).text(): table.cellWidget(row, 1).currentText for row in range(table.rowCount)}

    def set(self, row, status):
        box = self.ui.correctionsTable.cellWidget(row, 1)
        pick(box, box.findText(status))
        self.settle()

    def roles(self):
        return {case.name: case.role for case in self.section._cases.rows()}


@pytest.fixture
def drive(kept, models_folder, module, wait_for):
    driver = Driver(module, wait_for)
    driver.session.set_checkpoint(next(e.path for e in driver.session.catalog.entries() if e.origin == "starter"))
    driver.panel.ui.fineTuneSection.collapsed = False
    driver.ui.fineTuneBudgetComboBox.setCurrentIndex(3)
    driver.ui.fineTuneStepsSpinBox.setValue(2)
    return driver


def test_the_status_of_segments_is_the_queue(drive):
    _first, one = add_result("CT 1", 1)
    add_result("CT 2", 2)
    _third, three = add_result("CT 3", 3)
    add_patient("drawn", 0)
    drive.settle()
    assert drive.queue() == {"CT 1": "In progress", "CT 2": "In progress", "CT 3": "In progress"}
    assert drive.roles() == {"CT 1": "unlabeled", "CT 2": "unlabeled", "CT 3": "unlabeled", "drawn": "train"}
    assert not drive.ui.learnAgainButton.enabled
    assert "set its status to Completed" in drive.ui.learnAgainButton.toolTip
    # By the user in Slicer's table, and in the panel's.
    set_status(one, COMPLETED, COMPLETED)
    set_status(three, FLAGGED, COMPLETED)
    drive.settle()
    drive.set(1, "Completed")
    assert drive.queue() == {"CT 1": "Completed", "CT 2": "Completed", "CT 3": "Flagged"}
    assert statuses_of(slicer.util.getNode("CT 2 drawn")) == [COMPLETED, COMPLETED]
    assert drive.roles()["CT 2"] == "train"
    drive.set(1, "Flagged")
    assert drive.roles()["CT 2"] == "unlabeled"
    assert "2 of 3 results are learned from" in drive.ui.correctionsHint.text
    assert "Not learned from: 1 flagged." in drive.ui.correctionsHint.text


def test_of_a_result_only_the_completed_segments_are_taught(drive):
    from ContrastiveSegPanel.workflows.training_files import training_files

    add_patient("drawn", 0)
    _volume, node = add_result("CT 1", 1)
    set_status(node, COMPLETED, IN_PROGRESS)
    drive.settle()
    assert {s.name: s.cases for s in drive.section._structures} == {"Liver": 2, "Spleen": 1}
    # What is not completed may be anywhere: it is not background.
    (missing,) = drive.section._missing
    assert (missing.case.name, missing.name, missing.absent) == ("CT 1", "Spleen", False)
    folder = Path(slicer.app.temporaryPath) / "handed-over"
    folder.mkdir()
    rows, structures = drive.section._rows, drive.section._structures
    files = training_files(rows, structures, (), folder, False, print, (), drive.section._case_labels())
    for _words, write in files.steps:
        write()
    from contrastiveseg.volumes.dataset import find_cases
    from contrastiveseg.volumes.reading import read_labels

    found = {case.name: case for case in find_cases([folder / "cases.json"])}
    assert found["CT-1"].labeling.structures == ("Liver",)
    assert set(np.unique(read_labels(found["CT-1"].labels).array)) == {0, 1}
    assert set(np.unique(read_labels(found["drawn"].labels).array)) == {0, 1, 2}


def test_a_role_that_the_user_chooses_goes_before_the_status(drive):
    volume, node = add_result("CT 1", 1)
    set_status(node, COMPLETED, COMPLETED)
    drive.settle()
    assert drive.roles() == {"CT 1": "train"}
    drive.section._cases.set_role(volume.GetID(), "unlabeled")
    drive.settle()
    assert drive.roles() == {"CT 1": "unlabeled"}
    assert "0 of 1 results are learned from" in drive.ui.correctionsHint.text
    # The status set in the panel decides again.
    drive.set(0, "Completed")
    assert drive.roles() == {"CT 1": "train"}


def test_without_a_checkpoint_that_segments_it_begins_with_the_pre_trained_one(drive):
    _volume, node = add_result("CT 1", 1)
    set_status(node, COMPLETED, COMPLETED)
    drive.settle()
    from ContrastiveSegPanel.ui.finetune_outcome import Corrected, Source

    starter = drive.session.checkpoint
    assert not starter.segments
    assert drive.ui.learnAgainButton.enabled
    assert f"Fine-tune {starter.name} with" in drive.ui.learnAgainButton.toolTip
    # It has segmented nothing, so that there is no before.
    outcome, section = drive.section._outcome, drive.section
    corrected = Corrected(section._rows, section._structures, starter.path)
    outcome.begin(Source({}, [], outcome.scene_number, corrected))
    outcome.score_corrected(starter.path)
    assert not outcome.scores.task.busy
    drive.session.set_checkpoint(None)
    drive.settle()
    assert not drive.ui.learnAgainButton.enabled
    assert "Choose a checkpoint" in drive.ui.learnAgainButton.toolTip


def test_label_segment_correct_learn_again(drive, screenshot):
    for number in range(2):
        add_patient(f"CT {number}", number)
    volume = add_volume("CT 2", 2)
    drive.section._cases.set_role(slicer.util.getNode("CT 1").GetID(), "validation")
    drive.settle()
    drive.ui.fineTuneButton.click()
    drive.wait_for(lambda: not drive.session.training, SECONDS)
    first = drive.session.checkpoint
    segment = drive.panel.sections["segment"]
    segment.ui.inputSelector.setCurrentNode(volume)
    segment.ui.segmentButton.click()
    drive.wait_for(lambda: not segment.task.busy, SECONDS)
    made = slicer.util.getNode("CT 2 segmentation")
    for name, box in zip(("Liver", "Spleen"), boxes(2), strict=True):
        mask = np.zeros(SHAPE, np.uint8)
        mask[box] = 1
        identifier = made.GetSegmentation().GetSegmentIdBySegmentName(name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, made, identifier, volume)
    drive.session.entered.emit()
    drive.settle()
    assert drive.queue() == {"CT 2": "In progress"}
    drive.set(0, "Completed")
    assert drive.ui.learnAgainButton.enabled
    assert "has also learned" not in drive.ui.correctionsHint.text
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("CT 0"))
    drive.settle()
    assert (
        f"{first.name} has also learned from case 1, which this scene does not teach" in drive.ui.correctionsHint.text
    )
    # The starter is chosen: it goes on from the checkpoint that segments all the same.
    drive.session.set_checkpoint(next(e.path for e in drive.session.catalog.entries() if e.origin == "starter"))
    drive.ui.learnAgainButton.click()
    assert drive.session.training
    assert not drive.ui.fineTuneButton.isVisibleTo(drive.panel.widget)
    drive.wait_for(lambda: not drive.session.training, SECONDS)
    again = drive.session.checkpoint
    assert again.path != first.path
    assert again.card.provenance.base == digest(first.path)
    learned = [(f"CT-{number}", None) for number in range(3)]
    assert learned_cases(again.card, learned).same_name == ("CT-0", "CT-2")
    assert len(again.card.provenance.labeled_cases) == 2
    assert again.card.provenance.steps == 2
    drive.wait_for(lambda: "Scoring the corrected volumes" in drive.ui.outcomeLabel.text, SECONDS)
    drive.wait_for(lambda: "Dice on the corrected volumes" in drive.ui.outcomeLabel.text, SECONDS)
    assert "Scoring" not in drive.ui.outcomeLabel.text
    told = drive.ui.outcomeLabel.text
    assert told.index("on the volumes held out") < told.index("CT 1") < told.index("corrected volumes")
    before, after = numbers(told[told.index("corrected volumes") :])
    assert 0 <= before <= 1
    assert 0 <= after <= 1
    assert "After has learned from these very volumes" in told
    assert "role Validation" not in told
    drive.wait_for(lambda: not list(drive.session.folder().rglob("*")), SECONDS)
    window = slicer.util.mainWindow()
    window.resize(420, 1100)
    screenshot(window, "learned-again")


def numbers(text):
    import re

    return [float(cell) for cell in re.findall(r"<td align='right'>([\d.]+)</td>", text)]


def digest(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_scores_of_corrections_without_held_out_volumes_say_what_is_not_known(scene):
    from ContrastiveSegPanel.ui.learn_again import corrections_html
    from ContrastiveSegPanel.workflows.correction_scores import CorrectedCase

    volume = add_volume("CT <1>")
    scores = [CorrectedCase(volume.GetID(), 0.91, 0.97), CorrectedCase("gone", 0.1, 0.2)]
    told = corrections_html(scores, held_out=False)
    assert "CT &lt;1&gt;" in told
    assert numbers(told) == [0.91, 0.97]
    assert "Before is too high" in told
    assert "role Validation to know that" in told
    assert corrections_html([CorrectedCase("gone", 0.1, 0.2)], held_out=False) == ""


def test_scores_count_what_was_taught_alone(drive, segmenter):
    """The references are the completed segments; what the checkpoint finds besides is no mistake."""
    from ContrastiveSegPanel.workflows.correction_scores import CorrectionScores

    drive.session.refresh_catalog(drive.session.catalog.add(segmenter))
    entry = drive.session.checkpoint
    first, second = entry.card.labels[:2]
    volume, node = add_result("CT 1", 1, (first.name, second.name))
    set_status(node, COMPLETED, IN_PROGRESS)
    drive.settle()
    found, scores, section = [], CorrectionScores(drive.session), drive.section
    scores.start(section._rows, section._structures, (entry.path, entry.path), entry.card, "cpu", found.append)
    drive.wait_for(lambda: found, SECONDS)
    ((case,),) = found
    assert case.volume_id == volume.GetID()
    before, after = scores._results
    (dice,) = [row.dice for row in before.rows if row.label == first.value]
    assert (case.before, case.after) == (dice, dice)
    assert [row.dice for row in after.rows] == [row.dice for row in before.rows]


def test_only_corrections_that_are_labeled_throughout_are_scored(drive, segmenter):
    drive.session.refresh_catalog(drive.session.catalog.add(segmenter))
    names = [label.name for label in drive.session.checkpoint.card.labels[:2]]
    for number in range(4):
        _volume, node = add_result(f"CT {number}", number, names)
        set_status(node, COMPLETED, COMPLETED)
    drive.settle()
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetCenter([0.0, 0.0, 0.0])
    roi.SetSize(100, 100, 100)
    for case, part in zip(drive.section._rows[1:], ("slices", "painted", roi.GetID()), strict=True):
        drive.section._parts.say(case, part)
    said, training = [], drive.section.training
    drive.session.log_line.connect(said.append)
    drive.section.learn_again()
    drive.wait_for(lambda: training.task.state == "running", SECONDS)
    scored = drive.section._outcome._source.corrected.cases
    training.task.cancel()
    drive.wait_for(lambda: not drive.session.training, SECONDS)
    assert [case.name for case in scored] == ["CT 0"]
    assert [line[:4] for line in said if "not scored before and after" in line] == ["CT 1", "CT 2", "CT 3"]


def test_the_scene_closed_while_corrections_are_scored(drive, segmenter):
    _volume, node = add_result("CT 1", 1)
    set_status(node, COMPLETED, COMPLETED)
    drive.session.refresh_catalog(drive.session.catalog.add(segmenter))
    drive.settle()
    section, entry = drive.section, drive.session.checkpoint
    scores = section._outcome.scores
    scores.start(
        section._rows, section._structures, (entry.path, entry.path), entry.card, "cpu", section._outcome.show_corrected
    )
    drive.wait_for(lambda: scores.task.state == "running")
    slicer.mrmlScene.Clear(0)
    drive.wait_for(lambda: not scores.task.busy, SECONDS)
    assert not drive.ui.outcomeCard.isVisibleTo(drive.panel.widget)
    assert not list(drive.session.folder().rglob("images"))


def uncertainty_of(volume, voxel):
    """A map of noise that is highest around a voxel (k, j, i), and elsewhere one that is higher, and more in sum."""
    array = np.random.default_rng(0).uniform(0, 0.05, slicer.util.arrayFromVolume(volume).shape).astype(np.float32)
    k, j, i = voxel
    array[k, j - 4 : j + 5, i - 4 : i + 5] = 0.6
    array[(k + 5) % len(array)] += 0.3
    array[(k + 5) % len(array), 0, 0] = 1
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "uncertainty")
    slicer.util.updateVolumeFromArray(node, array)
    node.CopyOrientation(volume)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    node.SetNodeReferenceID("ContrastiveSeg.MapOf", volume.GetID())
    return node


def center():
    (red,) = [n for n in slicer.util.getNodesByClass("vtkMRMLSliceNode") if n.GetName() == "Red"]
    return [red.GetSliceToRAS().GetElement(row, 3) for row in range(3)]


def test_correct_goes_where_the_doubt_is_greatest(drive, segment_editor):
    from ContrastiveSegPanel.workflows.display import correct

    volume, node = add_result("CT 1", 1)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(OBLIQUE))
    volume.SetAndObserveTransformNodeID(transform(turned(30, (4, 5, 6))).GetID())
    uncertainty_of(volume, (6, 9, 12))
    correct(node, volume)
    local = OBLIQUE @ (12, 9, 6, 1)
    assert center() == pytest.approx((turned(30, (4, 5, 6)) @ local)[:3], abs=1e-3)
    assert slicer.util.mainWindow().statusBar().currentMessage() == "Here the checkpoint was least sure."
    widget = slicer.modules.SegmentEditorWidget.editor
    assert (widget.segmentationNode(), widget.sourceVolumeNode()) == (node, volume)


def test_correct_goes_to_the_middle_where_there_is_no_uncertainty_map(drive, segment_editor):
    from ContrastiveSegPanel.workflows.display import correct

    volume = add_volume("CT 1", 1)
    node = add_segmentation(volume, ("Liver",), 1)
    correct(node, volume)
    k, j, i = ((s.start + s.stop - 1) / 2 for s in boxes(1)[0])
    there = slicer.util.arrayFromVTKMatrix(ijk_to_ras(volume)) @ (i, j, k, 1)
    assert center() == pytest.approx(there[:3], abs=1.5)
    assert "the middle of a segment" in slicer.util.mainWindow().statusBar().currentMessage()


def ijk_to_ras(volume):
    import vtk

    found = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(found)
    return found


def test_the_queue_opens_the_editor_on_the_row_that_was_clicked(drive, segment_editor):
    for number in range(2):
        add_result(f"CT {number}", number)
    drive.settle()
    assert not drive.ui.correctChosenButton.enabled
    drive.ui.correctionsTable.setCurrentCell(1, 0)
    drive.ui.correctionsTable.cellClicked.emit(1, 0)
    drive.ui.correctChosenButton.click()
    assert slicer.util.selectedModule() == "SegmentEditor"
    assert slicer.modules.SegmentEditorWidget.editor.segmentationNode().GetName() == "CT 1 drawn"
