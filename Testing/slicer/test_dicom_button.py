"""The button Save as DICOM SEG: a result of a volume from DICOM becomes a file that refers to its series."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from dicom_series import read_seg, save_series
from segment_driver import SECONDS, segmentations

from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.volumes.reading import read_volume
from contrastiveseg.volumes.writing import write_image


@pytest.fixture
def series(tmp_path):
    """A series of the synthetic volumes' kind, among whose files lies one that is none of it."""
    array = np.random.default_rng(0).integers(0, 900, (12, 16, 16))
    folder = save_series(tmp_path / "database" / "a", array)
    (folder / "notes.txt").write_text("of another study")
    return folder


@pytest.fixture
def loaded(series, drive, tmp_path, monkeypatch):
    """The series as a volume of the scene, as the module DICOM loads it, and segmented."""
    import slicer
    from pydicom import dcmread

    files = {str(dcmread(file).SOPInstanceUID): str(file) for file in sorted(series.glob("*.dcm"))}
    database = SimpleNamespace(fileForInstance=lambda instance: files.get(instance, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    volume = read_volume(series)
    write_image(tmp_path / "mr.nii.gz", volume.array[0], volume.geometry)
    node = slicer.util.loadVolume(str(tmp_path / "mr.nii.gz"), {"name": "MR"})
    drive.choose_volume(node)
    assert not drive.segment.dicomSegButton.isVisibleTo(drive.panel.widget)
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    drive.click_segment()
    drive.settle()
    return node


def press(drive, dialogs, path):
    dialogs.answer(str(path))
    drive.segment.dicomSegButton.click()
    task = drive.panel.sections["segment"]._dicom.task
    drive.wait_for(lambda: not task.busy, SECONDS)


def test_a_result_is_saved_beside_its_series(drive, loaded, series, models, dialogs, tmp_path):
    from ContrastiveSegPanel.mrml import scene

    button = drive.segment.dicomSegButton
    assert button.isVisibleTo(drive.panel.widget)
    (segmentation,) = segmentations()
    press(drive, dialogs, tmp_path / "database" / "organs.dcm")
    assert drive.segment.statusLabel.text == f"Written: {tmp_path / 'database' / 'organs.dcm'}"
    written, labels = read_seg(tmp_path / "database" / "organs.dcm", read_volume(series).geometry)
    card = read_card(next(models.glob("*.safetensors")))
    assert [str(one.SegmentLabel) for one in written.SegmentSequence] == [label.name for label in card.labels]
    values = {segment.id: number for number, segment in enumerate(scene.segments_of(segmentation), start=1)}
    scene.write_labels(segmentation, loaded, values, tmp_path / "ours.nii.gz")
    np.testing.assert_array_equal(labels, read_volume(tmp_path / "ours.nii.gz").array[0])
    assert [path for path in drive.files() if "dicom" in path] == []
    # Among the images of the series it would pass for one of them.
    press(drive, dialogs, series / "organs.dcm")
    assert "would lie among the images of its series" in dialogs.errors()[-1]
    assert not (series / "organs.dcm").exists()


def test_what_the_checkpoint_does_not_know_is_told(drive, loaded, dialogs, tmp_path):
    (segmentation,) = segmentations()
    segmentation.GetSegmentation().GetNthSegment(0).SetName("something else")
    assert segmentation.GetAttribute("ContrastiveSeg.Predicted")
    press(drive, dialogs, tmp_path / "organs.dcm")
    segmentation.SetAttribute("ContrastiveSeg.Predicted", "gone.safetensors")
    press(drive, dialogs, tmp_path / "organs.dcm")
    unknown, gone = dialogs.errors()
    assert "does not know the segment something else" in unknown
    assert "gone.safetensors is not among yours any more" in gone
    assert not (tmp_path / "organs.dcm").exists()
