"""Nothing is half-written, and nothing is overwritten unasked."""

import errno
import os
import stat
from pathlib import Path

import pytest
import safetensors

from contrastiveseg import files
from contrastiveseg.errors import InputError
from contrastiveseg.files import (
    check_output,
    check_outputs,
    leftovers,
    near,
    remove_leftovers,
    replacing,
    stem,
    volume_suffix,
    write_text,
)


@pytest.mark.parametrize(
    ("name", "ending", "case"),
    [
        ("a.nii.gz", ".nii.gz", "a"),
        ("A.NII.GZ", ".nii.gz", "A"),
        ("a.b.nrrd", ".nrrd", "a.b"),
        ("a.seg.nrrd", ".seg.nrrd", "a"),
        ("a.gz", "", "a.gz"),
        ("nii", "", "nii"),
    ],
)
def test_endings(tmp_path, name, ending, case):
    assert volume_suffix(tmp_path / name) == ending
    assert stem(tmp_path / name) == case


def test_the_new_file_takes_the_old_ones_place_with_usual_rights(tmp_path):
    path = tmp_path / "deep" / "a.nii.gz"
    write_text(path, "old")
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]
    (path.parent / "ordinary").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((path.parent / "ordinary").stat().st_mode)


@pytest.mark.parametrize(
    ("problem", "seen", "words"),
    [
        (ValueError("a bug"), ValueError, "a bug"),
        (KeyboardInterrupt("key"), KeyboardInterrupt, "key"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), InputError, "No space left"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), InputError, "No space left"),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), InputError, r"a\.json would be larger than"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), InputError, "Cannot write .*Read-only"),
        (OSError("4608 requested and 4064 written"), InputError, r"Only a part of .*a\.json"),
        (safetensors.SafetensorError(f"I/O error: full (os error {errno.ENOSPC})"), InputError, "No space left"),
        (safetensors.SafetensorError("no tensor"), safetensors.SafetensorError, "no tensor"),
        (OSError("other words"), OSError, "other words"),
    ],
)
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, problem, seen, words):
    path = tmp_path / "a.json"
    path.write_text("old")

    def write():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise problem

    with pytest.raises(seen, match=words):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_room_for_the_rename(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(InputError, match=r"No space left on the device while writing .*a\.json"):
        write_text(tmp_path / "a.json", "text")
    assert not list(tmp_path.iterdir())


def test_outputs_are_checked_before_work_and_nothing_is_made(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    check_output(path)
    check_output(tmp_path / "new" / "newer" / "a.json")
    assert not list(tmp_path.iterdir())
    path.touch()
    with pytest.raises(InputError, match=r"exists already.*--overwrite"):
        check_output(path)
    check_output(path, overwrite=True)
    with pytest.raises(InputError, match=r"is a folder"):
        check_output(tmp_path, overwrite=True)
    with pytest.raises(InputError, match=r"Cannot make the folder .*a\.json/sub"):
        check_output(path / "sub" / "b.json")
    for folder, name in ((tmp_path, "long" * 100), (tmp_path / "new", "long" * 100), (tmp_path / "new", "ä" * 126)):
        with pytest.raises(InputError, match="too long"):
            check_output(folder / f"{name}.json")
    (tmp_path / "moved").symlink_to(tmp_path / "disk")
    with pytest.raises(InputError, match=r"moved is a link to .*disk, which is not there"):
        check_output(tmp_path / "moved" / "b.json")
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(InputError, match="read-only"):
        check_output(tmp_path / "new" / "b.json")


@pytest.mark.parametrize("name", ["a.safetensors", "a" * 60 + "[1].safetensors"])
def test_what_a_killed_process_left_half_written_is_found(tmp_path, name):
    path, other = tmp_path / name, tmp_path / "b.safetensors"
    left = []
    for written in (path, path.with_name(name + ".resume"), other):
        with replacing(written) as temporary:
            left.append(temporary)
        temporary.write_text("half")
    assert leftovers(path) == sorted(left[:2])


def test_half_written_files_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    path, long, other = tmp_path / "a.nii.gz", tmp_path / ("a" * 60 + ".nii.gz"), tmp_path / ".a.nii.gz.notes"
    other.write_text("mine")
    dead = []
    for written in (path, long):
        with replacing(written) as temporary:
            dead.append(temporary)
        temporary.write_text("half")
    with replacing(path) as living:
        remove_leftovers([path, long])
        assert set(tmp_path.iterdir()) == {living, path, long, other}
    assert not set(dead) & set(tmp_path.iterdir())


def test_outputs_that_a_killed_job_left_half_written_go_when_the_next_one_starts(tmp_path):
    (tmp_path / ".b.json-abc_1234.json").write_text("half")
    check_outputs([tmp_path / "a.json"], [])
    assert len(list(tmp_path.iterdir())) == 1
    check_outputs([tmp_path / "b.json"], [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch, durable):
    waited = []
    monkeypatch.setattr(files.os, "fsync", waited.append)
    with replacing(tmp_path / "a.json", durable) as temporary:
        temporary.write_text("text")
    assert (len(waited), (tmp_path / "a.json").read_text()) == (int(durable), "text")


def test_a_path_that_is_not_there_is_answered_with_what_may_be_meant(tmp_path, monkeypatch):
    (tmp_path / "scans" / "imagesTr").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert near(Path("scans/imagesTR")) == f" Did you mean {Path('scans/imagesTr')}?"
    assert near(Path("nowhere")) == ""
    assert near(tmp_path / "scan" / "a" / "b.nii").endswith(f"of the path, only {tmp_path} is.")
