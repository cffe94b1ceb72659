"""The section Model, and what stands on the panel, by real clicks on the real module."""

import json
from pathlib import Path

import pytest
from patients import noise
from segment_driver import SECONDS, pick, segmentations

from contrastiveseg.checkpoints.header import read_card


def test_the_button_says_why_it_is_disabled(drive, scene, models):
    assert drive.why_not() == "Load a volume, and choose it."
    assert not drive.segment.undoButton.enabled
    assert drive.segment.undoButton.toolTip.startswith("Nothing was segmented yet")
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    assert drive.why_not() == "Empty has no voxels."
    drive.choose("macl-3d-tiny")
    assert drive.why_not() == "The chosen checkpoint was only pre-trained. Fine-tune it first."
    (models / "broken.safetensors").write_bytes(b"no checkpoint")
    drive.session.refresh_catalog()
    drive.choose("broken")
    assert drive.why_not() == "The chosen checkpoint cannot be used."


def test_a_pre_trained_checkpoint_says_what_it_is_good_for(drive, screenshot, module):
    drive.choose("macl-3d-tiny")
    assert drive.model.adviceLabel.text.startswith("Fine-tune it first")
    assert drive.shell.fineTuneSection.collapsed
    screenshot(module.parent, "model-pre-trained")
    drive.model.adviceButton.click()
    assert not drive.shell.fineTuneSection.collapsed


def test_fine_tune_is_scrolled_to_where_it_would_be_out_of_sight(drive, module, wait_for):
    import qt
    import slicer

    area = qt.QScrollArea()
    area.setWidgetResizable(True)
    area.setFixedHeight(300)
    slicer.util.mainWindow().setCentralWidget(area)
    area.setWidget(module.parent)
    drive.choose("macl-3d-tiny")
    section = drive.shell.fineTuneSection
    drive.settle()
    assert section.mapTo(area.viewport(), qt.QPoint(0, 0)).y() > area.viewport().height
    drive.model.adviceButton.click()
    wait_for(lambda: section.mapTo(area.viewport(), qt.QPoint(0, 0)).y() == 0)


def test_the_card_tells_what_the_checkpoint_is(drive, models):
    import qt

    card = read_card(models / "organs.safetensors")
    drive.choose("organs")
    model = drive.model
    assert model.summaryLabel.text.startswith("chamber, chamber&nbsp;wall, kidney<br>1 channel, MR")
    assert not model.card.visible
    model.detailsButton.click()
    assert model.card.visible
    assert not model.adviceLabel.visible
    assert (model.methodValue.text, model.backboneValue.text) == ("supervised", "unet, 3D")
    assert model.expectsValue.text == "1 channel, MR, voxels of 22 x 20 x 20 mm"
    assert model.labelsValue.text == "chamber, chamber&nbsp;wall, kidney"
    # Without colors there is no tag by which Qt would tell that it is rich text.
    assert model.labelsValue.textFormat == qt.Qt.RichText
    assert "4 labeled and 0 unlabeled volumes" in model.originValue.text
    assert model.citationValue.text == card.provenance.citation
    # What it does not say is not asked for.
    assert not model.licenseLabel.visible
    assert not model.scoresLabel.visible


def test_a_broken_checkpoint_says_why(drive, models):
    (models / "broken.safetensors").write_bytes(b"no checkpoint")
    drive.session.refresh_catalog()
    drive.choose("broken")
    assert "not a checkpoint" in drive.model.adviceLabel.text
    assert not drive.model.card.visible
    assert not drive.model.adviceButton.visible


def test_browsing_takes_a_checkpoint_in_and_chooses_it(drive, dialogs, models, pretrained):
    dialogs.answer(str(pretrained))
    drive.choose("Browse")
    assert drive.session.checkpoint.path == models / "macl.safetensors"
    assert drive.model.checkpointComboBox.currentText == "macl (pre-trained)"


@pytest.fixture
def offered(drive, models):
    """The place in the list of models of one that a catalog offers; beside it lies a file that is no catalog."""
    model = {
        **{"name": "heart-ct", "purpose": "hearts", "modality": "CT", "license": "CC-BY-NC-4.0", "citation": "Doe."},
        **{"size": 5_600_000, "sha256": "0" * 64, "address": "https://127.0.0.1:1/heart.safetensors"},
    }
    (models / "ours.catalog.json").write_text(json.dumps({"models": [model]}))
    (models / "bad.catalog.json").write_text("no")
    drive.session.refresh_catalog()
    combo = drive.model.checkpointComboBox
    return [combo.itemText(index) for index in range(combo.count)].index("heart-ct (to download, 5.6 MB)")


def test_a_model_that_waits_for_its_download_is_not_put_into_the_queue_again(drive, dialogs, offered):
    from ContrastiveSegPanel.workflows.queue import Entry

    other, queue = Entry("Other", lambda: None, lambda: None, lambda: None), drive.session.queue
    queue.add(other)
    dialogs.answer(True, True)
    for _click in range(2):
        drive.model.checkpointComboBox.activated.emit(offered)
    assert [entry.title for entry in queue.waiting] == ["Download heart-ct"]
    assert dialogs.errors() == ["heart-ct is in the queue already: see the section Jobs."]
    queue.cancel(queue.waiting[0])
    queue.end(other, "done")


def test_a_model_of_a_catalog_is_offered_and_downloaded_only_when_asked(drive, dialogs, models, offered, wait_for):
    combo = drive.model.checkpointComboBox
    chosen = drive.session.checkpoint
    dialogs.answer(False, True)
    combo.activated.emit(offered)
    assert "CC-BY-NC-4.0" in dialogs.texts()[0]
    assert not drive.session.training
    combo.activated.emit(offered)
    wait_for(lambda: not drive.session.training, SECONDS)
    # Nobody answers at that address.
    (problem,) = dialogs.errors()
    assert "heart-ct could not be downloaded" in problem
    assert drive.session.queue.entries[-1].state == "failed"
    assert drive.session.checkpoint == chosen
    assert not (models / "heart-ct.safetensors").exists()


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
    drive.panel.sections["segment"].show_state()
    assert not drive.segment.fitLabel.visible


def test_the_scene_remembers_the_panels_state(drive, volume, scene, tmp_path, models, pretrained):
    import slicer

    drive.session.catalog.add(pretrained)
    drive.session.refresh_catalog()
    noise((12, 16, 16), "Other")
    drive.segment.optionsGroupBox.collapsed = False
    drive.segment.mirrorCheckBox.click()
    drive.segment.inputSelector.setCurrentNode(slicer.util.getNode("Other"))
    drive.choose("macl (")
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
    assert not drive.model.adviceLabel.text.startswith("The checkpoint")
    # Another one stands in for one that is gone, which is told; the scene still names the other until the user chooses.
    (models / "macl.safetensors").unlink()
    drive.session.refresh_catalog()
    scene.Clear(0)
    drive.settle()
    slicer.util.loadScene(path)
    drive.settle()
    gone = "The checkpoint macl.safetensors, which the scene was saved with, is not among yours. organs is chosen"
    assert drive.model.adviceLabel.text == f"{gone} instead."
    assert drive.model.adviceLabel.isVisibleTo(drive.panel.widget)
    assert drive.session.parameters.checkpoint == "macl.safetensors"
    drive.choose("organs")
    assert drive.model.adviceLabel.text == ""
    assert drive.session.parameters.checkpoint == "organs.safetensors"


def test_the_device_is_remembered_for_this_machine(drive):
    import slicer
    from ContrastiveSegPanel.ui import device_box

    combo = drive.segment.deviceComboBox
    drive.wait_for(lambda: combo.count == 2 + len(drive.session.devices), SECONDS)
    index = drive.panel.sections["segment"]._options.device._names.index("cpu")
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
    from ContrastiveSegPanel.engine import dependencies
    from ContrastiveSegPanel.workflows import session
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
    assert drive.model.checkpointComboBox.itemText(0) == "synthetic-labels-3d-tiny (pre-trained)"
