"""An output belongs to one living process: another is refused, a dead one does not block."""

import subprocess
import sys

import pytest

from contrastiveseg.claims import check_unclaimed, claimed, is_locked, lock_path
from contrastiveseg.errors import InputError

HOLDER = """
import os, sys
from pathlib import Path
from contrastiveseg.claims import claimed
with claimed(Path(sys.argv[1])) as killed:
    print(killed, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that claims a path; its first line is whether one before it was killed."""
    started = []

    def start(path):
        command = [sys.executable, "-c", HOLDER, str(path)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1], started[-1].stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_and_a_dead_one_does_not_block(holder, tmp_path):
    output = tmp_path / "new" / "out.safetensors"
    process, killed = holder(output)
    assert killed == "False"
    for refused in (lambda: claimed(output).__enter__(), lambda: check_unclaimed(output)):
        with pytest.raises(InputError, match=r"Another process is running that writes .*out\.safetensors"):
            refused()
    assert lock_path(output).exists()
    process.kill()
    process.wait()
    check_unclaimed(output)
    with claimed(output) as before:
        assert before is True
    assert not lock_path(output).exists()


def test_the_lock_goes_with_its_end_and_with_the_folders_made_for_it(tmp_path):
    output = tmp_path / "a" / "b" / "out.safetensors"
    with claimed(output) as killed:
        assert (killed, lock_path(output).exists()) == (False, True)
    assert not list(tmp_path.iterdir())
    with claimed(output):
        output.touch()
    assert list(output.parent.iterdir()) == [output]


def test_a_claim_cannot_be_had_twice_in_one_process_either(tmp_path):
    with claimed(tmp_path / "out"):
        assert is_locked(lock_path(tmp_path / "out"))
        with pytest.raises(InputError, match="Another process"), claimed(tmp_path / "out"):
            pass
        assert is_locked(lock_path(tmp_path / "out"))


def test_a_file_that_cannot_be_opened_counts_as_locked(tmp_path):
    assert is_locked(tmp_path / "none")


def test_without_locks_of_the_system_work_goes_on(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("contrastiveseg.claims.lock", without)
    with claimed(tmp_path / "out"):
        assert is_locked(lock_path(tmp_path / "out"))
    assert not list(tmp_path.iterdir())
