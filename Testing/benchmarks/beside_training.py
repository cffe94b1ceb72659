"""Seconds to segment a volume while a training runs, and per training step, with threads that wait in three ways.

    python Testing/benchmarks/beside_training.py [--threads 2] [--repeats 3]

The panel trains in one process and segments in another. Unless told otherwise, OpenMP's threads spin for a while before
they sleep until the others are there ("default"). They can sleep at once ("passive", by OMP_WAIT_POLICY). The panel
lets them spin for a tenth of a millisecond, and its training has low priority ("panel"). For each of these, in turn: a
training alone, a segmentation alone, then that segmentation while that training runs; medians over --repeats. Synthetic
volumes, tiny network, --threads in each process (default: one a core).
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import add_common_options, exit_after, machine, parser_of
from results_file import write_report
from tables import markdown

from contrastiveseg.synthetic.dataset import write_dataset
from contrastiveseg.synthetic.settings import SyntheticSettings

#: The panel's own: ``ContrastiveSegPanel/engine/python_slicer.py``.
_POLICIES: dict[str, dict[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "panel": {"GOMP_SPINCOUNT": "10000"},
}
#: Steps of a training that is timed alone, and more than one beside segmentations can make.
_STEPS, _MANY = 20, 100_000
#: Steps that pay for allocation and for choosing kernels.
_FIRST = 5


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "beside_training.json")
    parser.add_argument("--repeats", type=int, default=3, help="of everything (default: %(default)s)")
    parser.set_defaults(threads=os.cpu_count())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = _runs(options, Path(folder))
    kinds = ("train_alone", "segment_alone", "train_beside", "segment_beside")
    medians = {
        policy: {k: round(statistics.median(run[k] for run in runs if run["policy"] == policy), 3) for k in kinds}
        for policy in _POLICIES
    }
    report = {"machine": machine(options.threads), "seconds": medians, "runs": runs}
    write_report(options.output, report)
    rows = [(policy, *(f"{told[kind]:.2f}" for kind in kinds)) for policy, told in medians.items()]
    print(markdown(("Seconds", "a step alone", "segment alone", "a step, both", "segment, both"), rows))


def _runs(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    settings = SyntheticSettings(region="heart", size=(64, 96, 96), spacing=(1.5, 1.5, 1.5))
    write_dataset(work / "data", 4, 0, settings)
    shared = ["--threads", options.threads, "--device", "cpu"]
    train = ["finetune", "--checkpoint", "none", "--images", work / "data", *shared, "--cache", work / "cache"]
    checkpoint, volume = work / "alone.safetensors", work / "data" / "imagesTr" / "synthetic_00000.nii.gz"
    segment = ["segment", "--checkpoint", checkpoint, "--input", volume, *shared, "--overwrite"]
    segment += ["--output", work / "labels.nii.gz", "--timings", work / "timings.json"]
    made = []
    for repeat in range(options.repeats):
        for policy, told in _POLICIES.items():
            print(f"{policy}, {repeat + 1} of {options.repeats}", file=sys.stderr, flush=True)
            waits = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
            environment = {**{k: v for k, v in os.environ.items() if k not in waits}, **told}
            run: dict[str, Any] = {"policy": policy}
            _start([*train, "--output", checkpoint, "--steps", _STEPS, "--overwrite"], environment).wait()
            run["train_alone"] = _seconds_a_step(checkpoint)
            run["segment_alone"] = _segment(segment, environment, work / "timings.json")
            beside = work / f"beside-{policy}-{repeat}.safetensors"
            low = ["nice", "-n", "10"] if policy == "panel" else []
            training = _start([*train, "--output", beside, "--steps", _MANY], environment, low)
            while len(_curve(beside)) <= _FIRST:
                time.sleep(0.1)
            run["segment_beside"] = _segment(segment, environment, work / "timings.json")
            training.kill()
            training.wait()
            run["train_beside"] = _seconds_a_step(beside)
            made.append(run)
    return made


def _start(words: list[Any], environment: dict[str, str], low: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    command = [*low, sys.executable, "-m", "contrastiveseg", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _segment(words: list[Any], environment: dict[str, str], timings: Path) -> float:
    """Seconds in the network and beside it, without the start of the process."""
    if code := _start(words, environment).wait():
        raise SystemExit(f"Segmenting failed with exit code {code}: {' '.join(map(str, words))}")
    told = json.loads(timings.read_text())
    return told["total"] - told["import"]


def _curve(checkpoint: Path) -> list[dict[str, Any]]:
    curve = checkpoint.with_name(f"{checkpoint.name}.metrics.jsonl")
    # The last line may be half written.
    lines = curve.read_text().rpartition("\n")[0].splitlines() if curve.exists() else []
    return [point for line in lines if "loss" in (point := json.loads(line))]


def _seconds_a_step(checkpoint: Path) -> float:
    curve = _curve(checkpoint)
    first, last = curve[_FIRST], curve[-1]
    return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])


if __name__ == "__main__":
    exit_after(main)
