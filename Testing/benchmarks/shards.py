"""Files a minute of a batch: one process with one thread, one with two, and two shards with one thread each, in turns.

    python Testing/benchmarks/shards.py --data DIR --set LA_half [--cases 48]

Each is ``contrastiveseg segment`` as typed, from the start of its processes to the end of the last, on so many cases of
the list ``train``, with a tiny network with random weights. Medians of the wall clock over the turns, and how many
times as many files a minute as one process with one thread. Needs two cores that are free.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import add_common_options, add_data_options, data_set, exit_after, image, machine, parser_of, split
from results_file import add_run
from segment_time import random_segmenter
from tables import shards

from contrastiveseg.errors import ContrastiveSegError

#: Name, threads of each process, and the options that tell its processes apart.
WAYS: dict[str, tuple[int, tuple[tuple[str, ...], ...]]] = {
    "one": (1, ((),)),
    "two_threads": (2, ((),)),
    "two_shards": (1, (("--shard", "1/2"), ("--shard", "2/2"))),
}


def main() -> None:
    parser = parser_of(__doc__)
    add_data_options(parser)
    add_common_options(parser, "shards.json")
    parser.add_argument("--cases", type=int, default=48, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = data_set(options)
    images = [image(folder, name) for name in split(folder, "train")[: options.cases]]
    with tempfile.TemporaryDirectory() as work:
        run = _measured(images, Path(work), options.repeats)
    run |= {"set": options.set, "files": len(images), "machine": machine(options.threads)}
    add_run(options.output, run)
    print(shards([run]))


def _measured(images: list[Path], work: Path, repeats: int) -> dict[str, Any]:
    checkpoint = random_segmenter(images[0], work / "random.safetensors")
    turns = []
    for turn in range(repeats):
        turns.append({name: _seconds(name, checkpoint, images, work / f"{turn}-{name}") for name in WAYS})
    run: dict[str, Any] = {}
    for name in WAYS:
        ratios = [each["one"] / each[name] for each in turns]
        run[name] = {
            "a_minute": round(60 * len(images) / statistics.median(each[name] for each in turns), 1),
            "ratio": round(statistics.median(ratios), 2),
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
        }
    return run


def _seconds(way: str, checkpoint: Path, images: list[Path], output: Path) -> float:
    threads, parts = WAYS[way]
    command = [sys.executable, "-m", "contrastiveseg", "segment", "--checkpoint", str(checkpoint), "--device", "cpu"]
    command += ["--precision", "bf16", "--threads", str(threads), "--output", str(output), "--input", *map(str, images)]
    start = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen([*command, *part], **quiet) for part in parts]  # type: ignore[call-overload]
    for process in processes:
        if process.wait():
            raise ContrastiveSegError(f"Segmenting ended with exit code {process.returncode}: {way}")
    return time.perf_counter() - start


if __name__ == "__main__":
    exit_after(main)
