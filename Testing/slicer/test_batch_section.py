"""The section Batch: a folder to a folder, going on, and which results of a batch to look at first."""

import csv
import io
import shutil

import pytest
import slicer
from patients import noise

SECONDS = 120


@pytest.fixture
def batch(kept, models, module, wait_for, dataset, tmp_path):
    """The section, with a checkpoint that segments and two volumes to segment."""
    session, section = module.panel.session, module.panel.sections["batch"]
    wait_for(lambda: not session.missing)
    session.refresh_catalog(models / "organs.safetensors")
    for name in ("model", "segment"):
        getattr(module.panel.ui, f"{name}Section").collapsed = True
    module.panel.ui.batchSection.collapsed = False
    (tmp_path / "scans").mkdir()
    for number in (0, 1):
        shutil.copy(dataset / "imagesTr" / f"synthetic_0000{number}.nii.gz", tmp_path / "scans")
    return section


def cells(ui, column=0):
    table = ui.qualityTable
    return [table.item(row, column).text() for row in range(table.rowCount)]


def segment_folder(section, folder, wait_for, output="results"):
    ui = section.ui
    ui.batchInputLineEdit.currentPath = str(folder / "scans")
    ui.batchOutputLineEdit.currentPath = str(folder / output)
    wait_for(lambda: ui.batchButton.enabled)
    ui.batchButton.click()
    assert section.session.queue.running.title == "Segment scans"
    wait_for(lambda: not section.session.training, SECONDS)


def test_why_no_folder_can_be_segmented(batch, wait_for, tmp_path):
    ui = batch.ui
    assert "folder with volumes" in ui.batchButton.toolTip
    ui.batchInputLineEdit.currentPath = str(tmp_path / "nowhere")
    assert "no folder" in ui.batchButton.toolTip
    ui.batchInputLineEdit.currentPath = str(tmp_path / "scans")
    assert "for the results" in ui.batchButton.toolTip
    ui.batchOutputLineEdit.currentPath = str(tmp_path / "scans")
    assert "another folder" in ui.batchButton.toolTip
    assert not ui.batchButton.enabled
    starter = next(entry for entry in batch.session.catalog.entries() if entry.origin == "starter")
    batch.session.set_checkpoint(starter.path)
    assert "only pre-trained" in ui.batchButton.toolTip


def test_a_folder_is_segmented_goes_on_and_shows_where_to_look(batch, module, wait_for, tmp_path, dialogs, screenshot):
    ui = batch.ui
    ui.batchUncertaintyCheckBox.setChecked(True)
    segment_folder(batch, tmp_path, wait_for)
    written = sorted((tmp_path / "results").glob("*.nii.gz"))
    assert [path.name for path in written] == ["synthetic_00000.nii.gz", "synthetic_00001.nii.gz"]
    assert len(list((tmp_path / "results" / "uncertainty").iterdir())) == 2
    assert "2 label maps" in ui.batchStatusLabel.text
    assert sorted(cells(ui)) == ["synthetic_00000", "synthetic_00001"]
    assert all(0 < float(text) < 1 for text in cells(ui, 2))
    # These are volumes of the training.
    assert all(0 < float(text) < 2 for text in cells(ui, 3))
    slicer.util.mainWindow().show()
    slicer.util.mainWindow().resize(420, 900)
    screenshot(slicer.util.mainWindow(), "batch")

    # The case is loaded once, with its segmentation, and the views go to the place.
    ui.qualityTable.cellClicked(0, 0)
    ui.qualityTable.cellClicked(0, 0)
    (volume,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    (segmentation,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert volume.GetName() == cells(ui)[0]
    assert segmentation.GetAttribute("ContrastiveSeg.Predicted") == "organs.safetensors"
    x, y, z = batch._quality._looked.cases[0].world
    (node, *_others) = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    place = [node.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    assert place == pytest.approx([-x, -y, z], abs=1e-3)

    dialogs.answer(str(tmp_path / "page"), str(tmp_path / "table.csv"))
    ui.exportQualityButton.click()
    ui.qualityNamesCheckBox.setChecked(True)
    ui.exportQualityButton.click()
    page, table = (tmp_path / "page.html").read_text(encoding="utf-8"), (tmp_path / "table.csv").read_text("utf-8")
    assert "synthetic_" not in page
    assert page.count("data:image/png") == 2
    assert [row["case"] for row in csv.DictReader(io.StringIO(table))] == cells(ui)

    # A third volume came: the others stay as they are.
    stamps = [path.stat().st_mtime_ns for path in written]
    shutil.copy(tmp_path / "scans" / "synthetic_00000.nii.gz", tmp_path / "scans" / "later.nii.gz")
    segment_folder(batch, tmp_path, wait_for)
    assert [path.stat().st_mtime_ns for path in written] == stamps
    assert (tmp_path / "results" / "later.nii.gz").exists()
    assert len(cells(ui)) == 3


def test_what_is_not_ours_is_never_overwritten(batch, wait_for, tmp_path, dialogs):
    (tmp_path / "results").mkdir()
    other = tmp_path / "results" / "synthetic_00001.nii.gz"
    shutil.copy(tmp_path / "scans" / "synthetic_00001.nii.gz", other)
    before = other.read_bytes()
    segment_folder(batch, tmp_path, wait_for)
    assert "synthetic_00001" in dialogs.errors()[0]
    assert other.read_bytes() == before


def test_a_batch_of_the_scene_says_which_to_look_at_first(batch, module, wait_for):
    segment = module.panel.sections["segment"]
    volumes = {name: noise((12, 16, 16), name, seed) for seed, name in enumerate(("CT 1", "CT 2"))}
    segment.ui.inputsComboBox.setCurrentIndex(2)
    wait_for(lambda: segment.ui.segmentButton.enabled)
    segment.ui.segmentButton.click()
    wait_for(lambda: not segment.task.busy, SECONDS)
    assert "which to look at first" in segment.ui.statusLabel.text
    wait_for(lambda: len(cells(batch.ui)) == 2, SECONDS)
    assert sorted(cells(batch.ui)) == ["CT 1", "CT 2"]
    # No uncertainty map was asked for.
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2
    batch.ui.qualityTable.cellClicked(0, 0)
    (composite, *_others) = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetBackgroundVolumeID() == volumes[cells(batch.ui)[0]].GetID()
    # The volumes' files are gone; pictures stay for the export.
    left = [path.suffix for path in batch.session.folder().rglob("*") if path.is_file()]
    assert left == [".png", ".png"]
    slicer.mrmlScene.Clear(0)
    wait_for(lambda: not cells(batch.ui))
    assert not list(batch.session.folder().rglob("*.png"))


def test_a_volume_gone_from_the_scene_is_told(batch, module, wait_for, dialogs):
    from ContrastiveSegPanel.workflows.quality import Looked, in_scene

    from contrastiveseg.results import QualityCase

    case = QualityCase("CT", 0.5, {"liver": 3.0}, {"liver": 2}, None, (), (), (0.0, 0.0, 0.0))
    batch._quality.show(Looked("two volumes", (case,), in_scene({"CT": "gone"}), batch.session.folder() / "none"))
    assert (cells(batch.ui, 3), cells(batch.ui, 4)) == ([""], ["liver 3 ml in 2 pieces"])
    # No case has an uncertainty or a distance.
    assert batch.ui.qualityTable.isColumnHidden(2)
    assert batch.ui.qualityTable.isColumnHidden(3)
    batch.ui.qualityTable.cellClicked(0, 0)
    assert dialogs.errors() == ["CT is no longer in the scene."]


def sequence_of(volumes, name="Beating"):
    """A sequence with a frame every 0.1 s, and a browser that shows it in a volume."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    node.SetIndexName("time")
    node.SetIndexUnit("s")
    for number, volume in enumerate(volumes):
        node.SetDataNodeAtValue(volume, f"{number / 10}")
        slicer.mrmlScene.RemoveNode(volume)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(node.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return node, browser


def test_a_sequence_becomes_a_sequence_of_segmentations(batch, wait_for, models, tmp_path, dialogs, screenshot):
    import numpy as np
    import torch

    from contrastiveseg.segmentation.predictor import Predictor
    from contrastiveseg.volumes.volume import Volume

    ui = batch.ui
    ui.batchSourceComboBox.setCurrentIndex(1)
    assert "Choose a sequence" in ui.batchButton.toolTip
    arrays = [np.random.default_rng(seed).integers(0, 1000, (12, 16, 16)).astype(np.int16) for seed in range(2)]
    sequence, browser = sequence_of([noise((12, 16, 16), f"frame {seed}", seed) for seed in range(2)])
    ui.sequenceSelector.setCurrentNode(sequence)
    assert not ui.batchInputLineEdit.isVisibleTo(ui.Batch)
    wait_for(lambda: ui.batchButton.enabled)
    slicer.util.mainWindow().show()
    slicer.util.mainWindow().resize(420, 900)
    screenshot(slicer.util.mainWindow(), "batch-sequence")
    ui.batchButton.click()
    wait_for(lambda: not batch.session.training, SECONDS)
    assert "2 label maps in Beating segmentation" in ui.batchStatusLabel.text
    _sequence, results = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    assert results.GetName() == "Beating segmentation"
    assert [results.GetNthIndexValue(i) for i in range(2)] == ["0.0", "0.1"]
    assert (results.GetIndexName(), results.GetIndexUnit()) == ("time", "s")
    assert browser.IsSynchronizedSequenceNode(results)
    # Frames leave nothing in the scene but what the browser shows, and no files.
    (shown,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    assert shown is browser.GetProxyNode(results)
    assert shown.GetAttribute("ContrastiveSeg.Predicted") == "organs.safetensors"
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1
    assert not list(batch.session.folder().rglob("*.mha"))
    # The worker measures for itself in which precision this machine is faster.
    predictors = [Predictor.open(models / "organs.safetensors", "cpu", dtype) for dtype in (None, torch.bfloat16)]
    for index, array in enumerate(arrays):
        frame, made = sequence.GetNthDataNode(index), results.GetNthDataNode(index)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(frame), array)
        volume, found = Volume.from_array(array[:, ::-1, ::-1], (20.0, 20.0, 20.0)), np.zeros(array.shape, int)
        for label in predictors[0].card.labels:
            segment = made.GetSegmentation().GetSegmentIdBySegmentName(label.name)
            found[slicer.util.arrayFromSegmentBinaryLabelmap(made, segment, frame) > 0] = label.value
        assert found.any()
        assert any(np.array_equal(found, predict(volume).array[:, ::-1, ::-1]) for predict in predictors)
    # A click goes to the frame.
    row = cells(ui).index("frame-2")
    ui.qualityTable.cellClicked(row, 0)
    assert browser.GetSelectedItemNumber() == 1
    # The node that shows it is still one that a checkpoint made, although it was filled anew.
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    assert shown.GetAttribute("ContrastiveSeg.Predicted") == "organs.safetensors"
    slicer.mrmlScene.RemoveNode(browser)
    ui.qualityTable.cellClicked(row, 0)
    assert "no sequence browser" in dialogs.errors()[0]


def test_a_sequence_that_holds_no_volumes_is_told(batch, wait_for):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Transforms")
    batch.ui.batchSourceComboBox.setCurrentIndex(1)
    batch.ui.sequenceSelector.setCurrentNode(node)
    assert "no frames" in batch.ui.batchButton.toolTip
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetDataNodeAtValue(transform, "0")
    batch.ui.sequenceSelector.setCurrentNode(None)
    batch.ui.sequenceSelector.setCurrentNode(node)
    assert "does not hold scalar volumes" in batch.ui.batchButton.toolTip


def test_a_sequence_gone_meanwhile_is_told_and_leaves_nothing(batch, wait_for, dialogs):
    sequence, _browser = sequence_of([noise((12, 16, 16), "frame")])
    batch.ui.batchSourceComboBox.setCurrentIndex(1)
    batch.ui.sequenceSelector.setCurrentNode(sequence)
    wait_for(lambda: batch.ui.batchButton.enabled)
    batch.ui.batchButton.click()
    slicer.mrmlScene.RemoveNode(sequence)
    wait_for(lambda: not batch.session.training, SECONDS)
    assert dialogs.errors() == ["The sequence is no longer in the scene."]
    assert not list(batch.session.folder().rglob("*.mha"))
