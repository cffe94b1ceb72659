"""Seconds of a preview of a large volume: the first of a volume, and after further strokes.

    python Testing/benchmarks/preview_time.py

A volume of noise and two tubes, of 256x256x100 voxels, with three strokes on one slice, goes through the job from file
to file, in one process: twice with an empty cache for features, so that the second first preview pays for no libraries,
then again with the features there. Wall and processor seconds; what else the machine did is in the wall's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tables
from common import add_common_options, exit_after, machine, parser_of
from results_file import Run, write_report

from contrastiveseg.descriptions import PreviewJob
from contrastiveseg.jobs.run import run
from contrastiveseg.volumes.volume import Volume
from contrastiveseg.volumes.writing import write_labels

SHAPE, SPACING = (100, 256, 256), (1.5, 0.9, 0.9)
_BACKGROUND = 3


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "preview_time.json")
    parser.add_argument("--precisions", nargs="+", choices=("bf16", "32"), default=["bf16", "32"])
    parser.add_argument("--repeats", type=int, default=5, help="of every kind of preview (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        _write_volume(work)
        runs = [one for precision in options.precisions for one in _measured(work, precision, options)]
    write_report(options.output, {"machine": machine(options.threads), "shape": SHAPE, "previews": runs})
    print(tables.preview_time(runs))


def _write_volume(work: Path) -> None:
    random, (_, y, x) = np.random.default_rng(0), np.indices(SHAPE, dtype=np.float32)
    tubes = (np.hypot(y - 128, x - 128) < 60) * 300 + (np.hypot(y - 90, x - 100) < 20) * 200
    volume = Volume.from_array((tubes + random.normal(0, 40, SHAPE)).astype(np.int16), SPACING)
    write_labels(work / "volume.mha", volume.array[0], volume.geometry, compress=False)
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[50, 80:84, 90:110], strokes[50, 150:154, 100:160], strokes[50, 10:14, 10:60] = 1, 2, _BACKGROUND
    write_labels(work / "strokes.mha", strokes, volume.geometry, compress=False)


def _measured(work: Path, precision: Any, options: argparse.Namespace) -> list[Run]:
    _previewed(work, work / "libraries", precision, options.threads)
    runs = []
    for repeat in range(options.repeats):
        folder = work / f"{precision}-{repeat}"
        for kind in ("first", "again"):
            seconds = _previewed(work, folder, precision, options.threads)
            runs.append({"precision": precision, "preview": kind, **seconds})
    return runs


def _previewed(work: Path, cache: Path, precision: Any, threads: int) -> dict[str, float]:
    wall, processor = time.perf_counter(), time.process_time()
    run(
        PreviewJob(
            image=(str(work / "volume.mha"),),
            labels=str(work / "strokes.mha"),
            background=_BACKGROUND,
            output=str(work / "preview.mha"),
            uncompressed=True,
            overwrite=True,
            cache=str(cache),
            device="cpu",
            precision=precision,
            threads=threads,
        )
    )
    return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - processor}


if __name__ == "__main__":
    exit_after(main)
