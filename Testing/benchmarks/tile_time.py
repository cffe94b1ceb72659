"""What a network made for inference saves: CPU time of a tile, and Dice against float32 as torch runs it.

    python Testing/benchmarks/tile_time.py --data DIR --set LA_half --checkpoints SEGMENTER.safetensors

Each network is run as built and as ``networks/inference.py`` makes it, in float32 and in bfloat16, turn by turn in one
process; the ratio is the median over the turns, with its range. The tiles are the checkpoint's patch, and 48x64x64
voxels; in 2D four slices of the patch, which are computed together. Of --cases cases of the list ``val`` the label maps
are compared with those of float32 as built, as mean Dice over labels and cases: that says what kernels and bfloat16
change, whatever the network is worth. With --openvino the network as OpenVINO compiles it, which must be installed,
takes its turn too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import add_common_options, add_data_options, data_set, exit_after, image, machine, parser_of, split
from results_file import add_run
from tables import tile_time
from torch import Tensor

from contrastiveseg.checkpoints.open import open_segmenter
from contrastiveseg.device import autocast, keep_large_buffers
from contrastiveseg.evaluation.metrics import measure
from contrastiveseg.networks import inference
from contrastiveseg.networks.inference import for_inference
from contrastiveseg.networks.segmenter import Segmenter
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.tile_memory import tiles_at_once
from contrastiveseg.volumes.reading import read_volume

CPU = torch.device("cpu")
TYPES = {"32": None, "bf16": torch.bfloat16}


def main() -> None:
    parser = parser_of(__doc__)
    add_data_options(parser)
    add_common_options(parser, "tile_time.json")
    parser.add_argument("--checkpoints", type=Path, nargs="+", required=True, help="segmenters")
    parser.add_argument("--repeats", type=int, default=9, help="turns (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=6, help="compared (default: %(default)s)")
    parser.add_argument("--openvino", action="store_true", help="time OpenVINO too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_large_buffers()
    runs = []
    for path in options.checkpoints:
        for run in _runs(options, path):
            add_run(options.output, run)
            runs.append(run)
    print(tile_time(runs))


def _runs(options: argparse.Namespace, path: Path) -> Iterator[dict[str, Any]]:
    card, built = open_segmenter(path)
    built.eval()
    made = for_inference(built, CPU)
    dice = {precision: _agreement(options, path, dtype) for precision, dtype in TYPES.items()}
    flat = card.plan.dimensions == 2
    for tile in (card.plan.patch_shape,) if flat else (card.plan.patch_shape, (48, 64, 64)):
        x = torch.randn(tiles_at_once(tile, 0, CPU, card.plan.dimensions), len(card.plan.channels), *tile)
        for precision, dtype in TYPES.items():
            networks = [built, made, *([_openvino(built, x, precision, options.threads)] if options.openvino else [])]
            with torch.inference_mode(), autocast(CPU, dtype):
                turns = [[_seconds(n, x) for n in networks] for _ in range(options.repeats + 1)][1:]
            ratios = [times[1] / times[0] for times in turns]
            yield {
                "set": options.set,
                "checkpoint": path.name,
                "tile": list(tile),
                "precision": precision,
                "built_ms": round(1e3 * statistics.median(times[0] for times in turns), 2),
                "ratio": round(statistics.median(ratios), 3),
                "range": [round(min(ratios), 3), round(max(ratios), 3)],
                "openvino": round(statistics.median(t[2] / t[0] for t in turns), 3) if options.openvino else None,
                "dice": round(dice[precision], 5),
                "machine": machine(options.threads),
            }


def _seconds(network: Callable[[Tensor], Any], tile: Tensor) -> float:
    start = time.process_time()
    network(tile)
    return time.process_time() - start


def _openvino(network: Segmenter, tile: Tensor, precision: str, threads: int) -> Callable[[Tensor], Any]:
    import openvino

    kind = {"32": "f32", "bf16": "bf16"}[precision]
    settings = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    compiled = openvino.compile_model(openvino.convert_model(network, example_input=tile), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda x: request.infer([x.numpy()])


def _agreement(options: argparse.Namespace, path: Path, dtype: torch.dtype | None) -> float:
    """Mean Dice of the label maps with those of float32 as built."""
    with _as_built():
        exact = Predictor.open(path, CPU, None)
    made = Predictor.open(path, CPU, dtype)
    names = {one.value: one.name for one in exact.card.labels}
    folder, dice = data_set(options), []
    for case in split(folder, "val")[: options.cases]:
        volume = read_volume(image(folder, case))
        scores = measure(made.predict(volume).labels, exact.predict(volume).labels, names)
        dice += [score.dice for score in scores if score.dice is not None]
    return statistics.fmean(dice)


@contextmanager
def _as_built() -> Iterator[None]:
    """Networks made for inference inside are as torch runs them."""
    with mock.patch.object(inference, "has_fast_convolutions", return_value=False):
        yield


if __name__ == "__main__":
    exit_after(main)
