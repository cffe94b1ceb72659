"""How many tiles hold one value alone, and so are not computed again; and whether the label maps stay the same.

    python Testing/benchmarks/flat_tiles.py --volumes CT.nii.gz MR.nii.gz [--data DIR --sets LA_half,Hippocampus]

Each volume has the plan that a network trained on it alone would get, at its own spacing, and a tiny network with
random weights: the answer does not depend on them. Of --sets, the cases of the list ``val`` are counted together. Where
a tile is left out, the volume is segmented with and without, in turns: voxels that differ, and the ratio of processor
time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from common import add_common_options, exit_after, image, machine, parser_of, split
from results_file import write_report
from segment_time import random_segmenter
from tables import flat_tiles

from contrastiveseg.files import stem
from contrastiveseg.segmentation import sliding_window
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.tiles import fit_tiles
from contrastiveseg.volumes.reading import read_volume


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "flat_tiles.json")
    parser.add_argument("--volumes", type=Path, nargs="*", default=[])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", default="", help="such as LA_half,Hippocampus")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for path in options.volumes:
        rows.append({"volumes": stem(path), **_total([_counted(path, options.repeats)])})
    for name in filter(None, options.sets.split(",")):
        cases = split(options.data / name, "val")
        counted = [_counted(image(options.data / name, case), options.repeats) for case in cases]
        rows.append({"volumes": f"{name}, val ({len(cases)})", **_total(counted)})
    write_report(options.output, {"machine": machine(options.threads), "rows": rows})
    print(flat_tiles(rows))


def _total(counted: Iterable[dict[str, Any]]) -> dict[str, Any]:
    total: Counter[str] = Counter()
    ratios = []
    for case in counted:
        total.update({key: case[key] for key in ("tiles", "left_out", "voxels_apart")})
        ratios += case["ratios"]
    return {**total, "ratio": round(statistics.median(ratios), 3) if ratios else None}


def _counted(path: Path, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        predictor = Predictor.open(random_segmenter(path, Path(temporary) / "random.safetensors"), "cpu", None)
    volume, plan, seen = read_volume(path), predictor.card.plan, []
    prepared = predictor.prepare(volume)
    tiling = fit_tiles(prepared.shape[1:], predictor.network.backbone.total_stride, plan.patch)

    def counting(tiles: torch.Tensor) -> torch.Tensor:
        seen.append(len(tiles))
        return tiles[:, :1]

    sliding_window.sliding_window(counting, prepared, tiling, 1, batch=1, device=torch.device("cpu"))
    left_out = tiling.count - len(seen)
    case: dict[str, Any] = {"tiles": tiling.count, "left_out": left_out, "voxels_apart": 0, "ratios": []}
    if not left_out:
        return case
    for _ in range(repeats):
        start = time.process_time()
        found = predictor.predict(volume).labels.array
        middle = time.process_time()
        with mock.patch.object(sliding_window, "flat_values", return_value=None):
            expected = predictor.predict(volume).labels.array
        case["ratios"].append((middle - start) / (time.process_time() - middle))
        case["voxels_apart"] += int(np.count_nonzero(found != expected))
    return case


if __name__ == "__main__":
    exit_after(main)
