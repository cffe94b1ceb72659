"""The section Segment, by real clicks on the real module and with the real engine behind it."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from patients import noise
from segment_driver import segmentations
from two_channels import two_channel_checkpoint

from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.descriptions import SegmentJob


@pytest.fixture
def large(scene):
    """A volume that takes some seconds."""
    return noise((48, 64, 64), "Large")


def segment_names(segmentation):
    found = segmentation.GetSegmentation()
    return [found.GetSegment(i).GetName() for i in found.GetSegmentIDs()]


def voxels(segmentation, volume):
    """A label map (k, j, i) of the segments called as the model's labels are, by their values."""
    import slicer

    found = segmentation.GetSegmentation()
    labels = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    for value, name in enumerate(("chamber", "chamber wall", "kidney"), 1):
        identifier = found.GetSegmentIdBySegmentName(name)
        labels[slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, volume) > 0] = value
    return labels


def engines_own(worker, checkpoint, volumes, folder, **options):
    """The label map that the engine writes for volume nodes (one a channel), saved by Slicer, (k, j, i).

    By the panel's worker: each process measures for itself in which precision this machine is faster.
    """
    import SimpleITK as sitk
    import slicer
    from ContrastiveSegPanel.engine.blocking import run_blocking

    files = []
    for channel, volume in enumerate(volumes):
        files.append(str(folder / f"own_{channel:04d}.nrrd"))
        assert slicer.util.exportNode(volume, files[-1], {})
    output = folder / "own.nii.gz"
    job = SegmentJob(checkpoint=str(checkpoint), input=tuple(files), output=str(output), overwrite=True, **options)
    run_blocking(worker, job)
    own = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    assert own.any()
    return own


# Segmenting


def test_the_result_is_the_engines_own_voxel_for_voxel(drive, volume, segmenter, tmp_path):
    import slicer

    drive.click_segment()
    (segmentation,) = segmentations()
    assert segmentation.GetName() == "MRHead segmentation"
    assert segment_names(segmentation) == ["chamber", "chamber wall", "kidney"]
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert segmentation.GetNodeReference(role) is volume
    np.testing.assert_array_equal(
        voxels(segmentation, volume), engines_own(drive.session.worker, segmenter, [volume], tmp_path)
    )
    assert drive.segment.statusLabel.text.startswith("Done: MRHead segmentation, ")
    assert drive.segment.outputSelector.currentNode() is segmentation
    assert drive.files() == []


def test_a_volume_that_looks_unlike_those_of_the_training_is_told(drive, volume, models):
    drive.click_segment()
    assert "looks unlike" not in drive.segment.statusLabel.text
    card, weights = load(models / "organs.safetensors")
    spread = tuple(value / 100 for value in card.familiarity.spread)
    strict = replace(card, familiarity=replace(card.familiarity, spread=spread))
    save(models / "strict.safetensors", weights, strict)
    drive.session.refresh_catalog(models / "strict.safetensors")
    drive.click_segment()
    assert "looks unlike the volumes of the training, see the log" in drive.segment.statusLabel.text


def test_options_reach_the_engine(drive, volume, segmenter, tmp_path):
    import slicer

    drive.segment.optionsGroupBox.collapsed = False
    for box in (drive.segment.mirrorCheckBox, drive.segment.uncertaintyCheckBox):
        box.click()
    drive.segment.piecesComboBox.setCurrentIndex(2)
    drive.click_segment()
    (segmentation,) = segmentations()
    own = engines_own(drive.session.worker, segmenter, [volume], tmp_path, mirror=True, pieces="largest")
    np.testing.assert_array_equal(voxels(segmentation, volume), own)
    assert "Islands were left out" in drive.segment.statusLabel.text
    uncertainty = slicer.util.getNode("MRHead uncertainty")
    array = slicer.util.arrayFromVolume(uncertainty)
    assert array.shape == own.shape
    assert 0 <= array.min() < array.max() <= 1
    # It is no volume to segment, nor to learn from.
    drive.segment.inputsComboBox.setCurrentIndex(2)
    drive.click_segment()
    assert not [s for s in segmentations() if "uncertainty" in s.GetName()]


def test_oblique_and_under_a_transform(drive, volume, scene, segmenter, tmp_path):
    import slicer

    angle = np.radians(25)
    turned = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    volume.SetIJKToRASDirections(turned @ np.diag([-1.0, -1, 1]))
    own = engines_own(drive.session.worker, segmenter, [volume], tmp_path)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 5, -70, 12
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    drive.click_segment()
    (segmentation,) = segmentations()
    assert segmentation.GetParentTransformNode() is transform
    np.testing.assert_array_equal(voxels(segmentation, volume), own)


def test_an_existing_segmentation_keeps_its_other_segments(drive, volume, scene, segmenter, tmp_path, dialogs):
    import slicer

    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    mine.CreateDefaultDisplayNodes()
    mine.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    shape = slicer.util.arrayFromVolume(volume).shape
    drawn = {name: np.zeros(shape, np.uint8) for name in ("tumor", "kidney")}
    drawn["tumor"][2:5, 3:9, 3:9] = 1
    drawn["kidney"][0, 0, 0] = 1
    for name, array in drawn.items():
        identifier = mine.GetSegmentation().AddEmptySegment("", name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, mine, identifier, volume)

    def now(name):
        identifier = mine.GetSegmentation().GetSegmentIdBySegmentName(name)
        return slicer.util.arrayFromSegmentBinaryLabelmap(mine, identifier, volume)

    drive.segment.outputSelector.setCurrentNode(mine)
    dialogs.answer(True)
    drive.click_segment()
    assert ["corrections in them: kidney." in question for question in dialogs.texts()] == [True]
    assert segmentations() == [mine]
    assert segment_names(mine) == ["tumor", "kidney", "chamber", "chamber wall"]
    np.testing.assert_array_equal(now("tumor"), drawn["tumor"])
    np.testing.assert_array_equal(
        voxels(mine, volume), engines_own(drive.session.worker, segmenter, [volume], tmp_path)
    )

    assert drive.segment.undoButton.enabled
    drive.segment.undoButton.click()
    assert segment_names(mine) == ["tumor", "kidney"]
    np.testing.assert_array_equal(now("tumor"), drawn["tumor"])
    np.testing.assert_array_equal(now("kidney"), drawn["kidney"])
    assert not drive.segment.undoButton.enabled


def test_several_volumes_get_a_segmentation_each_and_go_back_in_one_step(drive, scene, segmenter, tmp_path):
    names = ["First", "Second", "Third"]
    volumes = [noise((12, 16, 16), name, seed) for seed, name in enumerate(names)]
    drive.segment.inputsComboBox.setCurrentIndex(1)
    assert "choose it" in drive.why_not()
    from qt import Qt

    for chosen in (volumes[0], volumes[2]):
        drive.segment.severalSelector.setCheckState(chosen, Qt.Checked)
    drive.settle()
    drive.click_segment()
    assert [s.GetName() for s in segmentations()] == ["First segmentation", "Third segmentation"]
    drive.wait_for(lambda: not drive.session.worker.busy)  # it looks at the batch's quality
    own = engines_own(drive.session.worker, segmenter, [volumes[2]], tmp_path)
    np.testing.assert_array_equal(voxels(segmentations()[1], volumes[2]), own)
    drive.segment.undoButton.click()
    assert segmentations() == []

    drive.segment.inputsComboBox.setCurrentIndex(2)
    drive.settle()
    drive.click_segment()
    assert [s.GetName() for s in segmentations()] == [f"{name} segmentation" for name in names]


def test_the_output_removed_leaves_no_other_segmentation_to_be_written_into(drive, volume, scene):
    drawn = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawn by hand")
    drive.click_segment()
    assert drive.segment.outputSelector.currentNode() not in (None, drawn)
    drive.segment.undoButton.click()
    assert segmentations() == [drawn]
    assert drive.segment.outputSelector.currentNode() is None


def correct(segmentation, volume):
    """Paint the whole volume with the first segment, as a user's correction."""
    import slicer

    identifier = segmentation.GetSegmentation().GetNthSegmentID(0)
    array = np.ones(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentation, identifier, volume)


def test_undo_asks_before_it_throws_corrections_away(drive, volume, dialogs):
    drive.click_segment()
    (segmentation,) = segmentations()
    correct(segmentation, volume)
    dialogs.answer(False, True)
    drive.segment.undoButton.click()
    assert segmentations() == [segmentation]
    assert drive.segment.undoButton.enabled
    drive.segment.undoButton.click()
    assert segmentations() == []
    assert [question for question in dialogs.texts() if "corrections" in question] == dialogs.texts()
    assert drive.segment.statusLabel.text == "Undone."


def test_redo_brings_back_what_undo_took_away(drive, volume, dialogs):
    from ContrastiveSegPanel.workflows.pairing import PREDICTED

    drive.segment.uncertaintyCheckBox.setChecked(True)
    drive.click_segment()
    (segmentation,) = segmentations()
    correct(segmentation, volume)
    corrected = voxels(segmentation, volume).copy()
    dialogs.answer(True)
    drive.segment.undoButton.click()
    assert segmentations() == []
    assert drive.segment.redoButton.visible
    assert not drive.segment.undoButton.visible
    drive.segment.redoButton.click()
    (again,) = segmentations()
    np.testing.assert_array_equal(voxels(again, volume), corrected)
    assert again.GetName() == "MRHead segmentation"
    assert again.GetAttribute(PREDICTED)
    assert again.GetDisplayNode() is not None
    assert drive.segment.outputSelector.currentNode() is again
    assert slicer_node("MRHead uncertainty").GetDisplayNode() is not None
    assert drive.segment.undoButton.enabled
    dialogs.answer(True)
    drive.segment.undoButton.click()
    assert segmentations() == []


def slicer_node(name):
    import slicer

    return slicer.util.getNode(name)


def test_redo_into_a_segmentation_that_was_there(drive, volume, scene, dialogs):
    import slicer

    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    mine.CreateDefaultDisplayNodes()
    mine.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identifier = mine.GetSegmentation().AddEmptySegment("", "kidney")
    drawn = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    drawn[:3] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, mine, identifier, volume)
    drive.segment.outputSelector.setCurrentNode(mine)
    dialogs.answer(True)
    drive.click_segment()
    made = voxels(mine, volume).copy()
    for _turn in range(2):
        drive.segment.undoButton.click()
        assert segment_names(mine) == ["kidney"]
        np.testing.assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(mine, identifier, volume), drawn)
        drive.segment.redoButton.click()
        assert segment_names(mine) == ["kidney", "chamber", "chamber wall"]
        np.testing.assert_array_equal(voxels(mine, volume), made)


def enter(box):
    """Answers a question by the key Enter."""
    import qt
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    box.show()
    QTest.keyClick(box, Qt.Key.Key_Return)
    return box.clickedButton() is box.button(qt.QMessageBox.Yes)


def test_enter_keeps_corrections(drive, volume, dialogs):
    drive.click_segment()
    (segmentation,) = segmentations()
    correct(segmentation, volume)
    dialogs.answer(enter, enter)
    drive.segment.undoButton.click()
    drive.settle()
    drive.segment.segmentButton.click()
    assert not drive.task.busy
    assert segmentations() == [segmentation]
    assert len(dialogs.texts()) == 2


def test_segmenting_again_asks_before_it_replaces_corrections(drive, volume, dialogs):
    drive.click_segment()
    (segmentation,) = segmentations()
    made = voxels(segmentation, volume).copy()
    correct(segmentation, volume)
    corrected = voxels(segmentation, volume).copy()
    dialogs.answer(False, True)
    drive.settle()
    drive.segment.segmentButton.click()
    assert not drive.task.busy
    np.testing.assert_array_equal(voxels(segmentation, volume), corrected)
    assert ["chamber, chamber wall" in question for question in dialogs.texts()] == [True]
    drive.click_segment()
    np.testing.assert_array_equal(voxels(segmentation, volume), made)
    # As it was made, it is replaced without a question.
    drive.click_segment()
    assert len(dialogs.texts()) == 2


def test_older_results_too_are_replaced_unasked_unless_they_were_corrected(drive, volume, dialogs):
    drive.click_segment()
    other = noise((12, 16, 16), "Other")
    drive.choose_volume(other)
    drive.click_segment()
    first, second = segmentations()
    correct(second, other)
    drive.choose_volume(volume)
    drive.segment.outputSelector.setCurrentNode(first)
    drive.click_segment()
    assert dialogs.texts() == []
    drive.choose_volume(other)
    drive.segment.outputSelector.setCurrentNode(second)
    drive.settle()
    dialogs.answer(False)
    drive.segment.segmentButton.click()
    assert not drive.task.busy
    assert len(dialogs.texts()) == 1


def test_a_result_in_somebodys_segmentation_is_not_learned_from_unasked(drive, volume, scene, dialogs):
    from ContrastiveSegPanel.workflows.cases import ROLE, TRAIN
    from ContrastiveSegPanel.workflows.pairing import PREDICTED

    drawn = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    volume.SetAttribute(ROLE, TRAIN)
    drive.segment.outputSelector.setCurrentNode(drawn)
    drive.click_segment()
    assert segmentations() == [drawn]
    assert drawn.GetAttribute(PREDICTED)
    assert volume.GetAttribute(ROLE) is None
    drive.segment.undoButton.click()
    assert drawn.GetAttribute(PREDICTED) is None
    assert volume.GetAttribute(ROLE) == TRAIN


def test_undo_tells_what_it_could_not_undo(drive, scene, dialogs):
    for name in ("First", "Second"):
        noise((12, 16, 16), name)
    drive.segment.inputsComboBox.setCurrentIndex(2)
    drive.settle()
    drive.click_segment()
    scene.RemoveNode(segmentations()[1])
    drive.segment.undoButton.click()
    assert segmentations() == []
    assert "removed since" in dialogs.errors()[0]
    assert "Not everything" in drive.segment.statusLabel.text


def test_a_model_with_two_channels_takes_a_volume_for_each(
    drive, models, scene, dataset, tmp_path, screenshot, module, scatter_labels
):
    two = two_channel_checkpoint(dataset, tmp_path, models / "two.safetensors")
    scatter_labels(two)
    drive.session.refresh_catalog()
    drive.choose("two")
    first, second = noise((12, 16, 16), "T1"), noise((12, 16, 16), "T2", seed=1)
    selectors = drive.panel.sections["segment"]._inputs._channels.selectors
    assert len(selectors) == 2
    assert not drive.segment.inputSelector.visible
    selectors[0].setCurrentNode(first)
    assert "every channel" in drive.why_not()
    selectors[1].setCurrentNode(first)
    assert "same volume" in drive.why_not()
    # What is empty keeps its place when another parameter changes.
    selectors[0].setCurrentNode(None)
    drive.segment.mirrorCheckBox.toggle()
    drive.segment.mirrorCheckBox.toggle()
    assert [selector.currentNode() for selector in selectors] == [None, first]
    selectors[0].setCurrentNode(first)
    selectors[1].setCurrentNode(second)
    drive.settle()
    screenshot(module.parent, "segment-two-channels")
    drive.click_segment()
    (segmentation,) = segmentations()
    own = engines_own(drive.session.worker, two, [first, second], tmp_path)
    np.testing.assert_array_equal(voxels(segmentation, first), own)
    # The other model has one channel again.
    drive.choose("organs")
    assert drive.segment.inputSelector.visible
    assert not drive.panel.sections["segment"]._inputs._channels
    drive.segment.mirrorCheckBox.toggle()
    drive.segment.mirrorCheckBox.toggle()
    drive.choose("two")
    selectors = drive.panel.sections["segment"]._inputs._channels.selectors
    assert [selector.currentNode() for selector in selectors] == [first, second]
    # The first channel's volume says whose segmentation it is.
    assert drive.segment.outputSelector.currentNode() is segmentation
    selectors[0].setCurrentNode(second)
    assert drive.segment.outputSelector.currentNode() is None


def test_the_focus_stays_with_the_buttons(drive, volume):
    import slicer

    slicer.util.mainWindow().activateWindow()
    drive.settle()
    drive.segment.segmentButton.setFocus()
    drive.start()
    assert drive.segment.cancelButton.hasFocus()
    drive.finish()
    assert drive.segment.segmentButton.hasFocus()


def test_clicking_twice_segments_once(drive, large):
    drive.start()
    drive.panel.sections["segment"].start()
    assert not drive.segment.segmentButton.visible
    drive.finish()
    assert len(segmentations()) == 1


def test_the_next_click_replaces_the_result_and_another_volume_gets_its_own(drive, volume):
    drive.click_segment()
    drive.click_segment()
    assert len(segmentations()) == 1
    other = noise((12, 16, 16), "Other")
    drive.segment.inputSelector.setCurrentNode(other)
    assert drive.segment.outputSelector.currentNode() is None
    drive.click_segment()
    assert [s.GetName() for s in segmentations()] == ["MRHead segmentation", "Other segmentation"]


def test_a_volume_chosen_while_another_one_is_segmented_gets_its_own(drive, volume):
    other = noise((12, 16, 16), "Other")
    drive.start()
    drive.segment.inputSelector.setCurrentNode(other)
    drive.finish()
    assert drive.segment.outputSelector.currentNode() is None
    drive.click_segment()
    assert [s.GetName() for s in segmentations()] == ["MRHead segmentation", "Other segmentation"]


def test_a_segmentation_of_another_volume_is_not_written_into_unasked(drive, volume, dialogs):
    drive.click_segment()
    (first,) = segmentations()
    other = noise((12, 16, 16), "Other")
    drive.segment.inputSelector.setCurrentNode(other)
    drive.segment.outputSelector.setCurrentNode(first)
    dialogs.answer(False)
    drive.click_segment()
    assert "was made on another volume" in dialogs.texts()[-1]
    assert [s.GetName() for s in segmentations()] == ["MRHead segmentation", "Other segmentation"]
    drive.segment.outputSelector.setCurrentNode(first)
    for answer in (True, True):  # into that segmentation, and over its segments
        dialogs.answer(answer)
    drive.click_segment()
    assert len(segmentations()) == 2


def test_a_result_whose_volume_is_gone_is_not_replaced_unasked(drive, volume, scene, dialogs):
    drive.click_segment()
    (segmentation,) = segmentations()
    other = noise((12, 16, 16), "Other")
    scene.RemoveNode(volume)
    drive.segment.inputSelector.setCurrentNode(other)
    drive.segment.outputSelector.setCurrentNode(segmentation)
    drive.settle()
    dialogs.answer(False)
    drive.segment.segmentButton.click()
    assert not drive.task.busy
    assert len(dialogs.texts()) == 1


def test_corrections_made_meanwhile_stay(drive, volume):
    drive.click_segment()
    (segmentation,) = segmentations()
    drive.start()
    correct(segmentation, volume)
    corrected = voxels(segmentation, volume).copy()
    drive.finish()
    np.testing.assert_array_equal(voxels(segmentation, volume), corrected)
    assert segmentations() == [segmentation, drive.segment.outputSelector.currentNode()]
    assert "new segmentation" in drive.segment.statusLabel.text
    drive.segment.undoButton.click()
    assert segmentations() == [segmentation]


def test_an_empty_template_is_filled_unasked(drive, volume, scene, dialogs):
    template = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Template")
    template.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in ("chamber", "chamber wall"):
        template.GetSegmentation().AddEmptySegment("", name)
    drive.segment.outputSelector.setCurrentNode(template)
    drive.click_segment()
    assert segmentations() == [template]
    assert voxels(template, volume).any()
    assert dialogs.texts() == []


# When things go wrong


def test_an_output_that_takes_no_result_is_refused_before_anything_is_computed(drive, volume, scene, dialogs):
    surface = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surface")
    surface.GetSegmentation().SetSourceRepresentationName("Closed surface")
    drive.segment.outputSelector.setCurrentNode(surface)
    drive.settle()
    drive.segment.segmentButton.click()
    assert not drive.task.busy
    (error,) = dialogs.errors()
    assert "choose a new segmentation" in error


def test_cancelling_before_the_engine_has_it(drive, large):
    drive.start()
    drive.segment.cancelButton.click()
    drive.finish()
    assert (segmentations(), drive.files()) == ([], [])
    assert drive.segment.statusLabel.text == "Stopped."


def test_cancelling_while_the_network_is_at_work(drive, large, volume, screenshot, module):
    drive.choose_volume(large)
    drive.start()
    drive.wait_for_tiles()
    screenshot(module.parent, "segment-running")
    assert drive.segment.cancelButton.visible
    drive.segment.cancelButton.click()
    assert not drive.segment.cancelButton.enabled
    drive.finish()
    assert (segmentations(), drive.files()) == ([], [])
    assert drive.segment.segmentButton.enabled
    drive.segment.inputSelector.setCurrentNode(volume)
    drive.click_segment()
    assert len(segmentations()) == 1


def test_a_killed_engine_is_an_error_and_the_next_click_works(drive, large, volume, dialogs):
    drive.choose_volume(large)
    drive.start()
    drive.wait_for_tiles()
    os.kill(drive.session.worker._process.group, signal.SIGKILL)
    drive.finish()
    (error,) = dialogs.errors()
    assert "ended from outside" in error
    assert (segmentations(), drive.files()) == ([], [])
    drive.segment.inputSelector.setCurrentNode(volume)
    drive.click_segment()
    assert len(segmentations()) == 1


def test_a_closed_scene_leaves_nothing_behind(drive, large, scene):
    drive.start()
    drive.wait_for_tiles()
    scene.Clear(0)
    again = noise((12, 16, 16), "Next")
    drive.finish()
    drive.settle()
    assert (segmentations(), drive.files()) == ([], [])
    assert drive.segment.statusLabel.text == ""
    drive.segment.inputSelector.setCurrentNode(again)
    drive.settle()
    drive.click_segment()
    assert [s.GetName() for s in segmentations()] == ["Next segmentation"]


def test_a_volume_that_is_removed_takes_its_result_with_it(drive, large, scene):
    drive.start()
    drive.wait_for_tiles()
    scene.RemoveNode(large)
    drive.finish()
    assert (segmentations(), drive.files()) == ([], [])
    assert "dropped" in drive.shell.logText.toPlainText()
    assert "dropped" in drive.segment.statusLabel.text


def test_a_checkpoint_deleted_under_the_panel(drive, volume, models, dialogs):
    drive.settle()
    (models / "organs.safetensors").unlink()
    drive.segment.segmentButton.click()
    (error,) = dialogs.errors()
    assert "organs.safetensors is gone" in error
    assert not drive.task.busy
    assert drive.model.checkpointComboBox.findText("organs") == -1
    assert "Choose a checkpoint" in drive.why_not()


def test_a_checkpoint_deleted_while_it_is_handed_over(drive, volume, models, dialogs):
    drive.start()
    (models / "organs.safetensors").unlink()
    drive.finish()
    (error,) = dialogs.errors()
    assert "no checkpoint" in error
    assert drive.files() == []
