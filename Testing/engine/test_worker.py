"""The warm worker, as a process: requests on stdin, events on stdout, until stdin closes."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
import torch

from contrastiveseg.events import Log
from contrastiveseg.jobs import answers
from contrastiveseg.jobs.queries import devices
from contrastiveseg.jobs.worker import work

MAIN = [sys.executable, "-m", "contrastiveseg", "worker"]

#: A worker whose job is to print in every way a library can.
NOISY = """
import os, sys
from contrastiveseg import events
from contrastiveseg.jobs import worker
from contrastiveseg.cli import main

def noisy(job, emit, cancelled):
    print("from Python", flush=True)
    os.write(1, b"from C\\n")
    os.system("echo from a child")
    if job.output == "crash":
        raise ZeroDivisionError("division by zero")
    if job.output == "refused":
        open("nowhere/at/all")
    return {"written": [job.output]}

worker.run = noisy
sys.exit(main(["worker"]))
"""
#: A worker whose jobs say that they have begun, and go on until they are cancelled.
ENDLESS = NOISY.replace(
    'print("from Python", flush=True)',
    "emit(events.StageStarted(events.Stage.SEGMENT))\n    while not cancelled(): pass",
)


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


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="Windows has no getpriority")
def test_a_worker_gives_way_where_asked(start):
    priorities = {}
    for options in ((), ("--low-priority",)):
        ready = start([*MAIN, *options]).until(lambda event: event["event"] == "ready")[-1]
        priorities[options] = os.getpriority(os.PRIO_PROCESS, ready["pid"])
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert priorities == {(): own, ("--low-priority",): min(own + 10, 19)}


def test_what_runs_is_asked_to_stop_when_nobody_reads_the_answers_any_more(monkeypatch):
    """The program that started the worker has died; what was learned is to be kept."""
    ended = []

    class Unread(io.StringIO):
        def write(self, text):
            if '"log"' in text:
                raise BrokenPipeError
            return super().write(text)

    def job(job, emit, cancelled):
        while not cancelled():
            emit(Log("a step"))
        ended.append("saved")

    class Silent:
        """Requests that never end after the first."""

        def __iter__(self):
            yield json.dumps({"id": "1", "job": segmenting("a", "b", "c")})
            threading.Event().wait()

    monkeypatch.setattr("contrastiveseg.jobs.worker.run", job)
    assert work(Silent(), Unread(), pytest.fail) == 0
    assert ended == ["saved"]


@pytest.mark.timeout(120)
def test_jobs_one_after_the_other_stay_warm_and_can_be_cancelled(start, segmenter, dataset, image, tmp_path):
    worker = start()
    (ready,) = worker.until(lambda e: True)
    assert (ready["event"], ready["id"], ready["pid"]) == ("ready", None, worker.process.pid)

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

    # An id may be used again after it was cancelled.
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
        ("[" * 200_000, None, "one JSON object a line"),
        ("[1]", None, "A request is"),
        ({"id": 7, "job": job}, None, "A request is"),
        ({"id": "7"}, None, "A request is"),
        ({"id": "7", "query": 1}, None, "A request is"),
        ({"id": "7", "job": job, "host": "me@box"}, None, "A request is"),
        ({"id": "7", "job": job, "host": {"name": "-x"}}, "7", "--host takes a name as user@machine, not '-x'"),
        ({"id": "7", "host": {"name": "me@box", "port": 1}}, "7", "host: unknown port"),
        ({"id": "7", "query": "weather"}, "7", "There is no query 'weather'. There are: methods, devices, libraries."),
        ({"id": "7", "job": {"kind": "dance"}}, "7", "There is no job 'dance'. There are: pretrain"),
        ({"id": "7", "job": {"kind": ["segment"]}}, "7", "There is no job"),
        ({"id": "7", "job": {**job, "color": 1}}, "7", "segment: unknown color"),
        ({"id": "7", "job": {**job, "mirror": "yes"}}, "7", "segment.mirror: expected bool"),
    ]:
        worker.say(request)
        (answer,) = worker.end_of(identifier)
        assert (answer["event"], answer["exit_code"]) == ("error", 2)
        assert says in answer["what"]
    worker.process.stdin.buffer.write(b'{"id": "7", "query": "\xff\xfe"}\n')
    worker.say("")
    (answer,) = worker.end_of(None)
    assert "one JSON object a line" in answer["what"]
    worker.say("")
    worker.say({"cancel": "never heard of"})
    worker.say({"id": "8", "job": job})
    assert worker.end_of("8")[-1]["value"] == {"written": ["o"]}


def test_prints_and_crashes_of_a_job_do_not_reach_the_events(start, tmp_path):
    worker = start([sys.executable, "-c", NOISY])
    worker.until(lambda e: e["event"] == "ready")
    for identifier, output in (("1", "crash"), ("2", "refused"), ("3", "o")):
        worker.say({"id": identifier, "job": {"kind": "segment", "checkpoint": "c", "input": ["i"], "output": output}})
    crash, refused, done = (worker.end_of(identifier)[-1] for identifier in "123")
    assert (crash["event"], crash["exit_code"]) == ("error", 1)
    assert "Unexpected ZeroDivisionError" in crash["what"]
    assert (refused["event"], refused["exit_code"]) == ("error", 2)
    assert "nowhere/at/all: No such file or directory." in refused["what"]
    assert done["event"] == "result"
    worker.process.stdin.close()
    assert worker.process.wait() == 0
    assert worker.process.stdout.read() == ""
    log = (tmp_path / "worker.log").read_text()
    for words in ("from Python", "from C", "from a child", "Traceback"):
        assert words in log


def test_questions_are_answered_in_order_with_the_jobs(start):
    worker = start([sys.executable, "-c", NOISY])
    worker.say({"id": "1", "job": {"kind": "segment", "checkpoint": "c", "input": ["i"], "output": "o"}})
    for identifier, query in (("2", "methods"), ("3", "devices")):
        worker.say({"id": identifier, "query": query})
    ends = [e for e in worker.end_of("3") if e["event"] in ("result", "error")]
    assert [(e["id"], e["event"]) for e in ends] == [("1", "result"), ("2", "result"), ("3", "result")]
    methods = {(m["stage"], m["name"]): m for m in ends[1]["value"]}
    supervised = methods["finetune", "supervised"]
    defaults = {parameter["name"]: parameter["default"] for parameter in supervised["parameters"]}
    assert (defaults["batch"], defaults["optimization.learning_rate"]) == (2, 0.006)
    assert (supervised["uses_labels"], supervised["uses_unlabeled"]) == (True, False)
    assert supervised["advice"] == ""
    assert "supervised" in methods["finetune", "bcp"]["advice"]
    assert "Dice" in supervised["description"]
    assert "nnU-Net" in supervised["citation"]
    assert methods["pretrain", "macl"]["uses_labels"] is False
    assert methods["pretrain", "mixcl"]["uses_labels"] is True
    cpu = ends[2]["value"][-1]
    assert cpu["name"] == "cpu"
    assert f"({cpu['cores']} core" in cpu["label"]


def test_every_gpu_is_told_with_its_free_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")

    def memory(index: int) -> tuple[int, int]:
        if index:
            raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable")
        return 3 * 2**29, 2**33

    monkeypatch.setattr(torch.cuda, "mem_get_info", memory)
    first, second, *_ = devices()
    assert first == {"name": "cuda:0", "label": "GPU 0 (1.5 GiB free)", "free_bytes": 3 * 2**29}
    assert second == {"name": "cuda:1", "label": "GPU 1 (in use)", "free_bytes": None}


def test_what_waits_when_stdin_closes_never_begins(start):
    worker = start([sys.executable, "-c", ENDLESS])
    job = {"kind": "segment", "checkpoint": "c", "input": ["i"], "output": "o"}
    for identifier in ("1", "2"):
        worker.say({"id": identifier, "job": job})
    worker.until(lambda e: e.get("name") == "segment")
    worker.process.stdin.close()
    assert worker.end_of("1")[-1]["event"] == "result"
    (end,) = worker.end_of("2")
    assert (end["exit_code"], end["what"]) == (130, "Stopped before it began.")


def test_a_worker_that_can_hear_no_more_ends(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def broken():
        yield "[1]\n"
        raise OSError("the pipe went")

    answers = io.StringIO()
    assert work(broken(), answers, pytest.fail) == 0
    assert "A request is" in answers.getvalue()


@pytest.mark.timeout(60)
def test_a_worker_whose_answers_nobody_reads_ends_with_its_stdin(start):
    """More is answered than pipe and queue hold, by the thread that hears and by a job."""
    worker = start([sys.executable, "-c", ENDLESS.replace("pass", "emit(events.log(1000 * 'x'))")])
    worker.until(lambda e: e["event"] == "ready")
    job = {"kind": "segment", "checkpoint": "c", "input": ["i"], "output": "o"}
    worker.say({"id": "1", "job": job})
    for _ in range(20_000):
        worker.process.stdin.write("?\n")
    worker.process.stdin.close()
    assert worker.process.wait() == 0


def test_answers_wait_for_a_slow_reader_in_order(monkeypatch):
    monkeypatch.setattr(answers, "_WAITING", 3)
    read, write = os.pipe()
    with os.fdopen(read) as reader, os.fdopen(write, "w") as stream:
        lines = answers.Answers(stream, threading.Event(), pytest.fail)
        written = threading.Thread(target=lambda: [lines.put(f"{n} {'x' * 9000}\n", wait=True) for n in range(50)])
        written.start()
        assert [int(reader.readline().split()[0]) for _ in range(50)] == list(range(50))
        written.join()
        assert lines.finish()


def test_what_is_refused_while_too_much_waits_is_dropped(monkeypatch):
    monkeypatch.setattr(answers, "_WAITING", 3)
    went_on = threading.Event()

    class Held(io.StringIO):
        def write(self, text):
            assert went_on.wait(30)
            return super().write(text)

    stream = Held()
    lines = answers.Answers(stream, threading.Event(), pytest.fail)
    for n in range(100):
        lines.put(f"{n}\n", wait=False)
    went_on.set()
    assert lines.finish()
    assert stream.getvalue().split() in (["0", "1", "2"], ["0", "1", "2", "3"])


@pytest.mark.skipif(not hasattr(os, "getpgid"), reason="process groups are POSIX's")
def test_a_worker_leads_its_own_group_and_ends_with_its_stdin(start):
    worker = start([sys.executable, "-c", NOISY])
    worker.until(lambda e: e["event"] == "ready")
    assert os.getpgid(worker.process.pid) == worker.process.pid
    worker.process.stdin.close()
    assert worker.process.wait() == 0


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="terminals are POSIX's")
def test_ctrl_c_at_a_terminal_ends_the_worker_and_its_job():
    """The worker reads from a terminal of its own; Ctrl+C there is the character that a user's key sends."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{ENDLESS}"]
    job = {"kind": "segment", "checkpoint": "c", "input": ["i"], "output": "o"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    os.close(theirs)
    try:
        assert json.loads(process.stdout.readline())["event"] == "ready"
        os.write(ours, json.dumps({"id": "1", "job": job}).encode() + b"\n")
        assert json.loads(process.stdout.readline())["name"] == "segment"
        os.write(ours, b"\x03")
        assert json.loads(process.stdout.readline())["id"] == "1"
        out, errors = process.communicate()
    finally:
        process.kill()
        os.close(ours)
    assert (process.returncode, out) == (130, "")
    assert "Stopping" in errors
    assert "Traceback" not in errors
