"""Cases as a data set of nnU-Net: same voxels, same grid, labels without gaps, and what has no label is ignored."""

import contextlib
import io
import json
import os
import shutil

import nibabel
import numpy as np
import pytest
import seg_nrrd

from contrastiveseg.descriptions import ExportJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Log
from contrastiveseg.exports.folder import new_folder
from contrastiveseg.jobs.run import run
from contrastiveseg.volumes.dataset import find_cases
from contrastiveseg.volumes.reading import read_labels, read_volume
from contrastiveseg.volumes.writing import write_labels


def export(images, output, **more) -> tuple[dict, list[str]]:
    """The dataset.json written, and what was said."""
    said: list = []
    run(ExportJob(to="nnunet", images=tuple(map(str, images)), output=str(output), **more), said.append)
    description = json.loads((output / "dataset.json").read_text())
    return description, [event.text for event in said if isinstance(event, Log)]


def stored(path) -> np.ndarray:
    """The voxels of a NIfTI file, by nibabel."""
    return np.asarray(nibabel.load(path).dataobj)


@pytest.fixture
def few(dataset, tmp_path):
    """Three of the data set's cases as files, without a dataset.json: the values are 7 and 30, and two are labeled."""
    folder = tmp_path / "few"
    for number in range(3):
        name = f"synthetic_{number:05d}.nii.gz"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(dataset / "imagesTr" / name, folder / "images" / name)
        labels = read_labels(dataset / "labelsTr" / name)
        if number < 2:
            array = np.array([0, 7, 30, 0], np.uint8)[labels.array]
            write_labels(folder / "labels" / name, array, labels.geometry)
    return folder


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_folder_has_the_rights_that_the_user_gives_to_new_ones(mask, tmp_path):
    before = os.umask(mask)
    try:
        with new_folder(tmp_path / "data") as folder:
            (folder / "file").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o777 & ~mask
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "file"]


def test_a_data_set_keeps_voxels_grids_and_names(dataset, tmp_path):
    output = tmp_path / "raw" / "Dataset123_Organs"
    description, said = export([dataset], output)
    ours = json.loads((dataset / "dataset.json").read_text())
    assert description == {
        "name": "Dataset123_Organs",
        "channel_names": ours["channel_names"],
        "labels": {"background": 0, **{name: value for name, value in ours["labels"].items() if value}},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    assert not [text for text in said if "nnU-Net" in text]
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["Dataset123_Organs"]
    for case in find_cases([dataset]):
        image, labels = output / "imagesTr" / f"{case.name}_0000.nii.gz", output / "labelsTr" / f"{case.name}.nii.gz"
        theirs = nibabel.load(case.images[0])
        np.testing.assert_array_equal(stored(image), stored(case.images[0]))
        assert stored(image).dtype == stored(case.images[0]).dtype
        np.testing.assert_array_equal(stored(labels), stored(case.labels))
        for written in (image, labels):
            np.testing.assert_array_equal(nibabel.load(written).affine, theirs.affine)
    assert [(c.name, len(c.images), c.labels is not None) for c in find_cases([output])] == [
        (f"synthetic_{n:05d}", 1, True) for n in range(4)
    ]


def test_labels_are_numbered_without_gaps_and_unlabeled_volumes_go_to_images_ts(few, tmp_path):
    description, said = export([few / "images"], tmp_path / "Organs", labels=(str(few / "labels"),))
    assert description["labels"] == {"background": 0, "label 7": 1, "label 30": 2}
    assert description["numTraining"] == 2
    for path in (few / "labels").iterdir():
        values = np.select([stored(path) == 7, stored(path) == 30], [1, 2])
        np.testing.assert_array_equal(stored(tmp_path / "Organs" / "labelsTr" / path.name), values)
    assert [p.name for p in (tmp_path / "Organs" / "imagesTs").iterdir()] == ["synthetic_00002_0000.nii.gz"]
    for words in ("label 7 7 -> 1, label 30 30 -> 2", "1 volumes without a label map", "Dataset123_Organs"):
        assert any(words in text for text in said)


def test_what_nobody_labeled_is_ignored(few, tmp_path):
    table = tmp_path / "table.json"
    table.write_text(json.dumps([{"value": 7, "name": "liver"}, {"value": 30, "name": "spleen"}]))
    path = few / "labels" / "synthetic_00000.nii.gz"
    labels = read_labels(path)
    array = labels.array.copy()
    array[::3] = 0
    write_labels(path, array, labels.geometry)
    description, _ = export(
        [few / "images"],
        tmp_path / "Organs",
        labels=(str(few / "labels"),),
        label_table=str(table),
        labeled_part="slices",
    )
    assert description["labels"] == {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    painted = array.any(axis=(1, 2))
    written = read_labels(tmp_path / "Organs" / "labelsTr" / path.name).array
    assert 0 < painted.sum() < len(painted)
    assert (written[~painted] == 3).all()
    np.testing.assert_array_equal(written[painted], np.select([array == 7, array == 30], [1, 2])[painted])


def test_the_background_of_a_case_where_not_all_was_looked_for_is_ignored(few, tmp_path):
    path = few / "labels" / "synthetic_00000.nii.gz"
    labels = read_labels(path)
    write_labels(path, np.where(labels.array == 30, 0, labels.array), labels.geometry)
    same = {"labels": (str(few / "labels"),), "missing_structures": "not-drawn"}
    description, _ = export([few / "images"], tmp_path / "Organs", **same)
    assert description["labels"]["ignore"] == 3
    written = read_labels(tmp_path / "Organs" / "labelsTr" / path.name).array
    np.testing.assert_array_equal(written, np.where(labels.array == 7, 1, 3))
    other = read_labels(tmp_path / "Organs" / "labelsTr" / "synthetic_00001.nii.gz").array
    assert set(np.unique(other)) == {0, 1, 2}


def test_painted_background_is_background(few, tmp_path):
    same = {"labels": (str(few / "labels"),), "labeled_part": "painted"}
    description, _ = export([few / "images"], tmp_path / "Organs", background_label=30, **same)
    assert description["labels"] == {"background": 0, "label 7": 1, "ignore": 2}
    for path in (few / "labels").iterdir():
        written = stored(tmp_path / "Organs" / "labelsTr" / path.name)
        np.testing.assert_array_equal(written, np.select([stored(path) == 30, stored(path) == 7], [0, 1], 2))


@pytest.mark.parametrize("part", ["all", "painted"])
def test_a_background_that_no_label_map_holds_is_refused(part, few, tmp_path):
    same = {"labels": (str(few / "labels"),), "labeled_part": part}
    with pytest.raises(InputError, match=r"--background-label 31: no label map holds this value. They hold: 7, 30\."):
        export([few / "images"], tmp_path / "Organs", background_label=31, **same)
    assert not (tmp_path / "Organs").exists()


@pytest.fixture
def segmentations(few):
    """A function that writes the two label maps as segmentations of Slicer, with segments of these names and values."""

    def write(*segments):
        for path, named in zip(sorted((few / "labels").iterdir()), segments, strict=True):
            labels = read_labels(path)
            grid = (labels.geometry.origin, labels.geometry.spacing, seg_nrrd.directions(labels.geometry))
            new = path.with_name(path.name.replace(".nii.gz", ".seg.nrrd"))
            seg_nrrd.write(new, [labels.array], [(name, 0, value) for name, value in named], *grid)
            path.unlink()
        return (str(few / "labels"),)

    return write


def test_a_segment_named_background_is_background(few, segmentations, tmp_path):
    labels = segmentations([("liver", 7), ("Background", 30)], [("liver", 7), ("Background", 30)])
    description, _ = export([few / "images"], tmp_path / "Organs", labels=labels)
    assert description["labels"] == {"background": 0, "liver": 1}


def test_a_value_that_no_segment_has_is_refused(few, segmentations, tmp_path):
    labels = segmentations([("liver", 7), ("spleen", 30)], [("liver", 7)])
    with pytest.raises(InputError, match=r"synthetic_00001.* belong to none of its segments .*with the value 30\)"):
        export([few / "images"], tmp_path / "Organs", labels=labels)


def test_channels_are_files_of_their_own(dataset, tmp_path):
    folder = tmp_path / "two"
    entries = []
    for number in range(2):
        name = f"synthetic_{number:05d}.nii.gz"
        image, label = str(dataset / "imagesTr" / name), str(dataset / "labelsTr" / name)
        entries.append({"image": [image, image], "label": label, "name": f"p{number}"})
    folder.mkdir()
    names = {"0": "T1", "1": "T2"}
    declared = {"labels": {"background": 0, "a": 1, "b": 2, "c": 3}, "channel_names": names, "training": entries}
    (folder / "dataset.json").write_text(json.dumps(declared))
    description, _ = export([folder], tmp_path / "Dataset001_Two")
    assert description["channel_names"] == names
    assert sorted(path.name for path in (tmp_path / "Dataset001_Two" / "imagesTr").iterdir()) == [
        f"p{n}_000{channel}.nii.gz" for n in (0, 1) for channel in (0, 1)
    ]


def test_a_dicom_series_becomes_a_file_on_its_grid(tmp_path):
    from dicom_series import OBLIQUE, save_series

    array = np.random.default_rng(0).integers(0, 900, (6, 7, 8))
    series = save_series(tmp_path / "scans" / "mr", array, OBLIQUE)
    volume = read_volume(series)
    write_labels(tmp_path / "labels" / "mr.nii.gz", (volume.array[0] > 400).astype(np.uint8), volume.geometry)
    export([tmp_path / "scans"], tmp_path / "Dataset002_MR", labels=(str(tmp_path / "labels"),))
    written = read_volume(tmp_path / "Dataset002_MR" / "imagesTr" / "mr_0000.nii.gz")
    np.testing.assert_array_equal(written.array, volume.array)
    for name in ("origin", "direction", "spacing"):
        np.testing.assert_allclose(getattr(written.geometry, name), getattr(volume.geometry, name), atol=1e-5)


def test_nothing_is_left_of_what_is_refused_or_stopped(few, dataset, tmp_path):
    same = {"labels": (str(few / "labels"),)}
    output = tmp_path / "out" / "Organs"
    job = ExportJob(to="nnunet", images=(str(few / "images"),), output=str(output), **same)
    asked = iter([False] * 3 + [True])
    with pytest.raises(Cancelled):
        run(job, cancelled=lambda: next(asked))
    assert not output.exists()
    assert list(tmp_path.glob("out/.*")) == []
    table = tmp_path / "table.json"
    table.write_text(json.dumps([{"value": 7, "name": "liver"}]))
    with pytest.raises(InputError, match=r"hold the value 30, which .*table\.json does not name"):
        export([few / "images"], output, label_table=str(table), **same)
    table.write_text(json.dumps([{"value": 7, "name": "liver"}, {"value": 30, "name": "Ignore"}]))
    with pytest.raises(InputError, match="named ignore"):
        export([few / "images"], output, label_table=str(table), **same)
    with pytest.raises(InputError, match="None of the volumes has a label map"):
        export([few / "images"], output)
    with pytest.raises(InputError, match="is not empty"):
        export([dataset], few)


def test_nnunets_own_check_finds_no_fault(few, tmp_path):
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    output = tmp_path / "Dataset003_Organs"
    labels = read_labels(few / "labels" / "synthetic_00000.nii.gz")
    array = labels.array.copy()
    array[::3] = 0
    write_labels(few / "labels" / "synthetic_00000.nii.gz", array, labels.geometry)
    export([few / "images"], output, labels=(str(few / "labels"),), labeled_part="slices")
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        verify.verify_dataset_integrity(str(output), 1)
    assert "verify_dataset_integrity Done" in told.getvalue()
    assert "Error" not in told.getvalue()
    assert "Warning" not in told.getvalue()
