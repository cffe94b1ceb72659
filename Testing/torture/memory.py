"""One worker for a long session: bash ci/torture memory --help

Its resident memory, with that of its reader, stays flat over segmentations and over changes of the model; a storm of
cancels at random moments leaves it answering.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from forked import Child
from kinds import make_data, make_model

#: Memory may grow by this share, once so many jobs have warmed the worker up.
_GROWTH, _WARM_UP = 0.02, 20
#: The model is another one with every job: more than the worker keeps.
_MODELS = 4


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segmentations", type=int, default=200, metavar="N", help="after warming up (default: 200)")
    parser.add_argument("--switches", type=int, default=50, metavar="N", help="of the model (default: 50)")
    parser.add_argument("--cancels", type=int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="of the moments; printed, to repeat a run")
    given = parser.parse_args(words)
    seed = int.from_bytes(os.urandom(4), "big") if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="torture-") as scratch:
        folder = Path(scratch)
        models = _prepared(folder)
        worker = Worker(folder / "log")
        try:
            segmentations = _growth(worker, folder, given.segmentations, itertools.repeat(models[0]).__next__)
            print(f"{given.segmentations} segmentations: {_in_words(*segmentations)}", flush=True)
            switches = _growth(worker, folder, given.switches, itertools.cycle(models).__next__)
            print(f"{given.switches} changes of the model: {_in_words(*switches)}", flush=True)
            faults = _cancel(worker, folder, models[0], given.cancels, random.Random(seed))
            print(f"{given.cancels} cancels: {faults} faults")
        finally:
            worker.close()
    grown = [
        name
        for name, (before, after) in (("segmentations", segmentations), ("changes", switches))
        if after > before * (1 + _GROWTH)
    ]
    print("".join(f"memory grew with {name}\n" for name in grown), end="")
    return bool(grown or faults)


class Worker:
    """A worker, spoken to from one thread."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "contrastiveseg", "worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._ids = itertools.count(1)

    def begin(self, request: dict[str, Any]) -> str:
        """Ask for something; returns its id."""
        identifier = str(next(self._ids))
        self.say({"id": identifier, **request})
        return identifier

    def say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def end(self, identifier: str) -> dict[str, Any]:
        """Wait for the result or error of a request."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if event["id"] == identifier and event["event"] in ("result", "error"):
                return event
        raise RuntimeError(f"the worker ended with {self._process.wait()}")

    def resident(self) -> int:
        """Bytes of memory of the worker and of the processes that it has started."""
        own = self._process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        pages = [int(Path(f"/proc/{number}/statm").read_text().split()[1]) for number in (own, *children)]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._log.close()


def _prepared(folder: Path) -> list[Path]:
    """Scans in ``folder``, and the models."""
    first = folder / "model0.safetensors"
    for make in (lambda: make_data(folder / "data"), lambda: make_model(folder / "data", first)):
        child = Child(make, folder / "made.log")
        child.ends_within(None)
        if child.result():
            raise RuntimeError((folder / "made.log").read_text())
    return [first, *(shutil.copy(first, folder / f"model{number}.safetensors") for number in range(1, _MODELS))]


def _segmentation(folder: Path, model: Path) -> dict[str, Any]:
    common = {"overwrite": True, "uncompressed": True, "device": "cpu", "threads": 1, "precision": "32"}
    data = {"input": [str(folder / "data" / "scans")], "output": str(folder / "labels")}
    return {"job": {"kind": "segment", "checkpoint": str(model), **data, **common}}


def _growth(worker: Worker, folder: Path, jobs: int, model: Callable[[], Path]) -> tuple[float, float]:
    """Bytes after warming up, and after so many ``jobs`` more: medians of as many jobs."""
    held = []
    for _ in range(2 * _WARM_UP + jobs):
        request = _segmentation(folder, model())
        request["job"]["input"] = [str(folder / "data" / "scans" / "scan2.mha")]
        request["job"]["output"] = str(folder / "out.mha")
        ended = worker.end(worker.begin(request))
        if ended["event"] != "result":
            raise RuntimeError(str(ended))
        held.append(worker.resident())
    return statistics.median(held[_WARM_UP : 2 * _WARM_UP]), statistics.median(held[-_WARM_UP:])


def _cancel(worker: Worker, folder: Path, model: Path, cancels: int, moments: random.Random) -> int:
    """Cancel batches at random moments; returns what went wrong."""
    began = time.monotonic()
    worker.end(worker.begin(_segmentation(folder, model)))
    seconds, faults = time.monotonic() - began, 0
    for _ in range(cancels):
        identifier = worker.begin(_segmentation(folder, model))
        time.sleep(moments.uniform(0, seconds))
        for unknown in range(moments.choice((0, 0, 1, 20))):
            worker.say({"cancel": f"unknown {unknown}"})
        for _ in range(moments.choice((1, 1, 5))):
            worker.say({"cancel": identifier})
        ended = worker.end(identifier)
        faults += ended["event"] == "error" and ended["exit_code"] != 130
    ended = worker.end(worker.begin(_segmentation(folder, model)))
    scans = sorted(path.name for path in (folder / "data" / "scans").iterdir())
    left = sorted(path.name for path in (folder / "labels").iterdir())
    return faults + (ended["event"] != "result" or len(ended["value"]["written"]) != len(scans)) + (left != scans)


def _in_words(before: float, after: float) -> str:
    grown = after / before - 1
    return f"{before / 2**20:.1f} MiB after {_WARM_UP} jobs, {after / 2**20:.1f} MiB at the end ({grown:+.2%})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
