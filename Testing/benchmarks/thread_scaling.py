"""Voxels a second that training learns from with several threads, relative to one, by the clock.

    python Testing/benchmarks/thread_scaling.py [--threads 2] [--repeats 7]

In turns, in one process: the training loop with ``supervised`` as it is set by default, on made-up volumes, of the
starters' network, with one thread, with --threads, and with --threads where the thread that draws crops computes with
as many (``pooled``; so it was before ``training.thread_beside``). Needs a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import add_common_options, exit_after, machine, parser_of
from results_file import add_run
from tables import thread_scaling

from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.checkpoints.starters import checkpoint_path
from contrastiveseg.data.cache import preprocess
from contrastiveseg.data.cached_volumes import CachedVolumes
from contrastiveseg.methods.supervised import Supervised
from contrastiveseg.networks.registry import build
from contrastiveseg.synthetic.dataset import write_dataset
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.training import loop
from contrastiveseg.training.run import Budget, Run
from contrastiveseg.training.setup import cases_of

_PATCHES = ((24, 32, 40), (40, 40, 40), (64, 64, 64))
_TYPES = {"32": None, "bf16": torch.bfloat16}


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "thread_scaling.json")
    parser.set_defaults(threads=2)
    parser.add_argument("--repeats", type=int, default=7, help="turns (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="a turn (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), 2, 0, SyntheticSettings(size=(72, 80, 80), spacing=(3.0, 3.0, 3.0)))
        runs = [
            {"patch": list(patch), "precision": precision} | _measured(Path(folder), patch, precision, options)
            for patch in _PATCHES
            for precision in _TYPES
        ]
    add_run(options.output, {"runs": runs, "machine": machine(options.threads)})
    print(thread_scaling(runs))


def _measured(folder: Path, patch: tuple[int, int, int], precision: str, options: argparse.Namespace) -> dict[str, Any]:
    card = read_card(checkpoint_path("starter:synthetic-labels-3d-tiny"))
    plan = replace(card.plan, patch=patch, spacing=(3.0, 3.0, 3.0))
    cases = cases_of([str(folder)])
    cached = preprocess(cases, plan, folder / "cache")
    source = CachedVolumes(folder / "cache", cached, (1, 2, 3, 4))
    method = Supervised(build(card.network), plan, Supervised.Settings(), 5)

    def seconds(threads: int, pooled: bool = False) -> float:
        torch.set_num_threads(threads)
        run = Run(Budget(steps=options.steps), torch.device("cpu"), _TYPES[precision])
        beside = (lambda: ThreadPoolExecutor(1)) if pooled else loop.thread_beside
        with mock.patch.object(loop, "thread_beside", beside):
            start = time.perf_counter()
            loop.train(method, source, Supervised.optimization, run)
            return (time.perf_counter() - start) / options.steps

    turns = [(seconds(1), seconds(options.threads), seconds(options.threads, True)) for _ in range(options.repeats + 1)]
    one, several, pooled = zip(*turns[1:], strict=True)
    ratios = {"several": several, "pooled": pooled}
    run: dict[str, Any] = {"step_ms": round(1e3 * statistics.median(one), 1)}
    for name, times in ratios.items():
        times_as_fast = [a / b for a, b in zip(one, times, strict=True)]
        run[name] = [round(of(times_as_fast), 2) for of in (statistics.median, min, max)]
    return run


if __name__ == "__main__":
    exit_after(main)
