"""Seconds from starting a process to the first step of a fine-tuning, and what threads save in preparing volumes.

    python Testing/benchmarks/first_step.py --data DIR --set LA_half [--cases 10] [--resolution auto] [--threads 2]

The process is a worker that gets one job: two minutes from the default starter on so many cases of the list ``train``.
Wall clock and its processor time are stored when each stage begins and when the first step is done, as medians of
--repeats. The cache is then built in this process, in turns by one thread and by --threads: ratios of the wall clock,
median and range, the ratio of processor time, and whether both have the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import add_common_options, add_data_options, data_set, exit_after, image, label, machine, parser_of, split
from results_file import add_run
from tables import first_step

from contrastiveseg.data.cache import preprocess
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.errors import InputError
from contrastiveseg.planning.fingerprint import fingerprint_of
from contrastiveseg.planning.plan import Plan
from contrastiveseg.serialization import to_json
from contrastiveseg.training.setup import cases_of
from contrastiveseg.volumes.dataset import CaseFiles


def main() -> None:
    parser = parser_of(__doc__)
    add_data_options(parser)
    add_common_options(parser, "first_step.json")
    parser.set_defaults(threads=2)
    parser.add_argument("--cases", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--resolution", default="auto", help="as of contrastiveseg finetune (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = _measured(options)
    add_run(options.output, run)
    print(first_step([run]))


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    folder = data_set(options)
    names = split(folder, "train")[: options.cases]
    if len(names) < options.cases:
        raise InputError(f"{options.set} has {len(names)} cases to train on. Give --cases a smaller number.")
    images, labels = [str(image(folder, name)) for name in names], [str(label(folder, name)) for name in names]
    told = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as temporary:
            job = FinetuneJob(
                checkpoint="starter:synthetic-labels-3d-tiny",
                images=tuple(images),
                labels=tuple(labels),
                output=f"{temporary}/o.safetensors",
                minutes=2,
                resolution=options.resolution,
                device="cpu",
                threads=options.threads,
            )
            told.append(_until_first_step({"kind": "finetune", **to_json(job)}))
    return {
        "set": options.set,
        "cases": options.cases,
        "resolution": options.resolution,
        "machine": machine(options.threads),
        "seconds": {stage: round(statistics.median(t[stage][0] for t in told), 2) for stage in told[0]},
        "processor": {stage: round(statistics.median(t[stage][1] for t in told), 2) for stage in told[0]},
        "cache": _cache(cases_of(images, labels), options.threads, options.repeats),
    }


def _until_first_step(job: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """(wall, processor) seconds of a new worker when each stage of ``job`` begins, and when the first step is done."""
    start = time.perf_counter()
    worker = subprocess.Popen(
        [sys.executable, "-m", "contrastiveseg", "worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps({"id": "1", "job": job}) + "\n")
    worker.stdin.flush()
    reached: dict[str, tuple[float, float]] = {}
    for line in worker.stdout:
        event = json.loads(line)
        if event["event"] == "error":
            raise InputError(f"The worker failed: {event}")
        now = (time.perf_counter() - start, _processor_seconds(worker.pid))
        if event["event"] == "stage":
            reached[event["name"]] = now
        if event["event"] == "metric":
            reached["first step"] = now
            break
    worker.kill()
    worker.communicate()
    return reached


def _processor_seconds(process: int) -> float:
    """Of all threads of a process, as Linux tells it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cache(cases: list[CaseFiles], threads: int, repeats: int) -> dict[str, Any]:
    seen = fingerprint_of(cases)
    plan = Plan(3, seen.channels, seen.spacing, (32, 32, 32))
    files: dict[int, dict[str, bytes]] = {}

    def build(count: int) -> tuple[float, float]:
        with (
            tempfile.TemporaryDirectory() as temporary,
            mock.patch.object(torch, "get_num_threads", return_value=count),
        ):
            wall, processor = time.perf_counter(), time.process_time()
            preprocess(cases, plan, Path(temporary))
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            files[count] = {file.name: file.read_bytes() for file in Path(temporary).iterdir()}
        return wall, processor

    build(1)  # loads libraries and the files
    turns = [(build(1), build(threads)) for _ in range(2 * repeats)]
    ratios = [series[0] / together[0] for series, together in turns]
    return {
        "series_seconds": round(statistics.median(series[0] for series, _ in turns), 3),
        "ratio": round(statistics.median(ratios), 2),
        "range": [round(min(ratios), 2), round(max(ratios), 2)],
        "processor_ratio": round(statistics.median(together[1] / series[1] for series, together in turns), 2),
        "same_bytes": files[1] == files[threads],
    }


if __name__ == "__main__":
    exit_after(main)
