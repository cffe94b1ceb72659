"""What is written lies exactly where the input lay, and is complete or not there at all."""

import errno
import os
import time

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from contrastiveseg.errors import InputError
from contrastiveseg.volumes import writing
from contrastiveseg.volumes.itk import geometry_of, image_on
from contrastiveseg.volumes.volume import Geometry
from contrastiveseg.volumes.writing import write_labels, write_maps

GRID = Geometry((5, 6, 7), (1.5, 2.0, 3.0), (10.0, 20.0, 30.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
LABELS = np.random.default_rng(0).integers(0, 5, GRID.shape).astype(np.uint8)
FORMATS = [".nii.gz", ".nii", ".nrrd", ".mha"]


def oblique(seed):
    rng = np.random.default_rng(seed)
    direction = Rotation.random(random_state=seed).as_matrix() * (1, 1, -1 if seed % 2 else 1)
    spacing, origin = rng.uniform(0.3, 6, 3), rng.uniform(-300, 300, 3)
    return Geometry(GRID.size, tuple(spacing.tolist()), tuple(origin.tolist()), tuple(direction.ravel().tolist()))


@pytest.mark.parametrize("suffix", FORMATS)
def test_oblique_geometry_reads_back_equal(tmp_path, suffix):
    theirs, ours = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    for seed in range(40):
        sitk.WriteImage(image_on(LABELS, oblique(seed)), str(theirs))
        given = sitk.ReadImage(str(theirs))
        write_labels(ours, LABELS, geometry_of(given))
        back = sitk.ReadImage(str(ours))
        assert geometry_of(back) == geometry_of(given)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(back), LABELS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_foreign_geometry_is_kept_to_the_format_and_then_stable(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for seed in range(20):
        write_labels(path, LABELS, oblique(seed))
        once = geometry_of(sitk.ReadImage(str(path)))
        for name in ("spacing", "origin", "direction"):
            np.testing.assert_allclose(getattr(once, name), getattr(oblique(seed), name), rtol=1e-6, atol=1e-6)
        write_labels(path, LABELS, once)
        assert geometry_of(sitk.ReadImage(str(path))) == once


def test_qform_says_the_same_as_the_sform(tmp_path):
    path = tmp_path / "a.nii"
    for seed in range(20):
        write_labels(path, LABELS, oblique(seed))
        content = bytearray(path.read_bytes())
        content[254:256] = b"\0\0"  # without sform ITK takes the qform
        path.write_bytes(content)
        back = geometry_of(sitk.ReadImage(str(path)))
        np.testing.assert_allclose(back.direction, oblique(seed).direction, atol=1e-5)
        np.testing.assert_allclose(back.origin, oblique(seed).origin, rtol=1e-6)


@pytest.mark.parametrize("suffix", FORMATS)
def test_probabilities(tmp_path, suffix):
    values = np.random.default_rng(0).random((3, *GRID.shape)).astype(np.float32)
    write_maps(tmp_path / f"p{suffix}", values, GRID)
    back = sitk.ReadImage(str(tmp_path / f"p{suffix}"))
    np.testing.assert_array_equal(np.moveaxis(sitk.GetArrayFromImage(back), -1, 0), values)
    assert geometry_of(back) == GRID
    write_maps(tmp_path / f"u{suffix}", values[0].astype(np.float64), GRID)
    back = sitk.ReadImage(str(tmp_path / f"u{suffix}"))
    assert (back.GetPixelIDValue(), geometry_of(back)) == (sitk.sitkFloat32, GRID)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), values[0])


@pytest.mark.parametrize("kind", ["bool", "uint8", "int16", "uint16", "int64"])
def test_label_types_and_turned_views(tmp_path, kind):
    labels = (LABELS % 2).astype(kind)[::-1, :, ::-1]
    write_labels(tmp_path / "a.nii.gz", labels, GRID)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii.gz"))), labels)


def test_same_labels_same_bytes(tmp_path):
    write_labels(tmp_path / "a.nii.gz", LABELS, GRID)
    write_labels(tmp_path / "b.nii.gz", LABELS, GRID)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


class FullDisk(sitk.ImageFileWriter):
    def Execute(self, *_):
        raise RuntimeError(
            "itk::ERROR: MetaImageIO(0x1): File cannot be written: o.mha\nReason: No space left on device"
        )


def no_room(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("suffix", FORMATS)
def test_full_disk(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    path.write_text("what was there before")
    monkeypatch.setattr(writing.sitk, "ImageFileWriter", FullDisk)
    monkeypatch.setattr(writing, "write_nifti", no_room)
    with pytest.raises(InputError, match="No space left") as problem:
        write_labels(path, LABELS, GRID)
    assert "\n" not in str(problem.value)
    assert [f.name for f in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "what was there before"


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_the_system_does_not_let_grow(tmp_path, suffix, compress):
    resource = pytest.importorskip("resource")
    path = tmp_path / f"a{suffix}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # So small a file reaches the system when it is closed.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(InputError, match="larger than a file may be there"):
            write_labels(path, LABELS, GRID, compress)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_file_without_its_end_takes_no_place(tmp_path, suffix, compress, monkeypatch):
    class Short(sitk.ImageFileWriter):
        def Execute(self, image):
            super().Execute(image)
            os.truncate(self.GetFileName(), os.path.getsize(self.GetFileName()) - 9)

    whole = tmp_path / f"whole{suffix}"
    write_labels(whole, LABELS, GRID, compress)
    monkeypatch.setattr(writing.sitk, "ImageFileWriter", Short)
    with pytest.raises(InputError, match="not written whole"):
        write_labels(tmp_path / f"a{suffix}", LABELS, GRID, compress)
    assert [file.name for file in tmp_path.iterdir()] == [whole.name]


def test_read_only_place(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match="Cannot write"):
        write_labels(tmp_path / "a.nii.gz", LABELS, GRID)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.txt", "a", "a.nhdr", "a.mhd"])
def test_endings_we_cannot_write(tmp_path, name):
    with pytest.raises(InputError, match="must be one of"):
        write_labels(tmp_path / name, LABELS, GRID)


def test_writing_is_fast(tmp_path):
    labels = np.zeros((100, 512, 512), np.uint8)
    labels[20:80, 100:400, 150:350] = 1
    labels[30:50, 200:300, 200:300] = 2
    start = time.process_time()
    write_labels(tmp_path / "a.nii.gz", labels, Geometry((512, 512, 100), GRID.spacing, GRID.origin, GRID.direction))
    # Of this process alone: others on the machine do not count.
    assert time.process_time() - start < 2
