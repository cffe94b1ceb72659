"""Preview: strokes shown as what they would become, beside what the user paints and never over it."""

from pathlib import Path

import numpy as np
import pytest
import slicer
from nodes import mask_of, segment_id, voxels
from patients import SHAPE, add_segmentation, add_volume
from preview_driver import LIVER, SECONDS, SPLEEN, dice, found, with_strokes
from two_channels import two_channel_checkpoint


@pytest.fixture
def drive(kept, models_folder, module, wait_for):
    return with_strokes(module, wait_for)


def test_a_click_shows_the_whole_volume_and_leaves_the_strokes_alone(drive, screenshot):
    before = drive.masks()
    made = drive.preview()
    assert dice(mask_of(made, "Liver", drive.volume), LIVER) > 0.7
    assert dice(mask_of(made, "Spleen", drive.volume), SPLEEN) > 0.7
    assert [made.GetSegmentation().GetNthSegment(i).GetName() for i in range(2)] == ["Liver", "Spleen"]
    assert made.GetSegmentation().GetNumberOfSegments() == 2
    assert all(np.array_equal(before[name], mask) for name, mask in drive.masks().items())
    assert drive.ui.previewStatusLabel.text.startswith("Previewed in")
    assert "No background" not in drive.ui.previewStatusLabel.text
    slicer.util.mainWindow().show()
    screenshot(drive.panel.widget, "preview")


def test_further_strokes_change_the_preview_that_is_there(drive):
    made = drive.preview()
    first = mask_of(made, "Spleen", drive.volume)
    drive.paint("Spleen", (slice(12, 15), slice(15, 19), slice(3, 9)))
    assert drive.preview() is made
    assert mask_of(made, "Spleen", drive.volume).sum() > first.sum()
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 2


def test_without_painted_background_the_user_is_told_what_was_assumed(drive):
    drive.strokes.GetSegmentation().RemoveSegment(segment_id(drive.strokes, "Background"))
    drive.preview()
    assert "No background was painted" in drive.ui.previewStatusLabel.text


def test_what_was_erased_is_background(drive):
    drive.strokes.GetSegmentation().RemoveSegment(segment_id(drive.strokes, "Background"))
    place = (slice(1, 3), slice(1, 3), slice(1, 20))
    drive.paint("Liver", place)
    drive.preview()
    drive.paint("Liver", place, 0)
    made = drive.preview()
    assert "No background" not in drive.ui.previewStatusLabel.text
    assert not mask_of(made, "Liver", drive.volume)[place].any()


def test_a_segment_that_is_removed_was_not_erased(drive):
    drive.preview()
    for name in ("Background", "Spleen"):
        drive.strokes.GetSegmentation().RemoveSegment(segment_id(drive.strokes, name))
    made = drive.preview()
    assert "No background was painted" in drive.ui.previewStatusLabel.text
    assert made.GetSegmentation().GetNumberOfSegments() == 1


def test_a_preview_is_taken_with_the_strokes_as_they_were_painted(drive):
    # Painted where no preview would put it.
    drive.paint("Liver", (0, 0, slice(0, 3)))
    painted = drive.masks()
    made = drive.preview()
    previewed = mask_of(made, "Liver", drive.volume)
    drive.ui.takeButton.click()
    taken = drive.masks()
    assert (taken["Liver"] >= painted["Liver"]).all()
    assert np.array_equal(taken["Background"], painted["Background"])
    untouched = ~(painted["Liver"] | painted["Spleen"] | painted["Background"])
    assert np.array_equal(taken["Liver"][untouched], previewed[untouched])
    assert not made.GetDisplayNode().GetVisibility()
    drive.ui.takeBackButton.click()
    assert all(np.array_equal(painted[name], mask) for name, mask in drive.masks().items())
    assert made.GetDisplayNode().GetVisibility()
    assert not drive.ui.takeBackButton.enabled


def test_what_was_taken_is_no_stroke_but_its_corrections_are(drive):
    made = drive.preview()
    first = mask_of(made, "Liver", drive.volume)
    drive.ui.takeButton.click()
    drive.preview()
    assert np.array_equal(mask_of(made, "Liver", drive.volume), first)
    # Cut off a part of what was taken, and it is background from now on.
    k, j, i = LIVER
    cut = (slice(k.start, k.start + 2), j, i)
    assert drive.masks()["Liver"][cut].any()
    drive.paint("Liver", cut, 0)
    drive.preview()
    drive.ui.takeButton.click()
    assert not drive.masks()["Liver"][cut].any()


def test_undo_and_what_is_said_are_of_the_segmentation_that_was_taken_into(drive):
    painted = drive.masks()
    drive.preview()
    drive.ui.takeButton.click()
    assert drive.ui.previewStatusLabel.text.startswith("Taken into Strokes")
    other = add_segmentation(add_volume("CT 2", 2), ("Liver",), 2)
    drive.ui.strokesSelector.setCurrentNode(other)
    drive.settle()
    assert not drive.ui.takeBackButton.enabled
    assert drive.ui.previewStatusLabel.text == ""
    drive.ui.strokesSelector.setCurrentNode(drive.strokes)
    drive.settle()
    drive.ui.takeBackButton.click()
    assert all(np.array_equal(painted[name], mask) for name, mask in drive.masks().items())


def test_undo_asks_before_corrections_are_lost(drive, dialogs):
    drive.preview()
    drive.ui.takeButton.click()
    drive.paint("Liver", (0, 0, slice(0, 3)))
    dialogs.answer(False)
    drive.ui.takeBackButton.click()
    assert drive.masks()["Liver"][0, 0, 0]


def test_taking_asks_where_segments_overlap(drive, dialogs):
    drive.preview()
    identifier = segment_id(drive.strokes, "Spleen")
    mask = np.zeros(SHAPE, np.uint8)
    mask[LIVER] = 1
    drive.strokes.GetSegmentation().SeparateSegmentLabelmap(identifier)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, drive.strokes, identifier, drive.volume)
    before = drive.masks()
    assert (before["Liver"] & before["Spleen"]).any()
    dialogs.answer(False)
    drive.ui.takeButton.click()
    assert all(np.array_equal(before[name], now) for name, now in drive.masks().items())


def test_strokes_are_followed_where_wished(drive):
    drive.ui.followCheckBox.setChecked(True)
    drive.finish()
    made = found("Strokes preview")
    first = mask_of(made, "Spleen", drive.volume)
    drive.paint("Spleen", (slice(12, 15), slice(15, 19), slice(3, 9)))
    drive.wait_for(lambda: drive.section.task.busy)
    drive.finish()
    assert not np.array_equal(mask_of(made, "Spleen", drive.volume), first)


def test_a_stroke_stops_the_preview_that_runs_and_starts_it_anew(drive):
    drive.settle()
    begun = []
    drive.section.task.changed.connect(lambda: begun.append(drive.section.task.state))
    drive.ui.previewButton.click()
    drive.wait_for(lambda: drive.section.task.state == "running")
    drive.paint("Spleen", (slice(12, 15), slice(15, 19), slice(3, 9)))
    assert drive.section.task.state == "stopping"
    drive.wait_for(lambda: begun.count("writing") == 2 and not drive.section.task.busy, SECONDS)
    assert begun.count("running") == 2
    assert mask_of(found("Strokes preview"), "Spleen", drive.volume)[13, 17, 5]


def test_strokes_without_paint_and_a_preview_are_refused(drive, dialogs):
    made = drive.preview()
    drive.ui.strokesSelector.setCurrentNode(made)
    drive.settle()
    assert "is a preview" in drive.ui.previewButton.toolTip
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "CT 1 empty")
    empty.SetReferenceImageGeometryParameterFromVolumeNode(drive.volume)
    drive.ui.strokesSelector.setCurrentNode(empty)
    drive.settle()
    drive.ui.previewButton.click()
    drive.finish()
    assert dialogs.errors() == ["Nothing is painted yet. A few strokes on one slice are enough."]
    drive.ui.strokesSelector.setCurrentNode(None)
    drive.settle()
    assert "or choose the segmentation" in drive.ui.previewButton.toolTip
    assert not drive.ui.takeButton.enabled


def test_the_segment_editors_segmentation_is_offered(drive, segment_editor):
    drive.ui.strokesSelector.setCurrentNode(None)
    slicer.util.selectModule("SegmentEditor")
    slicer.modules.SegmentEditorWidget.editor.setSegmentationNode(drive.strokes)
    slicer.modules.SegmentEditorWidget.editor.setSourceVolumeNode(drive.volume)
    slicer.util.selectModule("ContrastiveSeg")
    assert drive.ui.strokesSelector.currentNode() is drive.strokes


def test_nothing_comes_into_the_next_scene(drive, scene):
    drive.settle()
    drive.ui.previewButton.click()
    drive.wait_for(lambda: drive.section.task.state == "running")
    scene.Clear(0)
    drive.finish()
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert not list(drive.session.folder().glob("preview-*"))


def test_a_checkpoint_for_two_channels_takes_both_volumes_of_the_case(drive, models_folder, dataset, tmp_path):
    two = two_channel_checkpoint(dataset, tmp_path, models_folder / "two.safetensors")
    drive.session.refresh_catalog(select=two)
    drive.volume.SetName("P1_0000")
    drive.settle()
    drive.section.show_state()
    assert "This case lacks" in drive.ui.previewButton.toolTip
    second = add_volume("P1_0001", 1)
    drive.settle()
    drive.wait_for(lambda: drive.ui.previewButton.enabled)
    drive.preview()
    files = [Path(file) for file in drive.section.task._job.image]
    written = [voxels(file) for file in files]
    assert (written[0] == slicer.util.arrayFromVolume(drive.volume)).all()
    assert (written[1] == slicer.util.arrayFromVolume(second)).all()
    # The volumes are written once; another one in its place is written.
    before = [file.stat().st_mtime_ns for file in files]
    drive.preview()
    assert [file.stat().st_mtime_ns for file in files] == before
    slicer.util.updateVolumeFromArray(second, slicer.util.arrayFromVolume(second) + 1)
    drive.preview()
    after = [file.stat().st_mtime_ns for file in files]
    assert (after[0], after[1] > before[1]) == (before[0], True)


def test_the_preview_is_not_learned_from(drive):
    from ContrastiveSegPanel.workflows.pairing import segmentation_of

    made = drive.preview()
    assert made.GetAttribute("ContrastiveSeg.Predicted")
    assert segmentation_of(drive.volume) is drive.strokes


def test_what_was_taken_is_learned_from_when_it_is_completed(drive):
    """A preview that nobody has corrected is no label; the whole volume is labeled when somebody has."""
    from ContrastiveSegPanel.mrml.segment_status import Status, set_segment_status
    from ContrastiveSegPanel.workflows.pairing import PREDICTED

    tune = drive.panel.sections["fineTune"]

    def role_and_part():
        tune.refresh()
        (case,) = tune._rows
        return case.role, tune._parts.of(case).part

    assert role_and_part() == ("train", "painted")
    drive.preview()
    drive.ui.takeButton.click()
    assert drive.strokes.GetAttribute(PREDICTED) == drive.session.checkpoint.path.name
    assert role_and_part() == ("unlabeled", "all")
    assert not tune.ui.learnAgainButton.enabled
    set_segment_status(drive.strokes, segment_id(drive.strokes, "Liver"), Status.COMPLETED)
    assert role_and_part() == ("train", "all")
    assert [structure.name for structure in tune._structures] == ["Liver"]
    # Without a checkpoint that segments, it begins with the one that was pre-trained.
    assert tune.ui.learnAgainButton.enabled
    assert drive.session.checkpoint.name in tune.ui.learnAgainButton.toolTip
    drive.ui.takeBackButton.click()
    assert not drive.strokes.GetAttribute(PREDICTED)
    assert role_and_part() == ("train", "painted")
