"""The section Results, by real clicks on the real module and with the real engine behind it."""

import csv
import math

import numpy as np
import pytest
import slicer
from patients import SHAPE, add_segmentation, add_volume, boxes

from contrastiveseg.evaluation.metrics import measure
from contrastiveseg.volumes.volume import Geometry, LabelMap

SECONDS = 60


class Driver:
    def __init__(self, module, wait_for):
        self.panel, self.wait_for = module.panel, wait_for
        self.ui = module.panel.sections["results"].ui
        self.task = module.panel.sections["results"].task

    def choose(self, prediction, reference):
        self.ui.predictionSelector.setCurrentNode(prediction)
        self.ui.referenceSelector.setCurrentNode(reference)

    def measure(self):
        self.wait_for(lambda: self.ui.measureButton.enabled)
        self.ui.measureButton.click()
        assert self.task.busy
        self.wait_for(lambda: not self.task.busy, SECONDS)

    @property
    def table(self):
        """Header and rows of the table shown."""
        node = self.ui.resultsTable.mrmlTableNode()
        columns = [node.GetTable().GetColumn(c) for c in range(node.GetNumberOfColumns())]
        return [c.GetName() for c in columns], [
            [c.GetValue(row) for c in columns] for row in range(node.GetNumberOfRows())
        ]


@pytest.fixture
def drive(kept, module, wait_for):
    driver = Driver(module, wait_for)
    driver.panel.ui.resultsSection.collapsed = False
    return driver


def label_map(seed, count=2):
    array = np.zeros(SHAPE, np.uint8)
    for value, box in enumerate(boxes(seed)[:count], 1):
        array[box] = value
    return LabelMap(
        array, Geometry((SHAPE[2], SHAPE[1], SHAPE[0]), (2.0, 2.0, 3.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    )


def test_the_table_holds_what_the_engine_measures(drive, scene, screenshot):
    volume = add_volume("CT")
    prediction = add_segmentation(volume, ("spleen ", "LIVER"), 5, "found")
    reference = add_segmentation(volume, ("Liver", "Spleen", "Tumor"), 0, "drawn")
    # Names decide, not the order: the first box of the prediction is called spleen.
    drive.choose(prediction, reference)
    drive.measure()
    header, rows = drive.table
    assert header == ["Segment", "Dice", "HD95 (mm)", "ASSD (mm)", "Volume (ml)", "Reference (ml)"]
    found = label_map(5)
    swapped = LabelMap(np.array([0, 2, 1], np.uint8)[found.array], found.geometry)
    expected = measure(swapped, label_map(0), {1: "Liver", 2: "Spleen"})
    assert [row[0] for row in rows] == ["Liver", "Spleen"]
    for row, scores in zip(rows, expected, strict=True):
        values = (scores.dice, scores.hd95_mm, scores.assd_mm, scores.prediction_ml, scores.reference_ml)
        assert row[1:] == pytest.approx([math.nan if v is None else v for v in values], abs=1e-4, nan_ok=True)
    assert list(drive.panel.session.folder().rglob("*")) == []
    assert drive.ui.measureStatusLabel.text == "found against drawn."
    screenshot(drive.panel.widget, "results")

    # Measured again, the same table has the new scores; removed from the scene, it is shown no more.
    mask = np.zeros(SHAPE, np.uint8)
    mask[boxes(0)[0]] = 1
    identifier = prediction.GetSegmentation().GetNthSegmentID(1)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, prediction, identifier, volume)
    drive.measure()
    assert drive.table[1][0][1] == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1
    scene.RemoveNode(drive.ui.resultsTable.mrmlTableNode())
    drive.wait_for(lambda: drive.ui.resultsTable.mrmlTableNode() is None)
    assert not drive.ui.exportButton.enabled
    assert drive.ui.measureStatusLabel.text == ""


def test_what_one_side_lacks_is_told(drive, scene, tmp_path, dialogs):
    import qt

    volume = add_volume("CT")
    drive.choose(
        add_segmentation(volume, ("Liver", "Cyst"), 0, "found"), add_segmentation(volume, seed=0, name="drawn")
    )
    drive.measure()
    rows = {row[0]: row[1:] for row in drive.table[1]}
    assert rows["Liver"][:3] == [1.0, 0.0, 0.0]
    shown = drive.ui.resultsTable.model()
    assert [shown.headerData(column, qt.Qt.Horizontal) for column in (1, 2, 4)] == ["Dice", "HD95 [mm]", "Volume [ml]"]
    assert rows["Spleen"][0] == 0
    assert math.isnan(rows["Spleen"][1])
    assert drive.ui.measureStatusLabel.text == "found against drawn. Not in the reference: Cyst."
    file = tmp_path / "scores.csv"
    dialogs.answer(tmp_path / "scores")
    drive.ui.exportButton.click()
    # The dialog asks about the name as it was typed; the file may be there with the ending added.
    file.write_bytes(file.read_bytes() + b"noted by hand")
    kept = file.read_bytes()
    dialogs.answer(tmp_path / "scores", False)
    drive.ui.exportButton.click()
    assert file.read_bytes() == kept
    dialogs.answer(tmp_path / "scores", True)
    drive.ui.exportButton.click()
    with file.open(newline="") as lines:
        written = {row["Segment"]: row for row in csv.DictReader(lines)}
    assert float(written["Liver"]["Dice"]) == 1
    assert written["Spleen"]["HD95 (mm)"] == ""
    # Other segmentations may be chosen beside the table.
    assert drive.ui.measureStatusLabel.text.startswith("found against drawn. Not in the reference: Cyst. Written to")
    assert float(written["Spleen"]["Reference (ml)"]) == pytest.approx(rows["Spleen"][4])


def test_segmentations_of_two_patients_are_compared_only_after_a_question(drive, scene, dialogs):
    first, second = add_volume("CT 1"), add_volume("CT 2")
    drive.choose(add_segmentation(first, name="found"), add_segmentation(second, name="drawn"))
    drive.wait_for(lambda: drive.ui.measureButton.enabled)
    dialogs.answer(False, True)
    drive.ui.measureButton.click()
    assert not drive.task.busy
    assert dialogs.texts()[0].startswith("found was made on CT 1, drawn on CT 2.")
    drive.measure()
    assert [row[1] for row in drive.table[1]] == [1.0, 1.0]


def test_why_nothing_can_be_measured(drive, scene, wait_for):
    assert "Choose" in drive.ui.measureButton.toolTip
    assert "Measure first" in drive.ui.exportButton.toolTip
    volume = add_volume("CT")
    reference = add_segmentation(volume, name="drawn")
    drive.choose(reference, reference)
    assert "different" in drive.ui.measureButton.toolTip
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    drive.choose(reference, empty)
    assert "no segments" in drive.ui.measureButton.toolTip
    slicer.mrmlScene.RemoveNode(volume)
    drive.choose(add_segmentation(add_volume("gone"), name="found"), reference)
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("gone"))
    wait_for(lambda: "voxel grid" in drive.ui.measureButton.toolTip)
    assert not drive.ui.exportButton.enabled


def test_a_segmentation_removed_before_it_is_written(drive, scene, dialogs):
    volume = add_volume("CT")
    prediction, reference = add_segmentation(volume, name="found"), add_segmentation(volume, name="drawn")
    drive.choose(prediction, reference)
    drive.wait_for(lambda: drive.ui.measureButton.enabled)
    drive.ui.measureButton.click()
    slicer.mrmlScene.RemoveNode(reference)
    drive.wait_for(lambda: not drive.task.busy)
    assert "no longer in the scene" in dialogs.errors()[0]
    assert list(drive.panel.session.folder().rglob("*")) == []


def test_the_scene_closed_while_measuring(drive, scene):
    volume = add_volume("CT")
    drive.choose(add_segmentation(volume, name="found"), add_segmentation(volume, name="drawn"))
    drive.wait_for(lambda: drive.ui.measureButton.enabled)
    drive.ui.measureButton.click()
    drive.wait_for(lambda: drive.task.state == "running")
    slicer.mrmlScene.Clear(0)
    drive.wait_for(lambda: not drive.task.busy, SECONDS)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert drive.ui.resultsTable.mrmlTableNode() is None
