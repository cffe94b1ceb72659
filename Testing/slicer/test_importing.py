"""A trained nnU-Net, browsed to or dropped on the panel, becomes a checkpoint that is ready to segment."""

import sys
import zipfile
from pathlib import Path

import pytest
from test_panel_model import drop

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from nnunet_models import description, network, plans, save_model
from patients import noise
from segment_driver import SECONDS, segmentations
from test_monai_bundle import bundle

from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.checkpoints.licensing import note_license


@pytest.fixture
def model(tmp_path):
    """The folder of a model."""
    return save_model(tmp_path, network(), plans(), description())


def test_a_dropped_archive_is_imported_and_chosen(drive, models, model, tmp_path, dialogs, wait_for):
    archive = tmp_path / "hearts.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in model.rglob("*.*"):
            if file.is_file():
                packed.write(file, file.relative_to(tmp_path))
    dialogs.answer("CC-BY-NC-4.0")
    assert drop(drive.panel.widget, archive)
    wait_for(lambda: drive.session.checkpoint.path == models / "hearts.safetensors", SECONDS)
    assert drive.model.checkpointComboBox.currentText == "hearts"
    drive.model.detailsButton.click()
    assert drive.model.licenseValue.text == "CC-BY-NC-4.0 (not for commercial use)"
    assert "license" in dialogs.texts()[0]


def test_a_dropped_bundle_of_monai_is_imported_and_chosen(drive, models, tmp_path, wait_for):
    folder = bundle(tmp_path / "spleen_ct")
    archive = tmp_path / "spleen_ct.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in folder.rglob("*.*"):
            packed.write(file, file.relative_to(tmp_path))
    for number, dropped in enumerate((folder, archive)):
        assert drop(drive.panel.widget, dropped)
        wait_for(lambda number=number: len(list(models.glob("spleen_ct*"))) == number + 1, SECONDS)
    wait_for(lambda: drive.session.checkpoint.path.stem.startswith("spleen_ct"))
    assert drive.session.checkpoint.segments


def test_a_fold_is_called_by_its_data_set_and_has_its_own_license(drive, models, tmp_path, dialogs, wait_for):
    folder = save_model(tmp_path, network(), plans(), description(license="CC0-1.0"))
    dialogs.answer(str(folder / "fold_0" / "checkpoint_final.pth"))
    drive.choose("Browse")
    wait_for(lambda: drive.session.checkpoint.path == models / "Dataset001_Heart.safetensors", SECONDS)
    assert read_card(drive.session.checkpoint.path).provenance.license == "CC0-1.0"


def test_what_cannot_be_imported_is_told(drive, models, model, dialogs, wait_for):
    (model / "plans.json").write_text('{"plans_name": "nnUNetPlans"}')
    before = drive.session.checkpoint.path
    assert drop(drive.panel.widget, model)
    wait_for(lambda: dialogs.errors())
    assert "plans.json: configurations is missing" in dialogs.errors()[0]
    assert drive.session.checkpoint.path == before


def test_other_folders_and_archives_are_left_to_slicer(drive, tmp_path):
    archive, folder = tmp_path / "volumes.zip", tmp_path / "volumes"
    folder.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.txt", "a")
    assert not drop(drive.panel.widget, archive)
    assert not drop(drive.panel.widget, folder)


def test_a_segmentation_says_under_which_terms_its_model_is(drive, models):
    note_license(models / "organs.safetensors", "CC-BY-NC-4.0")
    drive.session.refresh_catalog()
    drive.choose("organs")
    drive.choose_volume(noise((12, 16, 16), "Patient"))
    drive.click_segment()
    (segmentation,) = segmentations()
    told = "The weights are under CC-BY-NC-4.0: not for commercial use."
    assert segmentation.GetAttribute("ContrastiveSeg.Terms").startswith(told)
    drive.segment.undoButton.click()
    assert segmentations() == []
