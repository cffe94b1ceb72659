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


def test_what_is_said_of_a_result_goes_with_its_volume_and_its_checkpoint(drive, volume, large):
    drive.choose_volume(volume)
    drive.click_segment()
    drive.settle()
    assert drive.segment.statusLabel.text.startswith("Done: MRHead segmentation, ")
    drive.choose_volume(large)
    assert drive.segment.statusLabel.text == ""
    drive.choose_volume(volume)
    drive.click_segment()
    drive.segment.undoButton.click()
    drive.settle()
    assert drive.segment.statusLabel.text == "Undone."
    drive.choose("synthetic-labels-3d-tiny")
    assert drive.segment.statusLabel.text == ""


# When things go wrong


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


def test_a_volume_that_the_engine_refuses_is_named_as_the_user_does(drive, volume, dialogs):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    matrix.SetElement(0, 2, 0.3 * matrix.GetElement(2, 2))
    volume.SetIJKToRASMatrix(matrix)
    volume.SetName("My scan")
    drive.start()
    drive.finish()
    (error,) = dialogs.errors()
    assert error.startswith("My scan has axes in its header that are sheared")
    assert (segmentations(), drive.files()) == ([], [])


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
