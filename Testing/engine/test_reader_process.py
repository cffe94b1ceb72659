"""A file on which a native reader crashes, hangs or takes all memory costs that file alone."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.errors import InputError
from contrastiveseg.volumes import memory, reader_process
from contrastiveseg.volumes.reader_process import read_apart
from contrastiveseg.volumes.reading import read_volume
from contrastiveseg.volumes.writing import check_writable_kind

FILE = Path("scan.nrrd")
POSIX = pytest.mark.skipif(os.name != "posix", reason="limits and signals of POSIX")


# What a reader may do; called in the process of readers.


def crash() -> reader_process.Answer:
    os.kill(os.getpid(), signal.SIGSEGV)
    return None, None


def hang() -> reader_process.Answer:
    while True:
        pass


def grow() -> reader_process.Answer:
    return None, np.ones(20 << 30, np.uint8)


def chatter(count: int) -> reader_process.Answer:
    os.write(1, b"a warning of a library\n")
    return {"pid": os.getpid()}, np.arange(count).reshape(2, -1)


def apart(name: str, **arguments: object) -> reader_process.Answer:
    return read_apart(FILE, f"{__name__}:{name}", 0, arguments)


def test_an_array_comes_over_whatever_the_library_prints():
    first, array = apart("chatter", count=60_000)
    np.testing.assert_array_equal(array, np.arange(60_000).reshape(2, -1))
    assert first["pid"] != os.getpid()
    assert apart("chatter", count=2)[0] == first  # the same process


@POSIX
def test_a_crash_is_told_and_the_next_file_read():
    with pytest.raises(InputError, match=r"scan\.nrrd made its reader crash.*damaged"):
        apart("crash")
    assert apart("chatter", count=2)[1] is not None


def test_a_process_that_died_unused_is_replaced():
    dead = apart("chatter", count=2)[0]["pid"]
    reader = next(r for r in reader_process._idle if r.process.pid == dead)
    reader.process.kill()
    reader.process.wait()
    assert apart("chatter", count=2)[0]["pid"] != dead


@POSIX
@pytest.mark.parametrize("by_clock", [True, False])
def test_a_reader_that_hangs_is_ended(monkeypatch, by_clock):
    monkeypatch.setattr(reader_process, "SECONDS", 0.3)
    if not by_clock:  # the process that started it is gone
        monkeypatch.setattr(reader_process.threading.Timer, "start", lambda timer: None)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"scan\.nrrd could not be read within"):
        apart("hang")
    assert time.monotonic() - start < 30


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only there is it told what is in use")
def test_a_reader_gets_no_more_memory_than_its_file_calls_for():
    with pytest.raises(InputError, match=r"scan\.nrrd needs more memory than its header says"):
        apart("grow")


@POSIX
def test_it_ends_with_the_process_that_reads(tmp_path):
    reader = reader_process._Reader(reader_process._python() or "")
    assert reader.process.stdin is not None
    reader.process.stdin.close()
    assert reader.process.wait(20) == 0
    reader.close()


def test_where_there_is_no_interpreter_it_is_read_here(monkeypatch):
    monkeypatch.setattr(reader_process, "_python", lambda: None)
    assert apart("chatter", count=2)[0]["pid"] == os.getpid()


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16)), str(tmp_path / "a.nrrd"))
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\x8a\xb3.nrrd"))
    try:
        (tmp_path / "a.nrrd").rename(path)
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(InputError, match=r"not UTF-8\. Rename"):
        read_volume(path)
    with pytest.raises(InputError, match=r"is not UTF-8\. Write a \.nii\.gz"):
        check_writable_kind(path)
    check_writable_kind(path.with_suffix(".nii.gz"))


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
def test_more_voxels_than_the_memory_holds_are_refused(tmp_path, monkeypatch, ending):
    path = tmp_path / f"large{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((40, 50, 60), np.int16)), str(path))
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 900 kB\nMemAvailable: 200 kB\n")
    monkeypatch.setattr(memory, "_SYSTEM", told)
    with pytest.raises(InputError, match=rf"large{ending} says that it holds .* GiB of voxels"):
        read_volume(path)
    told.write_text("MemTotal: 900 kB\nMemAvailable: 400 kB\n")
    assert read_volume(path).array.shape == (1, 40, 50, 60)
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path / "max")
    (tmp_path / "max").write_text("100000\n")
    with pytest.raises(InputError, match="of memory are free"):
        read_volume(path)
