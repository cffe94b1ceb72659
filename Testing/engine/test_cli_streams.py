"""The streams of the command line: closed, full, in another encoding, or read by nobody any more."""

import json
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from test_cli import REQUIRED


def test_a_console_without_the_letters_of_a_name(tmp_path):
    command = [sys.executable, "-m", "contrastiveseg", "inspect", str(tmp_path / "Größe.safetensors")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 2
    assert rb"Gr\xf6\xdfe.safetensors" in done.stderr


#: What prints lines, and soon: it loads no torch.
PRINTING = ("inspect", "starter:synthetic-labels-3d-tiny")


def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "contrastiveseg", *PRINTING]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_full_disk_under_the_log_ends_nothing(words):
    command = [sys.executable, "-c", TALKING, "segment", *REQUIRED["segment"], *words]
    with open("/dev/full", "w") as full:
        process = subprocess.run(command, stdout=full, stderr=full)
    assert process.returncode == 0


#: A job that says something, and ends well where it was not asked to stop.
TALKING = """
import sys
from contrastiveseg import cli, events
from contrastiveseg.errors import Cancelled
from contrastiveseg.results import SegmentResult
def run(job, emit, cancelled):
    for step in range(3000):
        emit(events.log("something"))
        emit(events.warning("or other"))
    if cancelled():
        raise Cancelled("Stopped with what there was.")
    return SegmentResult(("a.nii.gz",), (), {}, {}, 0)
sys.exit(cli.main(run=run))
"""


def test_who_reads_no_more_asks_a_job_to_stop_and_keep_what_it_has():
    command = [sys.executable, "-c", TALKING, "segment", *REQUIRED["segment"]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert "Stopped with what there was." in process.stderr.read()
    assert process.wait() != 0


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_changes_no_result(closed):
    command = f"exec {shlex.join([sys.executable, '-m', 'contrastiveseg', *PRINTING])} {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_job_does_not_need_its_streams(closed, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.eye(4, dtype=np.uint8)[None]), str(tmp_path / "a.nii.gz"))
    words = ["--predictions", tmp_path / "a.nii.gz", "--references", tmp_path / "a.nii.gz", "--output", tmp_path / "s"]
    command = shlex.join([sys.executable, "-m", "contrastiveseg", "evaluate", *map(str, words)])
    assert subprocess.run(f"exec {command} {closed}", shell=True).returncode == 0
    assert json.loads((tmp_path / "s").read_text())
