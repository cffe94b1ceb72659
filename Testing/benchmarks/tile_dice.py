"""What larger tiles cost: Dice and CPU time of segmentation with tiles of 1, 2, 4, ... times the training patch.

    python Testing/benchmarks/tile_dice.py --data DIR --set LA_half --precision bf16 \
        --checkpoints A.safetensors B.safetensors

Larger tiles compute fewer voxels twice, but behind instance norm a network then sees other statistics than in training.
The checkpoints are segmenters, such as those that ``dice.py --work`` leaves, best one a seed; the list ``val`` is
segmented on its own grids. Larger tiles are the patch enlarged by the same factor along each of the network's axes, and
never larger than the volume. The results of 2026 were measured with tiles whose shape was fitted to each volume.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import add_common_options, add_data_options, data_set, image, label, machine, split
from results_file import write_report
from tables import markdown

from contrastiveseg.device import autocast_dtype
from contrastiveseg.errors import ContrastiveSegError
from contrastiveseg.evaluation.metrics import measure
from contrastiveseg.segmentation import predictor as predicting
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.tiles import Tiling, fit_tiles
from contrastiveseg.volumes.reading import read_labels, read_volume

CPU = torch.device("cpu")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser)
    add_common_options(parser, "tile_dice.json")
    parser.add_argument("--checkpoints", type=Path, nargs="+", required=True)
    parser.add_argument("--times", type=float, nargs="+", default=(1, 2, 4), help="the patch (default: 1 2 4)")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        folder = data_set(options)
        runs = [_run(options, folder, path, times) for path in options.checkpoints for times in options.times]
    except ContrastiveSegError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    report = {"machine": machine(options.threads), "precision": options.precision, "set": options.set, "tiles": runs}
    write_report(options.output, report)
    print(_table(runs))
    return 0


def _run(options: argparse.Namespace, folder: Path, path: Path, times: float) -> dict[str, Any]:
    """Mean Dice over labels and cases, and CPU seconds a case, of one checkpoint with one size of tiles."""
    print(f"{path.name}, {times:g} patches", file=sys.stderr, flush=True)
    segmenter = Predictor.open(path, CPU, autocast_dtype(CPU, options.precision))
    names = {one.value: one.name for one in segmenter.card.labels}
    dice, seconds = [], []

    def enlarged(shape: Sequence[int], divisor: Sequence[int], patch: Sequence[int]) -> Tiling:
        return fit_tiles(shape, divisor, [round(n * times ** (1 / len(patch))) for n in patch])

    with mock.patch.object(predicting, "fit_tiles", enlarged):
        for case in split(folder, "val"):
            volume = read_volume(image(folder, case))
            start = time.process_time()
            labels = segmenter.predict(volume).labels
            seconds.append(time.process_time() - start)
            scores = measure(labels, read_labels(label(folder, case), volume.geometry), names)
            dice.append(statistics.fmean(s.dice for s in scores if s.dice is not None))
    return {
        "checkpoint": path.name,
        "times": times,
        "dice": statistics.fmean(dice),
        "cpu_seconds": statistics.fmean(seconds),
        "dice_by_case": dice,
    }


def _table(runs: list[dict[str, Any]]) -> str:
    """Dice by checkpoint, and its mean difference from the smallest tiles."""
    rows = []
    smallest = min(r["times"] for r in runs)
    own = {r["checkpoint"]: r for r in runs if r["times"] == smallest}
    for times in sorted({r["times"] for r in runs}):
        those = [r for r in runs if r["times"] == times]
        gains = [r["dice"] - own[r["checkpoint"]]["dice"] for r in those]
        time_ratio = statistics.fmean(r["cpu_seconds"] / own[r["checkpoint"]]["cpu_seconds"] for r in those)
        by_checkpoint = ", ".join(f"{r['dice']:.3f}" for r in those)
        rows.append([f"{times:g}", by_checkpoint, f"{statistics.fmean(gains):+.3f}", f"{time_ratio:.2f}"])
    return markdown(["Tile (patches)", "Dice by checkpoint", "Mean difference", "CPU time, relative"], rows)


if __name__ == "__main__":
    sys.exit(main())
