"""Labels as people make them: some slices, some voxels, some of the structures."""

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from patients import SHAPE, add_patient, add_segmentation, add_volume, boxes

from contrastiveseg.checkpoints.learned_cases import learned_cases
from contrastiveseg.volumes.dataset import find_cases

SECONDS = 90
_LABELED = 4


class Driver:
    """The section Fine-tune as a user has it before the eyes."""

    def __init__(self, module, wait_for):
        self.panel, self.session, self.wait_for = module.panel, module.panel.session, wait_for
        self.section = module.panel.sections["fineTune"]
        self.ui = self.section.ui

    def rows(self, count):
        self.wait_for(lambda: self.ui.casesTable.rowCount == count)
        self.settle()

    def settle(self):
        """Until every segment was looked at."""
        self.wait_for(lambda: not self.section._parts._to_look_at(self.section._cases.rows()))
        self.section.refresh()

    def parts(self):
        boxes_ = [self.ui.casesTable.cellWidget(row, _LABELED) for row in range(self.ui.casesTable.rowCount)]
        return [box.currentText if box.enabled else "" for box in boxes_]

    def choose(self, table, row, column, text):
        from segment_driver import pick

        box = table.cellWidget(row, column)
        pick(box, box.findText(text))
        self.settle()

    def missing(self):
        table = self.ui.missingTable
        return [
            (table.item(row, 0).text(), table.item(row, 1).text(), table.cellWidget(row, 2).currentText)
            for row in range(table.rowCount)
        ]

    def listed(self):
        """What the engine would read of every case: name -> labeling."""
        self.section.start()
        training = self.section.training
        self.wait_for(lambda: not self.session.training or training.task.state == "running", SECONDS)
        found = {case.name: case.labeling for case in find_cases([Path(training.task._job.images[0])])}
        training.task.cancel()
        self.wait_for(lambda: not self.session.training, SECONDS)
        return found


@pytest.fixture
def drive(kept, models_folder, module, wait_for):
    driver = Driver(module, wait_for)
    driver.session.set_checkpoint(next(e.path for e in driver.session.catalog.entries() if e.origin == "starter"))
    driver.panel.ui.fineTuneSection.collapsed = False
    driver.ui.fineTuneBudgetComboBox.setCurrentIndex(3)
    driver.ui.fineTuneStepsSpinBox.setValue(1)
    return driver


def on_slices(volume, seed=0, step=2):
    """The boxes of a patient, painted on every other sagittal slice."""
    node = add_segmentation(volume, (), seed)
    for name, box in zip(("Liver", "Spleen"), boxes(seed), strict=True):
        mask = np.zeros(SHAPE, np.uint8)
        mask[(*box[:2], slice(box[2].start, box[2].stop, step))] = 1
        paint(node, volume, name, mask)
    return node


def paint(node, volume, name, mask):
    identifier = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    identifier = identifier or node.GetSegmentation().AddEmptySegment("", name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volume)


def test_what_is_labeled_is_guessed_and_shown(drive, screenshot):
    add_patient("Whole", 0)
    on_slices(add_volume("Slices", 1), 1)
    add_patient("Strokes", 2, ("Liver", "background"))
    add_volume("Nothing", 3)
    drive.rows(4)
    assert drive.parts() == ["Whole", "Slices", "Voxels", ""]
    tips = [drive.ui.casesTable.cellWidget(row, _LABELED).toolTip for row in range(3)]
    assert tips[0].endswith("Guessed.")
    assert "Guessed. Liver is painted on 4 of 24 sagittal slices." in tips[1]
    assert "segment named background" in tips[2]
    assert "Not all of Slices, Strokes seems to be labeled" in drive.ui.casesHint.text
    screenshot(drive.panel.widget, "partial-labels")


def test_the_guess_follows_what_is_painted(drive):
    volume = add_volume("CT", 1)
    node = on_slices(volume, 1)
    drive.rows(1)
    assert drive.parts() == ["Slices"]
    for name, box in zip(("Liver", "Spleen"), boxes(1), strict=True):
        mask = np.zeros(SHAPE, np.uint8)
        mask[box] = 1
        paint(node, volume, name, mask)
    # Painting tells the panel nothing; coming back to it does.
    drive.session.entered.emit()
    drive.settle()
    assert drive.parts() == ["Whole"]


def test_what_the_user_says_holds_and_is_saved_with_the_scene(drive, tmp_path):
    on_slices(add_volume("CT", 1), 1)
    drive.rows(1)
    drive.choose(drive.ui.casesTable, 0, _LABELED, "Voxels")
    assert drive.parts() == ["Voxels"]
    assert "Guessed" not in drive.ui.casesTable.cellWidget(0, _LABELED).toolTip
    assert "seems" not in drive.ui.casesHint.text
    file = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(file, None)
    slicer.mrmlScene.Clear(0)
    drive.rows(0)
    slicer.mrmlScene.ReadFromMRB(file, True)
    drive.rows(1)
    assert drive.parts() == ["Voxels"]


def test_surfaces_count_as_painted_throughout(drive):
    _volume, node = add_patient("CT", 0)
    node.GetSegmentation().CreateRepresentation("Closed surface")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.GetSegmentation().RemoveRepresentation("Binary labelmap")
    drive.rows(1)
    assert drive.parts() == ["Whole"]


def test_a_structure_that_one_case_lacks_is_asked_about(drive, screenshot):
    for number in range(2):
        add_patient(f"CT {number}", number)
    add_patient("CT 2", 2, ("Liver",))
    # A segment without voxels was not drawn either.
    volume, prepared = add_patient("CT 3", 3, ("Liver",))
    prepared.GetSegmentation().AddEmptySegment("", "spleen")
    drive.rows(4)
    assert drive.missing() == [("CT 2", "Spleen", "Not drawn: leave out"), ("CT 3", "Spleen", "Not drawn: leave out")]
    assert drive.ui.missingTable.isVisibleTo(drive.panel.widget)
    drive.choose(drive.ui.missingTable, 1, 2, "Absent: teach as absent")
    assert [entry[2] for entry in drive.missing()] == ["Not drawn: leave out", "Absent: teach as absent"]
    screenshot(drive.panel.widget, "missing-structures")
    listed = drive.listed()
    assert listed["CT-0"].structures is None
    assert listed["CT-2"].structures == ("Liver",)
    assert listed["CT-3"].structures == ("Liver", "Spleen")
    # Painted at last, it is missing no more.
    mask = np.zeros(SHAPE, np.uint8)
    mask[boxes(3)[1]] = 1
    paint(prepared, volume, "spleen", mask)
    drive.session.entered.emit()
    drive.settle()
    assert [entry[0] for entry in drive.missing()] == ["CT 2"]


def test_what_is_learned_under_one_name_is_not_missing(drive):
    for number, names in enumerate((("Liver", "Spleen"), ("Liver", "Spleen"), ("Liver", "Milz"))):
        add_patient(f"CT {number}", number, names)
    drive.rows(3)
    assert [entry[:2] for entry in drive.missing()] == [("CT 2", "Spleen")]
    drive.section._cases.set_learn_as("milz", "Spleen")
    drive.settle()
    assert drive.missing() == []
    assert not drive.ui.missingTable.isVisibleTo(drive.panel.widget)


def test_rare_structures_and_background_are_not_asked_about(drive):
    add_patient("CT 0", 0, ("Liver", "Tumor"))
    for number in (1, 2):
        add_patient(f"CT {number}", number, ("Liver", "background"))
    add_patient("CT 3", 3, ("Liver",))
    drive.rows(4)
    assert drive.missing() == []
    assert drive.section.default_name().startswith("Liver-Tumor-2")


def test_a_case_in_which_nothing_was_drawn_is_left_out(drive):
    for number in range(2):
        add_patient(f"CT {number}", number)
    prepared = add_segmentation(add_volume("CT 2", 2), ())
    for name in ("Liver", "Spleen"):
        prepared.GetSegmentation().AddEmptySegment("", name)
    drive.rows(3)
    assert sorted(drive.listed()) == ["CT-0", "CT-1"]


@pytest.mark.parametrize("text", ["no JSON", "7", '{"liver": 1}', "[[1], 2]"])
def test_answers_that_were_not_written_by_us_are_none(drive, text):
    from ContrastiveSegPanel.workflows.missing_structures import ABSENT

    for number in range(2):
        add_patient(f"CT {number}", number)
    _volume, node = add_patient("CT 2", 2, ("Liver",))
    node.SetAttribute(ABSENT, text)
    drive.rows(3)
    assert drive.missing() == [("CT 2", "Spleen", "Not drawn: leave out")]


def test_the_engine_learns_from_slices_strokes_and_what_was_drawn(drive):
    on_slices(add_volume("CT 0", 0), 0)
    add_patient("CT 1", 1)
    add_patient("CT 2", 2, ("Liver",))
    volume, strokes = add_patient("CT 3", 3)
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, :, 0] = 1
    paint(strokes, volume, "Background", mask)
    drive.rows(4)
    said = []
    drive.session.log_line.connect(said.append)
    drive.ui.fineTuneButton.click()
    drive.wait_for(lambda: not drive.session.training, SECONDS)
    card = drive.session.checkpoint.card
    assert [label.name for label in card.labels] == ["Liver", "Spleen"]
    learned = tuple(f"CT-{number}" for number in range(4))
    assert learned_cases(card, [(name, None) for name in learned]).same_name == learned
    assert card.provenance.case_count == 4
    partly = [line.split(":")[0] for line in said if "% of the voxels" in line]
    assert partly == ["CT-0", "CT-3"]
    # Both were said: the engine has nothing to ask.
    assert not [line for line in said if "look like a few" in line or "learned as absent" in line]


def region(volume, name, last_k):
    """An ROI that holds the slices 0 to ``last_k`` of a volume."""
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    thickness = volume.GetSpacing()[2]
    center = [(bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2, bounds[4] + thickness * (last_k + 1) / 2]
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.SetCenter(center)
    node.SetSize(bounds[1] - bounds[0] + 9, bounds[3] - bounds[2] + 9, thickness * (last_k + 1))
    return node


def test_a_volume_that_is_labeled_in_a_region_only(drive):
    from nodes import voxels

    volume, _segmentation = add_patient("CT 0", 0)
    add_patient("CT 1", 1)
    roi = region(volume, "R", 4)
    drive.rows(2)
    drive.wait_for(lambda: drive.ui.casesTable.cellWidget(0, _LABELED).findText("In R") > 0)
    drive.choose(drive.ui.casesTable, 0, _LABELED, "In R")
    assert drive.parts() == ["In R", "Whole"]
    assert "region" in drive.ui.casesTable.cellWidget(0, _LABELED).toolTip
    said, written = [], {}
    drive.session.log_line.connect(said.append)
    drive.ui.fineTuneButton.click()
    task = drive.section.training.task
    drive.wait_for(lambda: task.state == "running", SECONDS)
    for case in find_cases([Path(task._job.images[0])]):
        written[case.name] = voxels(case.labels)
    drive.wait_for(lambda: not drive.session.training, SECONDS)
    expected = np.zeros(SHAPE, np.uint8)
    expected[boxes(0)[0]], expected[boxes(0)[1]] = 1, 2
    expected[5:] = 3
    assert (written["CT-0"] == expected).all()
    assert 3 not in written["CT-1"]
    assert [label.name for label in drive.session.checkpoint.card.labels] == ["Liver", "Spleen"]
    assert [line.split(":")[0] for line in said if "% of the voxels" in line] == ["CT-0"]
    # Without the region nobody knows any more what was labeled: it is guessed again.
    slicer.mrmlScene.RemoveNode(roi)
    drive.wait_for(lambda: drive.parts() == ["Whole", "Whole"])


def test_the_next_slices_of_a_case_begun_are_named_and_shown(drive):
    drive.ui.labelNextGroupBox.collapsed = False
    add_patient("Whole", 0)
    begun = add_volume("Begun", 1)
    on_slices(begun, 1)
    drive.rows(2)
    drive.ui.directionComboBox.setCurrentIndex(3)
    drive.wait_for(lambda: drive.ui.rankButton.enabled)
    drive.ui.rankButton.click()
    task = drive.section._label_next.task
    files = json.loads(Path(task._job.input[0]).read_text(encoding="utf-8"))
    assert [entry.get("labeled_part") for entry in files] == ["slices"]
    assert task._job.direction == "sagittal"
    drive.wait_for(lambda: not task.busy, SECONDS)
    table = drive.ui.rankTable
    assert [table.item(row, 0).text() for row in range(table.rowCount)] == ["Begun"]
    direction, index = table.item(0, 4).text().split()
    assert direction == "sagittal"
    table.cellClicked.emit(0, 0)
    assert i_of(begun) == int(index)
    places = drive.section._label_next._ranked[0][1]
    painted = {box.start + offset for box in (b[2] for b in boxes(1)) for offset in range(0, box.stop - box.start, 2)}
    assert 0 < len(places) - 1 <= 5
    assert not painted & {place.index for place in places[1:]}
    for number, place in enumerate(places):
        drive.ui.fewSlicesLabel.linkActivated.emit(str(number))
        assert i_of(begun) == place.index
    assert "To label a few slices instead of the volume, take these sagittal ones" in drive.ui.fewSlicesLabel.text
    assert drive.session.parameters.rank_direction == "sagittal"


def i_of(volume):
    """The voxel of a volume along its first axis through which the sagittal view goes."""
    import vtk

    (yellow,) = [n for n in slicer.util.getNodesByClass("vtkMRMLSliceNode") if n.GetName() == "Yellow"]
    there = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(there)
    place = [yellow.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    return round(there.MultiplyPoint((*place, 1))[0])
