"""The sections Model and Segment, by real clicks on the real module and with the real engine behind it."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from patients import noise

from ContrastiveSegLib.checkpoints.header import read_card
from ContrastiveSegLib.descriptions import FinetuneJob, SegmentJob

SECONDS = 90


@pytest.fixture
def volume(scene, image):
    """The volume of the fixture ``image``, in the scene."""
    import slicer

    return slicer.util.loadVolume(str(image), {"name": "MRHead"})


@pytest.fixture
def large(scene):
    """A volume that takes some seconds."""
    return noise((48, 64, 64), "Large")


class Driver:
    """The panel as a user has it before the eyes."""

    def __init__(self, module, wait_for):
        self.panel, self.wait_for = module.panel, wait_for
        self.session = module.panel.session
        self.shell = module.panel.ui
        self.model = module.panel.sections["model"].ui
        self.segment = module.panel.sections["segment"].ui
        self.task = module.panel.sections["segment"].task

    def choose(self, text):
        """Pick the entry that begins with ``text`` from the checkpoints."""
        combo = self.model.checkpointComboBox
        pick(combo, next(i for i in range(combo.count) if combo.itemText(i).startswith(text)))

    def start(self):
        self.settle()
        self.segment.segmentButton.click()
        assert self.task.busy

    def finish(self):
        self.wait_for(lambda: not self.task.busy, SECONDS)

    def click_segment(self):
        self.start()
        self.finish()

    def wait_for_tiles(self):
        """Until the network is at work."""
        self.wait_for(lambda: 0 < self.segment.progressBar.value < 900, SECONDS)

    def settle(self):
        """Let what was put off for a moment happen."""
        import slicer

        for _ in range(3):
            slicer.app.processEvents()

    def why_not(self):
        self.settle()
        assert not self.segment.segmentButton.enabled
        return self.segment.segmentButton.toolTip

    def files(self):
        """What lies in this session's folder."""
        folder = self.session.folder()
        return sorted(p.name for p in folder.rglob("*")) if folder.exists() else []


@pytest.fixture
def drive(kept, models, module, wait_for):
    import slicer

    slicer.util.mainWindow().show()
    slicer.app.processEvents()
    return Driver(module, wait_for)


def pick(combo, index):
    """Open the combo box, go to an entry, and take it by the key Enter."""
    import qt

    combo.showPopup()
    combo.view().setCurrentIndex(combo.model().index(index, 0))
    for kind in (qt.QEvent.KeyPress, qt.QEvent.KeyRelease):
        qt.QApplication.sendEvent(combo.view(), qt.QKeyEvent(kind, qt.Qt.Key_Return, qt.Qt.NoModifier))


def segmentations():
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


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
    from ContrastiveSegPanel.blocking import run_blocking

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


def test_options_reach_the_engine(drive, volume, segmenter, tmp_path):
    import slicer

    drive.segment.optionsGroupBox.collapsed = False
    for box in (drive.segment.mirrorCheckBox, drive.segment.largestCheckBox, drive.segment.uncertaintyCheckBox):
        box.click()
    drive.click_segment()
    (segmentation,) = segmentations()
    own = engines_own(drive.session.worker, segmenter, [volume], tmp_path, mirror=True, largest_component=True)
    np.testing.assert_array_equal(voxels(segmentation, volume), own)
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


def test_an_existing_segmentation_keeps_its_other_segments(drive, volume, scene, segmenter, tmp_path):
    import slicer

    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    mine.CreateDefaultDisplayNodes()
    mine.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    shape = slicer.util.arrayFromVolume(volume).shape
    drawn = {name: np.zeros(shape, np.uint8) for name in ("tumour", "kidney")}
    drawn["tumour"][2:5, 3:9, 3:9] = 1
    drawn["kidney"][0, 0, 0] = 1
    for name, array in drawn.items():
        identifier = mine.GetSegmentation().AddEmptySegment("", name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(array, mine, identifier, volume)

    def now(name):
        identifier = mine.GetSegmentation().GetSegmentIdBySegmentName(name)
        return slicer.util.arrayFromSegmentBinaryLabelmap(mine, identifier, volume)

    drive.segment.outputSelector.setCurrentNode(mine)
    drive.click_segment()
    assert segmentations() == [mine]
    assert segment_names(mine) == ["tumour", "kidney", "chamber", "chamber wall"]
    np.testing.assert_array_equal(now("tumour"), drawn["tumour"])
    np.testing.assert_array_equal(
        voxels(mine, volume), engines_own(drive.session.worker, segmenter, [volume], tmp_path)
    )

    assert drive.segment.undoButton.enabled
    drive.segment.undoButton.click()
    assert segment_names(mine) == ["tumour", "kidney"]
    np.testing.assert_array_equal(now("tumour"), drawn["tumour"])
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


def test_undo_asks_before_it_throws_corrections_away(drive, volume, dialogs):
    import slicer

    drive.click_segment()
    (segmentation,) = segmentations()
    identifier = segmentation.GetSegmentation().GetNthSegmentID(0)
    shape = slicer.util.arrayFromVolume(volume).shape
    slicer.util.updateSegmentBinaryLabelmapFromArray(np.ones(shape, np.uint8), segmentation, identifier, volume)
    dialogs.answer(False, True)
    drive.segment.undoButton.click()
    assert segmentations() == [segmentation]
    assert drive.segment.undoButton.enabled
    drive.segment.undoButton.click()
    assert segmentations() == []
    assert [question for question in dialogs.texts() if "corrections" in question] == dialogs.texts()
    assert drive.segment.statusLabel.text == "Undone."


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


def test_a_model_with_two_channels_takes_a_volume_for_each(drive, models, scene, dataset, tmp_path, screenshot, module):
    two = two_channel_checkpoint(dataset, tmp_path, models / "two.safetensors")
    drive.session.refresh_catalogue()
    drive.choose("two")
    first, second = noise((12, 16, 16), "T1"), noise((12, 16, 16), "T2", seed=1)
    selectors = drive.panel.sections["segment"]._channels.selectors
    assert len(selectors) == 2
    assert not drive.segment.inputSelector.visible
    selectors[0].setCurrentNode(first)
    assert "every channel" in drive.why_not()
    selectors[1].setCurrentNode(first)
    assert "same volume" in drive.why_not()
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
    assert not drive.panel.sections["segment"]._channels


def two_channel_checkpoint(dataset, folder, output):
    """A checkpoint fine-tuned for two steps on the data set with every image twice."""
    from ContrastiveSegLib.training.finetune import finetune

    images = folder / "two"
    images.mkdir()
    for file in (dataset / "imagesTr").iterdir():
        for channel in (0, 1):
            shutil.copy(file, images / file.name.replace(".nii.gz", f"_{channel:04d}.nii.gz"))
    job = FinetuneJob(
        checkpoint="none",
        images=(str(images),),
        labels=(str(dataset / "labelsTr"),),
        output=str(output),
        steps=2,
        precision="32",
        threads=1,
    )
    finetune(job)
    return output


def test_clicking_twice_segments_once(drive, large):
    drive.start()
    drive.panel.sections["segment"].segment()
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


# When things go wrong


def test_cancelling_before_the_engine_has_it(drive, large):
    drive.start()
    drive.segment.cancelButton.click()
    drive.finish()
    assert (segmentations(), drive.files()) == ([], [])
    assert drive.segment.statusLabel.text == "Stopped."


def test_cancelling_while_the_network_is_at_work(drive, large, volume, screenshot, module):
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


# What stands on the panel


def test_the_button_says_why_it_is_disabled(drive, scene, models):
    assert drive.why_not() == "Load a volume, and choose it."
    assert not drive.segment.undoButton.enabled
    assert drive.segment.undoButton.toolTip.startswith("Nothing was segmented yet")
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    assert drive.why_not() == "Empty has no voxels."
    drive.choose("starter")
    assert drive.why_not() == "The chosen checkpoint was only pre-trained. Fine-tune it first."
    (models / "broken.safetensors").write_bytes(b"no checkpoint")
    drive.session.refresh_catalogue()
    drive.choose("broken")
    assert drive.why_not() == "The chosen checkpoint cannot be used."


def test_a_pre_trained_checkpoint_says_what_it_is_good_for(drive, screenshot, module):
    drive.choose("starter")
    assert drive.model.adviceLabel.text.startswith("Fine-tune me first")
    assert drive.shell.fineTuneSection.collapsed
    screenshot(module.parent, "model-pre-trained")
    drive.model.adviceButton.click()
    assert not drive.shell.fineTuneSection.collapsed


def test_the_card_tells_what_the_checkpoint_is(drive, models):
    import qt

    card = read_card(models / "organs.safetensors")
    drive.choose("organs")
    model = drive.model
    assert model.card.visible
    assert not model.adviceLabel.visible
    assert (model.methodValue.text, model.backboneValue.text) == ("supervised", "unet, 3D")
    assert model.expectsValue.text == "1 channel, MR, voxels of 22 x 20 x 20 mm"
    assert model.labelsValue.text == "chamber, chamber&nbsp;wall, kidney"
    # Without colours there is no tag by which Qt would tell that it is rich text.
    assert model.labelsValue.textFormat == qt.Qt.RichText
    assert "4 labelled and 0 unlabelled volumes" in model.originValue.text
    assert model.citationValue.text == card.provenance.citation
    # What it does not say is not asked for.
    assert not model.licenceLabel.visible
    assert not model.scoresLabel.visible


def test_a_broken_checkpoint_says_why(drive, models):
    (models / "broken.safetensors").write_bytes(b"no checkpoint")
    drive.session.refresh_catalogue()
    drive.choose("broken")
    assert "not a checkpoint" in drive.model.adviceLabel.text
    assert not drive.model.card.visible
    assert not drive.model.adviceButton.visible


def test_browsing_takes_a_checkpoint_in_and_chooses_it(drive, dialogs, models, pretrained):
    dialogs.answer(str(pretrained))
    drive.choose("Browse")
    assert drive.session.checkpoint.path == models / "macl.safetensors"
    assert drive.model.checkpointComboBox.currentText == "macl (pre-trained)"


def test_browsing_in_vain_changes_nothing(drive, dialogs):
    dialogs.answer(None)
    drive.choose("Browse")
    assert drive.model.checkpointComboBox.currentText == "organs"


def drop(widget, *paths):
    """Drop files on ``widget``; whether it took them."""
    import qt

    data = qt.QMimeData()
    data.setUrls([qt.QUrl.fromLocalFile(str(path)) for path in paths])
    place = qt.QPoint(5, 5)
    enter = qt.QDragEnterEvent(place, qt.Qt.CopyAction, data, qt.Qt.LeftButton, qt.Qt.NoModifier)
    enter.ignore()
    qt.QApplication.sendEvent(widget, enter)
    if enter.isAccepted():
        event = qt.QDropEvent(qt.QPointF(place), qt.Qt.CopyAction, data, qt.Qt.LeftButton, qt.Qt.NoModifier)
        qt.QApplication.sendEvent(widget, event)
    return enter.isAccepted()


def test_a_checkpoint_dropped_on_the_panel(drive, models, pretrained, dialogs):
    assert drop(drive.panel.widget, pretrained)
    assert drive.session.checkpoint.path == models / "macl.safetensors"
    wrong = pretrained.parent / "wrong.safetensors"
    wrong.write_bytes(b"wrong")
    assert drop(drive.panel.widget, wrong)
    wrong.unlink()
    assert "not a checkpoint" in dialogs.errors()[0]
    assert drive.session.checkpoint.path == models / "macl.safetensors"


def test_other_files_are_left_to_slicer(drive, image):
    assert not drop(drive.panel.widget, image)


def test_a_volume_of_another_kind_gets_a_warning_and_can_be_segmented(drive, scene, screenshot, module):
    import slicer

    volume = noise((12, 16, 16), "Fine")
    volume.SetSpacing(1.0, 1.0, 1.0)
    drive.settle()
    assert "Voxels of Fine are 1 x 1 x 1 mm" in drive.segment.fitLabel.text
    assert drive.segment.fitLabel.visible
    screenshot(module.parent, "segment-warning")
    drive.click_segment()
    assert len(segmentations()) == 1
    slicer.util.getNode("Fine").SetSpacing(20.0, 20.0, 20.0)
    drive.panel.sections["segment"].refresh()
    assert not drive.segment.fitLabel.visible


def test_the_scene_remembers_the_panels_state(drive, volume, scene, tmp_path, models, pretrained):
    import slicer

    drive.session.catalogue.add(pretrained)
    drive.session.refresh_catalogue()
    noise((12, 16, 16), "Other")
    drive.segment.optionsGroupBox.collapsed = False
    drive.segment.mirrorCheckBox.click()
    drive.segment.inputSelector.setCurrentNode(slicer.util.getNode("Other"))
    drive.choose("macl")
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    scene.Clear(0)
    drive.settle()
    assert not drive.segment.mirrorCheckBox.checked
    drive.choose("organs")
    slicer.util.loadScene(path)
    drive.settle()
    assert drive.segment.mirrorCheckBox.checked
    assert drive.segment.inputSelector.currentNode().GetName() == "Other"
    assert drive.session.checkpoint.path == models / "macl.safetensors"


def test_the_device_is_remembered_for_this_machine(drive):
    import slicer
    from ContrastiveSegPanel.sections import device_box

    combo = drive.segment.deviceComboBox
    drive.wait_for(lambda: combo.count == 1 + len(drive.session.devices), SECONDS)
    index = drive.panel.sections["segment"]._device._names.index("cpu")
    pick(combo, index)
    assert slicer.app.settings().value("ContrastiveSeg/Device") == "cpu"
    drive.session.devices_changed.emit()
    assert combo.currentIndex == index
    # A device that is gone is not what a training should fail for.
    slicer.app.settings().setValue("ContrastiveSeg/Device", "cuda:7")
    drive.session.devices_changed.emit()
    assert combo.currentText == "Automatic"
    assert device_box.chosen_device(drive.session) == "auto"


def test_missing_packages_are_a_banner_not_errors(drive, volume, monkeypatch, dialogs, screenshot, module):
    from ContrastiveSegPanel import dependencies, session
    from packaging.requirements import Requirement

    assert not drive.shell.installBanner.visible
    with monkeypatch.context() as patch:
        patch.setattr(session, "missing", lambda: [Requirement("torch>=2.8"), Requirement("monai>=1.5")])
        drive.session.look_for_packages()
        assert drive.shell.installBanner.visible
        assert "torch, monai" in drive.shell.installLabel.text
        assert "Install the missing Python packages" in drive.why_not()
        screenshot(module.parent, "packages-missing")
        dialogs.answer(False)
        drive.shell.installButton.click()
        assert "Install them?" in dialogs.texts()[0]
        assert drive.shell.installButton.enabled
        assert drive.shell.logSection.collapsed
        patch.setattr(dependencies, "install", lambda on_line, on_end, folder: None)
        dialogs.answer(True)
        drive.shell.installButton.click()
        assert "Install them?" in dialogs.texts()[-1]
        assert not drive.shell.installButton.enabled
        assert not drive.shell.logSection.collapsed
    drive.session.look_for_packages()
    assert not drive.shell.installBanner.visible


def test_the_log_can_be_copied_and_cleared(drive):
    import slicer

    drive.session.log("something happened")
    drive.shell.logCopyButton.click()
    assert slicer.app.clipboard().text().endswith("something happened")
    drive.shell.logClearButton.click()
    assert drive.shell.logText.toPlainText() == ""


def test_the_log_is_capped(drive):
    for line in range(2100):
        drive.session.log(f"line {line}")
    lines = drive.shell.logText.toPlainText().splitlines()
    assert len(lines) == 2000
    assert lines[-1].endswith("line 2099")


def test_keys_for_segment_and_cancel(drive):
    assert drive.segment.segmentButton.shortcut.toString() == "Ctrl+Return"
    assert drive.segment.cancelButton.shortcut.toString() == "Ctrl+."


def test_nobody_but_the_user_is_asked_for_a_folder(drive, models):
    """The models folder is made when something is put into it, not when the panel opens."""
    from ContrastiveSegPanel import settings

    elsewhere = models.parent / "elsewhere"
    drive.session.set_models_folder(elsewhere)
    assert not elsewhere.exists()
    assert settings.models_folder() == Path(elsewhere)
    assert drive.model.checkpointComboBox.itemText(0) == "starter-macl-3d-tiny (pre-trained)"
