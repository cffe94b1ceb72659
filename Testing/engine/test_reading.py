"""Volumes read as they are; whatever is wrong with a file is said in one sentence."""

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.errors import InputError
from contrastiveseg.evaluation.metrics import measure
from contrastiveseg.volumes.itk import image_on
from contrastiveseg.volumes.reading import read_channels, read_geometry, read_labels, read_volume
from contrastiveseg.volumes.volume import Geometry, LabelMap

GRID = Geometry((8, 7, 6), (1.5, 2.0, 3.0), (10.0, 20.0, 30.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
ARRAY = np.random.default_rng(0).integers(-500, 500, (6, 7, 8)).astype(np.int16)


def save(path, array=ARRAY, geometry=GRID):
    sitk.WriteImage(image_on(array, geometry), str(path))
    return path


def series(folder, positions, uid="1.2.3", description="axial"):
    folder.mkdir(exist_ok=True)
    for i, z in enumerate(positions):
        slice_ = sitk.GetImageFromArray(ARRAY[i % 6].astype(np.uint16)[None])
        slice_.SetSpacing((1.5, 2.0, 3.0))
        for key, value in {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"{uid}.9.{i + 1}",
            "0008|0060": "MR",
            "0008|103e": description,
            "0020|000d": "1.2.77",
            "0020|000e": uid,
            "0020|0013": str(i + 1),
            "0020|0032": f"0\\0\\{z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            slice_.SetMetaData(key, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{uid}-{i:03d}.dcm"))
        writer.Execute(slice_)
    return folder


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("kind", ["int16", "uint8", "float32", "uint16"])
def test_formats_and_types(tmp_path, suffix, kind):
    array = np.abs(ARRAY // 2).astype(kind)
    volume = read_volume(save(tmp_path / f"case1{suffix}", array))
    assert volume.array.dtype == kind
    np.testing.assert_array_equal(volume.array, array[None])
    assert volume.name == "case1"
    assert volume.geometry == GRID
    assert read_geometry(tmp_path / f"case1{suffix}") == (GRID, 1)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_vector_voxels_become_channels(tmp_path, suffix):
    both = np.stack([ARRAY, ARRAY * 2, -ARRAY])
    path = save(tmp_path / f"v{suffix}", both)
    np.testing.assert_array_equal(read_volume(path).array, both)
    assert read_geometry(path) == (GRID, 3)


def test_two_dimensional_image_is_one_slice(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY[0]), str(tmp_path / "flat.nii.gz"))
    volume = read_volume(tmp_path / "flat.nii.gz")
    np.testing.assert_array_equal(volume.array, ARRAY[None, :1])
    assert volume.geometry.size == (8, 7, 1)


def test_series_of_volumes_is_refused(tmp_path):
    four = sitk.JoinSeries([image_on(ARRAY, GRID)] * 3)
    sitk.WriteImage(four, str(tmp_path / "cine.nii.gz"))
    for read in (read_volume, read_geometry):
        with pytest.raises(InputError, match=r"series of 3 volumes.*Split it"):
            read(tmp_path / "cine.nii.gz")


def test_channels_from_files(tmp_path):
    a, b = save(tmp_path / "p_0000.nii.gz"), save(tmp_path / "p_0001.nii.gz", ARRAY + 1)
    volume = read_channels([a, b])
    np.testing.assert_array_equal(volume.array, [ARRAY, ARRAY + 1])
    assert volume.name == "p"
    moved = save(tmp_path / "q.nii.gz", ARRAY, Geometry(GRID.size, GRID.spacing, (0.0, 0.0, 0.0), GRID.direction))
    with pytest.raises(InputError, match=r"q\.nii\.gz is not on the grid.*origin"):
        read_channels([a, moved])


def test_labels(tmp_path):
    labels = np.abs(ARRAY) % 4
    path = save(tmp_path / "l.nii.gz", labels.astype(np.float32))
    assert read_labels(path, GRID).array.dtype == np.uint8
    np.testing.assert_array_equal(read_labels(path, GRID).array, labels)
    assert read_labels(save(tmp_path / "big.nii.gz", labels + 300)).array.dtype == np.uint16


@pytest.mark.parametrize(
    ("array", "words"),
    [(ARRAY / 3, "not whole numbers"), (ARRAY, "negative label"), (np.stack([abs(ARRAY)] * 2), "2 values a voxel")],
)
def test_labels_refused(tmp_path, array, words):
    with pytest.raises(InputError, match=words):
        read_labels(save(tmp_path / "l.nrrd", array))


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"spacing": (1.5, 2.0, 3.1)}, "not on the grid of its image: spacing"),
        ({"origin": (10.0, 20.0, 30.1)}, "not on the grid of its image: origin"),
        ({"direction": (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)}, "lie up to .* mm apart"),
        ({"size": (8, 7, 5)}, "not on the grid of its image: size"),
    ],
)
def test_labels_on_another_grid_are_refused(tmp_path, changed, word):
    path = save(tmp_path / "l.nii.gz", np.abs(ARRAY))
    with pytest.raises(InputError, match=word):
        read_labels(path, Geometry(**{**vars(GRID), **changed}))


@pytest.mark.parametrize("millimeters", [1.0, 0.001])
def test_one_tolerance_in_voxels(tmp_path, millimeters):
    image = Geometry(GRID.size, (2 * millimeters,) * 3, GRID.origin, GRID.direction)
    for voxels, fits in ((0.002, True), (0.015, True), (0.5, False)):
        moved = Geometry(image.size, image.spacing, (10 + 2 * voxels * millimeters, 20.0, 30.0), image.direction)
        path = save(tmp_path / f"{voxels}.nrrd", np.abs(ARRAY), moved)
        labels = LabelMap(np.abs(ARRAY), image)
        if fits:
            read_labels(path, image)
            measure(read_labels(path), labels, {1: "a"})
        else:
            with pytest.raises(InputError, match="not on the grid"):
                read_labels(path, image)
            with pytest.raises(InputError, match="apart"):
                measure(read_labels(path), labels, {1: "a"})


def test_nearly_whole_labels_are_rounded(tmp_path):
    labels = np.abs(ARRAY % 3)
    nearly = read_labels(save(tmp_path / "l.nii.gz", labels * np.float32(0.9999)))
    np.testing.assert_array_equal(nearly.array, labels)
    with pytest.raises(InputError, match=r"1\.98 is one.*nearest"):
        read_labels(save(tmp_path / "m.nii.gz", labels * np.float32(0.99)))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.99])
def test_files_cut_short(tmp_path, suffix, share):
    path = save(tmp_path / f"a{suffix}")
    intact = path.read_bytes()
    path.write_bytes(intact[: int(len(intact) * share)])
    with pytest.raises(InputError) as problem:
        read_volume(path)
    assert "\n" not in str(problem.value)
    assert "empty" in str(problem.value) if share == 0 else "cut short" in str(problem.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.txt", "a.png"])
def test_not_an_image(tmp_path, name):
    (tmp_path / name).write_text("hello " * 200)
    with pytest.raises(InputError, match=r"not a volume|not an image|damaged"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cases.CSV", "JSON files"),
        ("scans.zip", "Unpack it first"),
        ("liver.stl", "Surfaces are not read"),
        ("contours.dcm", "RTSTRUCT"),
        ("case.mrb", "save the volumes and segmentations as files"),
    ],
)
def test_what_else_to_do_with_other_files_is_told(tmp_path, name, hint):
    (tmp_path / name).write_text("scan.nii.gz")
    with pytest.raises(InputError, match=f"is not a volume this program reads .*{hint}"):
        read_volume(tmp_path / name)


def test_missing_file_and_segmentation(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_volume(tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match="is a segmentation"):
        read_volume(save(tmp_path / "a.seg.nrrd"))


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_bad_spacing_in_nifti(tmp_path, value):
    path = save(tmp_path / "a.nii")
    header = bytearray(path.read_bytes())
    header[80:84] = struct.pack("<f", value)
    path.write_bytes(header)
    for read in (read_volume, read_geometry):
        with pytest.raises(InputError, match="voxel spacing of"):
            read(path)


@pytest.mark.parametrize("value", [b"0 2 3", b"nan 2 3", b"inf 2 3"])
def test_bad_spacing_in_mha(tmp_path, value):
    path = save(tmp_path / "a.mha")
    text = path.read_bytes()
    assert b"ElementSpacing = 1.5 2 3" in text
    path.write_bytes(text.replace(b"ElementSpacing = 1.5 2 3", b"ElementSpacing = " + value))
    with pytest.raises(InputError, match="voxel spacing of 0"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_voxels_that_are_not_numbers(tmp_path, suffix, kind):
    array = ARRAY.astype(kind)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    with pytest.raises(InputError, match="3 voxels that are not numbers"):
        read_volume(save(tmp_path / f"a{suffix}", array))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_values_too_large_to_compute_with(tmp_path, suffix):
    with pytest.raises(InputError, match="too large for numbers of 32 bits"):
        read_volume(save(tmp_path / f"a{suffix}", ARRAY * 1e40))


def test_dicom_series(tmp_path):
    # Written in an order that is not the slices' own.
    folder = series(tmp_path / "scan", [15, 0, 3, 6, 9, 12])
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array[0], ARRAY[[1, 2, 3, 4, 5, 0]].astype(np.uint16))
    assert volume.geometry.spacing == (1.5, 2.0, 3.0)
    assert volume.name == "scan"
    assert read_geometry(folder) == (volume.geometry, 1)


def test_dicom_slices_must_be_evenly_stacked(tmp_path):
    with pytest.raises(InputError, match="not evenly spaced: 3 mm, but 6 mm"):
        read_volume(series(tmp_path / "gap", [0, 3, 6, 12, 15]))
    with pytest.raises(InputError, match="at the same place"):
        read_volume(series(tmp_path / "twice", [0, 0, 3, 3]))


def test_dicom_folders_refused(tmp_path):
    folder = series(tmp_path / "two", [0, 3, 6], "1.2.3", "T1")
    series(folder, [0, 3], "1.2.4", "T2 flair")
    with pytest.raises(InputError, match=r'"T1" \(3 slices\); "T2 flair" \(2 slices\).*one series'):
        read_volume(folder)
    empty = Path(tmp_path / "empty")
    empty.mkdir()
    with pytest.raises(InputError, match="is empty"):
        read_volume(empty)
    (empty / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="holds no DICOM series"):
        read_volume(empty)


def test_labels_stored_with_flipped_axes_are_turned_to_the_image(tmp_path):
    labels = np.abs(ARRAY)
    end = GRID.origin[0] + (GRID.size[0] - 1) * GRID.spacing[0]
    flipped = Geometry(GRID.size, GRID.spacing, (end, 20.0, 30.0), (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    label_map = read_labels(save(tmp_path / "l.nrrd", labels[:, :, ::-1].copy(), flipped), GRID)
    assert label_map.geometry == GRID
    assert np.array_equal(label_map.array, labels)


def test_labels_of_an_image_at_45_degrees_lie_on_it_however_its_axes_are_rounded(tmp_path):
    """The last decimals decide which of the patient's axes are the nearest."""
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for name, cosine, sine in (("image", 0.7071067811, 0.7071067811), ("labels", 0.70710677, 0.70710679)):
        image = sitk.GetImageFromArray(labels)
        image.SetDirection((cosine, -sine, 0, sine, cosine, 0, 0, 0, 1))
        sitk.WriteImage(image, str(tmp_path / f"{name}.nrrd"))
    geometry = read_geometry(tmp_path / "image.nrrd")[0]
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.nrrd", geometry).array, labels)


def test_voxels_of_another_size_than_the_header_says(tmp_path, monkeypatch):
    """As of a multi-frame DICOM that says its size twice."""
    path = save(tmp_path / "a.mha")
    monkeypatch.setattr("contrastiveseg.volumes.reading._read_natively", lambda *_: (ARRAY[None, :, :3], GRID))
    with pytest.raises(InputError, match="is damaged: it has 8x3x6 voxels, and its header says 8x7x6"):
        read_volume(path)
