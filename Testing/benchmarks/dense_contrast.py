"""Dense position contrast: one batched product against a loop over cells, forward and backward, as JSON.

    python Testing/benchmarks/dense_contrast.py [--output FILE] [--repeats 7] [--threads 1]

The loop is what the public code of MACL does: the same loss, cell by cell.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import torch
from common import add_common_options, exit_after, machine, parser_of
from results_file import write_report
from torch import Tensor

from contrastiveseg.contrast.position_contrast import dense_position_contrast, position_contrast

BATCH, THRESHOLD = 4, 0.1


def looped(first: Tensor, second: Tensor, positions: Tensor) -> Tensor:
    """L_d, a call of the contrast for each cell."""
    one, other = first.flatten(2), second.flatten(2)
    losses = [position_contrast(one[..., s], other[..., s], positions, THRESHOLD) for s in range(one.shape[-1])]
    return torch.stack(losses).mean()


def batched(first: Tensor, second: Tensor, positions: Tensor) -> Tensor:
    """L_d, as the method computes it."""
    return dense_position_contrast(first, second, positions, THRESHOLD)


def seconds(loss: Callable[[Tensor, Tensor, Tensor], Tensor], maps: tuple[Tensor, Tensor], positions: Tensor) -> float:
    """Processor seconds of one forward and backward pass."""
    leaves = [m.clone().requires_grad_() for m in maps]
    start = time.process_time()
    loss(leaves[0], leaves[1], positions).backward()
    return time.process_time() - start


def case(side: int, channels: int, seed: int, repeats: int) -> dict[str, float | int]:
    """Median times on maps of ``side``^3 cells."""
    torch.manual_seed(seed)
    maps = (torch.randn(BATCH, channels, side, side, side), torch.randn(BATCH, channels, side, side, side))
    positions = torch.rand(BATCH, 3)
    difference = abs(float(batched(*maps, positions)) - float(looped(*maps, positions)))
    slow = statistics.median(seconds(looped, maps, positions) for _ in range(repeats))
    fast = statistics.median(seconds(batched, maps, positions) for _ in range(repeats))
    return {
        "cells": side**3,
        "channels": channels,
        "seed": seed,
        "loop_ms": round(slow * 1e3, 3),
        "batched_ms": round(fast * 1e3, 3),
        "ratio": round(slow / fast, 1),
        "difference": difference,
    }


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "dense_contrast.json")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = [case(side, channels, 0, options.repeats) for side in (8, 16) for channels in (64, 128)]
    report = {
        "what": f"dense position contrast, batch {BATCH}, forward + backward, median CPU time of {options.repeats}",
        "machine": machine(options.threads),
        "cases": cases,
    }
    print(json.dumps(report, indent=2))
    write_report(options.output, report)


if __name__ == "__main__":
    exit_after(main)
