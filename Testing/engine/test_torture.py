"""The tool that kills jobs at random moments finds nothing in a few kills; bash ci/torture makes hundreds."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "torture" / "run.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and waits for pidfds")


def test_a_few_kills_leave_nothing_and_change_no_result():
    done = subprocess.run([sys.executable, str(TOOL), "--kills", "6", "--seed", "7"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 kills" in done.stdout


def test_a_worker_keeps_its_memory_and_answers_after_cancels():
    tool = TOOL.with_name("memory.py")
    counts = ["--segmentations", "20", "--switches", "12", "--cancels", "12", "--seed", "7"]
    done = subprocess.run([sys.executable, str(tool), *counts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 cancels: 0 faults" in done.stdout


def test_what_is_not_whole_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TOOL.parent))
    from kinds import Kind
    from run import _mixed

    kind = Kind("copy", lambda folder: 0, lambda folder: 0)
    sound = {Path(name): b"whole" for name in ("a.json", "b.json", "c.json", "d.json")}
    (tmp_path / "a.json").write_bytes(b"who")
    (tmp_path / "b.json").write_bytes(b"whole")
    (tmp_path / "d.json").mkdir()
    first, second = _mixed(kind, tmp_path, sound)
    assert first == "a.json is not whole: it has another content"
    assert second.startswith("d.json is not whole: ")


def test_a_process_that_lives_on_is_found_and_ended(tmp_path):
    program = (
        "import subprocess, sys; from pathlib import Path; from forked import Child\n"
        "child = Child(lambda: subprocess.Popen(['sleep', '600']) and 0, Path(sys.argv[1]))\n"
        "child.ends_within(None), child.result()\n"
        "import forked; forked.ORPHANS_SECONDS = 0.0\n"
        "print(len(child.orphans())); forked.ORPHANS_SECONDS = 20.0; print(child.orphans())"
    )
    # In a process without threads, as it is made for.
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TOOL.parent)
    assert done.stdout.split() == ["1", "[]"], done.stderr
