"""What larger tiles cost: Dice and CPU time of segmentation with tiles of 1, 2, 4, ... times the training patch.

    python Testing/benchmarks/tile_dice.py --data DIR --set LA_half --precision bf16 \
        --checkpoints A.safetensors B.safetensors

Larger tiles compute fewer voxels twice, but behind instance norm a network then sees other statistics than in training.
The checkpoints are segmenters, such as those that ``dice.py --work`` leaves, best one a seed; the list ``val`` is
segmented on its own grids. Larger tiles are the patch enlarged by the same factor along each of the network's axes, and
never larger than the volume. The results of 2026 were measured with tiles whose shape was fitted to each volume.

    python Testing/benchmarks/tile_dice.py --data DIR --set LA_half --precision bf16 --times 1 \
        --within 0.75,1 1,1.25 --output tile_shapes.json --checkpoints A.safetensors

With --within LEAST,MOST each side of a tile is that between LEAST and MOST times the patch's with the fewest voxels to
compute, where the volume is larger than the patch.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import add_common_options, add_data_options, data_set, exit_after, image, label, machine, parser_of, split
from results_file import write_report
from tables import markdown

from contrastiveseg.device import autocast_dtype
from contrastiveseg.evaluation.metrics import measure
from contrastiveseg.segmentation import predictor as predicting
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.tiles import Tiling, fit_tiles
from contrastiveseg.volumes.reading import read_labels, read_volume

CPU = torch.device("cpu")
#: Patches a tile has room for; or the range of its sides, times the patch's.
Shape = float | tuple[float, float]


def main() -> None:
    parser = parser_of(__doc__)
    add_data_options(parser)
    add_common_options(parser, "tile_dice.json")
    parser.add_argument("--checkpoints", type=Path, nargs="+", required=True)
    parser.add_argument("--times", type=float, nargs="+", default=(1, 2, 4), help="the patch (default: 1 2 4)")
    parser.add_argument("--within", type=_pair, nargs="*", default=(), help="sides of tiles, times the patch's")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = data_set(options)
    shapes = (*options.times, *options.within)
    runs = [_run(options, folder, path, shape) for path in options.checkpoints for shape in shapes]
    report = {"machine": machine(options.threads), "precision": options.precision, "set": options.set, "tiles": runs}
    write_report(options.output, report)
    print(_table(runs))


def _run(options: argparse.Namespace, folder: Path, path: Path, times: Shape) -> dict[str, Any]:
    """Mean Dice over labels and cases, CPU seconds and voxels a case, of one checkpoint with one size of tiles."""
    print(f"{path.name}, {_name(times)} patches", file=sys.stderr, flush=True)
    segmenter = Predictor.open(path, CPU, autocast_dtype(CPU, options.precision))
    names = {one.value: one.name for one in segmenter.card.labels}
    dice, seconds, voxels = [], [], []

    def other(
        shape: Sequence[int], divisor: Sequence[int], patch: Sequence[int], overlap: float, whole: bool
    ) -> Tiling:
        if isinstance(times, tuple):
            tile = [_side(*axis, times, overlap) for axis in zip(shape, divisor, patch, strict=True)]
        else:
            tile = [round(n * times ** (1 / len(patch))) for n in patch]
        tiling = fit_tiles(shape, divisor, tile, overlap, whole)
        voxels.append(tiling.count * prod(tiling.tile) / prod(shape))
        return tiling

    with mock.patch.object(predicting, "fit_tiles", other):
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
        "voxels": statistics.fmean(voxels),
        "dice_by_case": dice,
    }


def _side(length: int, divisor: int, patch: int, within: tuple[float, float], overlap: float) -> int:
    """Of the sides of tiles ``within`` so many times ``patch``, the one that computes the fewest voxels."""
    if length <= patch:
        return patch
    sides = [n for n in range(divisor, 2 * patch, divisor) if within[0] * patch <= n <= within[1] * patch]
    return min(sides, key=lambda n: (n * len(fit_tiles([length], [divisor], [n], overlap).starts[0]), abs(n - patch)))


def _table(runs: list[dict[str, Any]]) -> str:
    """Dice by checkpoint, and its mean difference from the first tiles."""
    rows = []
    own = {r["checkpoint"]: r for r in reversed(runs)}
    for times in dict.fromkeys(r["times"] for r in runs):
        those = [r for r in runs if r["times"] == times]
        gains = [r["dice"] - own[r["checkpoint"]]["dice"] for r in those]
        time_ratio = statistics.fmean(r["cpu_seconds"] / own[r["checkpoint"]]["cpu_seconds"] for r in those)
        voxels = f"{statistics.fmean(r['voxels'] for r in those):.2f}"
        by_checkpoint = ", ".join(f"{r['dice']:.3f}" for r in those)
        rows.append([_name(times), by_checkpoint, f"{statistics.fmean(gains):+.3f}", voxels, f"{time_ratio:.2f}"])
    columns = ["Tile (patches)", "Dice by checkpoint", "Mean difference", "Voxels computed / in volume"]
    return markdown([*columns, "CPU time, relative"], rows)


def _name(times: Shape) -> str:
    return "sides of " + " to ".join(f"{n:g}" for n in times) if isinstance(times, tuple) else f"{times:g}"


def _pair(text: str) -> tuple[float, float]:
    least, most = map(float, text.split(","))
    return least, most


if __name__ == "__main__":
    exit_after(main)
