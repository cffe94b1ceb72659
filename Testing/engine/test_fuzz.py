"""Files that are changed at random: 2,000 of one seed are read or refused; bash ci/torture fuzz makes 50,000."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "fuzz" / "fuzz.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits memory by it")


def run(*words):
    return subprocess.run([sys.executable, str(TOOL), *map(str, words)], capture_output=True, text=True)


def test_changed_files_are_read_or_refused():
    done = run("--cases", 2000, "--seed", 16)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2000 cases" in done.stdout


def test_a_case_can_be_repeated(tmp_path):
    first, second = (run("--seed", 16, "--case", 7, "--keep", tmp_path / name) for name in ("first", "second"))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    (file,) = (tmp_path / "first").iterdir()
    assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()


@pytest.fixture
def trials(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOL.parent))
    import trials

    return trials


def _faults(trials, monkeypatch, read, **more):
    """What is wrong with two cases of a file that is read by ``read``."""

    def make(folder):
        (folder / "a.txt").write_bytes(b"0123456789")

    target = trials.Target(
        "toy", 1, make, ("*",), lambda chance, content: content[: chance.randint(1, 4)], read, **more
    )
    monkeypatch.setattr(trials, "TARGETS", (target,))
    return [fault.what for fault in trials.try_cases([1, 2], 0, "", 1)[0]]


def _crash(folder, file):
    raise KeyError("x")


def _leave(folder, file):
    (folder / "left").touch()


def _change(folder, file):
    file.write_bytes(b"other")


def _end(folder, file):
    os.kill(os.getpid(), signal.SIGKILL)


def _hang(folder, file):
    while True:
        pass


def _fill(folder, file):
    return bytearray(8 << 30)


@pytest.mark.parametrize(
    ("read", "more", "words"),
    [
        (_crash, {}, "KeyError"),
        (_leave, {}, "files were made or removed"),
        (_change, {}, "was changed by reading it"),
        (_end, {}, "ended its process with -9"),
        (_hang, {}, "took more than"),
        (_fill, {}, "MemoryError"),
        (lambda folder, file: 1, {"whole": True}, "though it is cut to"),
        (lambda folder, file: file.read_bytes(), {"exact": True}, "otherwise than the unchanged"),
    ],
)
def test_what_is_wrong_is_found(trials, monkeypatch, read, more, words):
    monkeypatch.setattr(trials, "SECONDS", 0.2)
    first, second = _faults(trials, monkeypatch, read, **more)
    assert words in first
    assert words in second


def test_a_mutation_follows_from_the_random_numbers(trials):
    import mutations

    content = b'{"a": [1, 2, {"b": "c"}], "d": 0.5}\nfield: 12 13\n' * 4
    for mutation in (mutations.BINARY, mutations.TEXT, mutations.JSON):
        changed = [mutation(random.Random(seed), content) for seed in range(50)]
        assert changed == [mutation(random.Random(seed), content) for seed in range(50)]
        assert len({*changed} - {content}) > 15
