"""The warm worker, as a process: requests on stdin, events on stdout, until stdin closes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

MAIN = [sys.executable, "-m", "ContrastiveSegLib", "worker"]

#: A worker whose job is to print in every way a library can.
NOISY = """
import os, sys
from ContrastiveSegLib.jobs import worker
from ContrastiveSegLib.cli import main

def noisy(job, emit, cancelled):
    print("from Python", flush=True)
    os.write(1, b"from C\\n")
    os.system("echo from a child")
    if job.output == "crash":
        raise ZeroDivisionError("division by zero")
    return {"written": [job.output]}

worker.run = noisy
sys.exit(main(["worker"]))
"""


class Worker:
    """A worker and its pipes."""

    def __init__(self, command: list[str], errors) -> None:
        self.errors = errors
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ
        )

    def say(self, request) -> None:
        text = request if isinstance(request, str) else json.dumps(request)
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def until(self, wanted: Callable[[dict], bool]) -> list[dict]:
        """Events up to the first that is ``wanted``; every line must be an event."""
        seen = []
        for line in self.process.stdout:
            seen.append(json.loads(line))
            if wanted(seen[-1]):
                return seen
        self.errors.seek(0)
        pytest.fail(f"the worker ended after {seen[-3:]}: {self.errors.read()[-2000:]}")

    def end_of(self, identifier: str | None) -> list[dict]:
        """Events up to the one that ends a job."""
        return self.until(lambda e: e["id"] == identifier and e["event"] in ("result", "error"))


@pytest.fixture
def start(tmp_path):
    started: list[Worker] = []

    def begin(command: list[str] = MAIN) -> Worker:
        errors = (tmp_path / "worker.log").open("w+")
        started.append(Worker(command, errors))
        return started[-1]

    yield begin
    for worker in started:
        worker.process.kill()
        worker.process.wait()
        worker.process.stdout.close()
        worker.errors.close()


def segmenting(segmenter, image, output) -> dict:
    given = {
        "checkpoint": str(segmenter),
        "input": [str(image)],
        "output": str(output),
        "threads": 1,
        "precision": "32",
    }
    return {"kind": "segment", **given}


@pytest.mark.timeout(120)
def test_jobs_one_after_the_other_stay_warm_and_can_be_cancelled(start, segmenter, dataset, image, tmp_path):
    worker = start()
    (ready,) = worker.until(lambda e: True)
    assert (ready["event"], ready["id"]) == ("ready", None)

    worker.say({"id": "1", "job": segmenting(segmenter, image, tmp_path / "a.nii.gz")})
    worker.say({"id": "2", "job": segmenting(segmenter, image, tmp_path / "b.nii.gz")})
    cold, warm = worker.end_of("1"), worker.end_of("2")
    assert {e["id"] for e in cold} == {"1"}
    assert {e["id"] for e in warm} == {"2"}
    first, second = cold[-1]["value"]["seconds"], warm[-1]["value"]["seconds"]
    assert first["import"] > 0.3
    assert second["import"] < 0.01
    assert second["total"] < 0.3 * first["total"]
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()

    # A job that would run for hours, cancelled; the one behind it is served.
    endless = {"kind": "pretrain", "images": [str(dataset)], "output": str(tmp_path / "c.safetensors")}
    endless |= {"steps": 10**6, "precision": "32", "threads": 1}
    worker.say({"id": "3", "job": endless})
    worker.say({"id": "4", "job": segmenting(segmenter, image, tmp_path / "d.nii.gz")})
    worker.until(lambda e: e.get("name") == "loss")
    worker.say({"cancel": "3"})
    end = worker.end_of("3")[-1]
    assert (end["event"], end["exit_code"]) == ("error", 130)
    assert worker.end_of("4")[-1]["event"] == "result"

    # An id may be used again after it was cancelled, and a job cancelled while it waits never starts to train.
    worker.say({"id": "3", "job": segmenting(segmenter, image, tmp_path / "e.nii.gz")})
    assert worker.end_of("3")[-1]["event"] == "result"

    # Closing stdin stops what runs.
    worker.say({"id": "5", "job": {**endless, "overwrite": True}})
    worker.until(lambda e: e["id"] == "5" and e.get("name") == "loss")
    worker.process.stdin.close()
    assert worker.end_of("5")[-1]["exit_code"] == 130
    assert worker.process.wait() == 0


def test_bad_requests_are_answered_and_the_worker_goes_on(start):
    worker = start([sys.executable, "-c", NOISY])
    job = {"kind": "segment", "checkpoint": "c", "input": ["i"], "output": "o"}
    worker.until(lambda e: e["event"] == "ready")
    for request, identifier, says in [
        ("{not JSON", None, "one JSON object a line"),
        ("[1]", None, "A request is"),
        ({"id": 7, "job": job}, None, "A request is"),
        ({"id": "7"}, None, "A request is"),
        ({"id": "7", "job": {"kind": "dance"}}, "7", "There is no job 'dance'. There are: pretrain"),
        ({"id": "7", "job": {"kind": ["segment"]}}, "7", "There is no job"),
        ({"id": "7", "job": {**job, "colour": 1}}, "7", "segment: unknown colour"),
        ({"id": "7", "job": {**job, "mirror": "yes"}}, "7", "segment.mirror: expected bool"),
    ]:
        worker.say(request)
        (answer,) = worker.end_of(identifier)
        assert (answer["event"], answer["exit_code"]) == ("error", 2)
        assert says in answer["what"]
    worker.say("")
    worker.say({"cancel": "never heard of"})
    worker.say({"id": "8", "job": job})
    assert worker.end_of("8")[-1]["value"] == {"written": ["o"]}


def test_prints_and_crashes_of_a_job_do_not_reach_the_events(start, tmp_path):
    worker = start([sys.executable, "-c", NOISY])
    worker.until(lambda e: e["event"] == "ready")
    for identifier, output in (("1", "crash"), ("2", "o")):
        worker.say({"id": identifier, "job": {"kind": "segment", "checkpoint": "c", "input": ["i"], "output": output}})
    crash, done = worker.end_of("1")[-1], worker.end_of("2")[-1]
    assert (crash["event"], crash["exit_code"]) == ("error", 1)
    assert "Unexpected ZeroDivisionError" in crash["what"]
    assert done["event"] == "result"
    worker.process.stdin.close()
    assert worker.process.wait() == 0
    assert worker.process.stdout.read() == ""
    log = (tmp_path / "worker.log").read_text()
    for words in ("from Python", "from C", "from a child", "Traceback"):
        assert words in log
