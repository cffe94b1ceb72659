"""A batch in several processes: each volume once, one result, and what went wrong in any of them."""

import json
import os
import socket
import subprocess
import sys

import pytest

from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import log
from contrastiveseg.jobs.run import run
from contrastiveseg.results import Failure, SegmentResult
from contrastiveseg.segmentation.outputs import outputs_of
from contrastiveseg.segmentation.processes import ProcessOutcome, joined, segment_by_processes


@pytest.fixture
def job(segmenter, dataset, tmp_path):
    return SegmentJob(checkpoint=str(segmenter), input=(str(dataset / "imagesTr"),), output=str(tmp_path / "maps"))


@pytest.mark.timeout(200)
def test_two_machines_share_a_batch(job, tmp_path):
    """Two of torchrun's agents that meet over TCP, as on two machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test", "-m"]
    command += ["contrastiveseg", "segment", "--checkpoint", job.checkpoint, "--input", *job.input]
    command += ["--output", job.output, "--threads", "1", "--precision", "32", "--device", "cpu", "--json"]
    machines = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(2)
    ]
    said = [machine.communicate() for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said[0][1][-3000:]
    events = [json.loads(line) for out, _ in said for line in out.splitlines() if line.startswith("{")]
    (result,) = [event["value"] for event in events if event["event"] == "result"]
    alone = run(SegmentJob(**{**vars(job), "output": str(tmp_path / "alone"), "precision": "32", "threads": 1}))
    assert [path.rpartition("/")[2] for path in result["written"]] == [p.rpartition("/")[2] for p in alone.written]
    for name in os.listdir(tmp_path / "alone"):
        assert (tmp_path / "maps" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert "4 volumes are shared by 2 processes." in [event.get("text") for event in events]


def result(*written, failures=()):
    return SegmentResult(written, failures, {}, {"total": 1.0 + len(written)}, 5)


def test_the_result_is_that_of_all_parts(job):
    outputs = outputs_of(job)
    broken = Failure("b", "It is broken.")
    merged = joined(
        [
            ProcessOutcome(result("c", failures=(broken,)), "", 0, (log("x"),)),
            ProcessOutcome(result("a", "b"), "", 0, ()),
        ],
        outputs,
    )
    assert (merged.written, merged.failures, merged.seconds) == (("a", "b", "c"), (broken,), {"total": 3.0})
    ended = ProcessOutcome(None, "It is no image.", InputError.exit_code, ())
    merged = joined([ProcessOutcome(result("a"), "", 0, ()), ended], outputs)
    assert [failure.what for failure in merged.failures] == ["It is no image."] * 2
    assert merged.failures[0].input == str(outputs[1].case.images[0])
    with pytest.raises(InputError, match="It is no image"):
        joined([ended, ProcessOutcome(result(), "", 0, ())], outputs)
    with pytest.raises(Cancelled, match="Stopped"):
        joined(
            [ProcessOutcome(result("a"), "", 0, ()), ProcessOutcome(None, "Stopped.", Cancelled.exit_code, ())], outputs
        )


@pytest.mark.parametrize("option", ["report", "timings"])
def test_files_of_one_process_are_refused_for_several(job, monkeypatch, option, tmp_path):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=f"--{option} tells of one process"):
        segment_by_processes(SegmentJob(**{**vars(job), option: str(tmp_path / "x.json")}))
