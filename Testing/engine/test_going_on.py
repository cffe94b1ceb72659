"""A batch that was interrupted goes on: finished cases stay as they are, and nothing else is taken for one."""

import os
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.cli import main
from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Log
from contrastiveseg.segmentation.segment import segment
from contrastiveseg.volumes.origin import read_origin
from contrastiveseg.volumes.reading import read_volume
from contrastiveseg.volumes.volume import Volume
from contrastiveseg.volumes.writing import write_labels

ORIGIN = "0123456789abcdef" * 2


@pytest.fixture
def scans(tmp_path):
    """Three small scans, one of each format."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed, ending in enumerate((".nii.gz", ".nrrd", ".mha")):
        array = np.random.default_rng(seed).integers(0, 200, (12, 16, 16)).astype(np.int16)
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((20.0, 20.0, 22.0))
        sitk.WriteImage(image, str(folder / f"scan{seed}{ending}"))
    return folder


@pytest.fixture
def job(sharp, scans, tmp_path):
    return SegmentJob(
        checkpoint=str(sharp), input=(str(scans),), output=str(tmp_path / "out"), threads=1, precision="32"
    )


def times(folder):
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


@pytest.fixture
def interrupted(job, tmp_path):
    """Two of the three are finished, and of a third there is half a file."""
    out = tmp_path / "out"
    with pytest.raises(Cancelled, match="Stopped after 2 of 3"):
        segment(job, cancelled=lambda: out.is_dir() and len(list(out.iterdir())) >= 2)
    (out / ".scan2.mha-abcd1234.mha").write_bytes(b"half")
    return replace(job, continue_=True)


def test_the_same_command_does_what_is_missing_and_gives_what_one_run_gives(job, interrupted, tmp_path):
    out, whole, seen = tmp_path / "out", tmp_path / "whole", []
    before = times(out)
    result = segment(interrupted, seen.append)
    assert [os.path.basename(path) for path in result.written] == ["scan2.mha"]
    assert [os.path.basename(path) for path in result.kept] == ["scan0.nii.gz", "scan1.nrrd"]
    assert "2 of 3 volumes are segmented already. Their label maps stay." in [
        e.text for e in seen if isinstance(e, Log)
    ]
    assert before.items() - times(out).items() == {(".scan2.mha-abcd1234.mha", before[".scan2.mha-abcd1234.mha"])}
    segment(replace(job, output=str(whole)))
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}
    finished = times(out)
    again = segment(interrupted)
    assert (again.written, len(again.kept), times(out)) == ((), 3, finished)


def test_without_being_asked_to_nothing_is_taken_as_finished(job, interrupted):
    with pytest.raises(InputError, match=r"exists already\. .*With --continue a batch goes on that was interrupted\."):
        segment(job)


@pytest.mark.parametrize(
    "change", ["options", "region", "input", "checkpoint", "a file of the user's", "another label map"]
)
def test_what_was_made_otherwise_is_refused_and_replaced_only_where_asked(
    job, interrupted, change, scans, segmenter, tmp_path
):
    there = tmp_path / "out" / "scan0.nii.gz"
    if change == "options":
        interrupted = replace(interrupted, mirror=True)
    elif change == "region":
        interrupted = replace(interrupted, roi=(-1000.0, 1000.0, -1000.0, 1000.0, -1000.0, 1000.0))
    elif change == "input":
        image = sitk.ReadImage(str(scans / "scan0.nii.gz"))
        image[0, 0, 0] = image[0, 0, 0] + 1
        sitk.WriteImage(image, str(scans / "scan0.nii.gz"))
    elif change == "checkpoint":
        interrupted = replace(interrupted, checkpoint=str(segmenter))
    elif change == "another label map":
        write_labels(there, np.zeros((12, 16, 16), np.uint8), read_volume(scans / "scan0.nii.gz").geometry)
    else:
        there.write_bytes(b"mine")
    before = there.read_bytes()
    with pytest.raises(InputError, match=r"scan0\.nii\.gz exists already and was not made from.*--overwrite"):
        segment(interrupted)
    assert there.read_bytes() == before
    assert str(there) in segment(replace(interrupted, overwrite=True)).written


def test_a_case_without_all_its_files_is_not_finished(job, tmp_path):
    unsure = tmp_path / "unsure"
    job = replace(job, uncertainty=str(unsure))
    segment(job)
    (unsure / "scan1.nrrd").unlink()
    result = segment(replace(job, continue_=True))
    assert [os.path.basename(path) for path in result.written] == ["scan1.nrrd"]
    assert len(list(unsure.iterdir())) == 3


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_label_map_says_what_it_was_made_from_and_nothing_else_does(tmp_path, ending, compress):
    geometry = Volume.from_array(np.zeros((3, 4, 5)), (1.0, 1.0, 1.0)).geometry
    labels, path, plain = np.ones((3, 4, 5), np.uint8), tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    write_labels(path, labels, geometry, compress, ORIGIN)
    write_labels(plain, labels, geometry, compress)
    assert (read_origin(path), read_origin(plain), read_origin(tmp_path / "none.nii")) == (ORIGIN, "", "")
    path.write_bytes(path.read_bytes()[:20])
    assert read_origin(path) == ""


def test_the_option_as_it_is_typed(sharp, scans, tmp_path, capsys):
    words = ["segment", "--checkpoint", str(sharp), "--input", str(scans / "scan1.nrrd")]
    words += ["--output", str(tmp_path / "a.nrrd"), "--threads", "1", "--precision", "32", "--continue"]
    assert (main(words), main(words)) == (0, 0)
    assert f"kept: {tmp_path / 'a.nrrd'}" in capsys.readouterr().out
