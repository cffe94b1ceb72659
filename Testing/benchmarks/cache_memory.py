"""Memory and time of drawing training crops from 20 and from 200 preprocessed volumes, as JSON.

    python Testing/benchmarks/cache_memory.py [--output FILE] [--size 128 256 256] [--crops 400] [--folder TMP]

Volumes of a usual CT's size are made up in a temporary folder (200 of them take 5 GB) and deleted afterwards. Each
number of volumes is measured in a process of its own. "rss" is what the process holds by itself and of files together;
the pages of files that the system keeps for later are not the process's and are given back when a program needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from results_file import write_report

from contrastiveseg.data.cached_case import CachedCase
from contrastiveseg.data.cached_volumes import CachedVolumes
from contrastiveseg.data.sampling import draw_patches

COUNTS = (20, 200)
PATCH = (64, 96, 96)


def make(folder: Path, shape: tuple[int, int, int], count: int) -> None:
    """``count`` cached volumes with labels, as preprocessing would have left them."""
    image = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float16)
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(n // 4, n // 2) for n in shape)] = 1
    positions = np.argwhere(labels)[:: max(1, labels.sum() // 2000)]
    rows = np.concatenate([np.ones((len(positions), 1), int), positions], 1).astype(np.int32)
    for index in range(count):
        image[0, 0, 0, 0] = index  # no two files alike
        for part, array in (("", image), (".labels", labels), (".foreground", rows)):
            np.save(folder / f"{index}{part}.npy", array)


def resident() -> int:
    """Bytes this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def draw(folder: Path, shape: tuple[int, int, int], count: int, crops: int) -> dict[str, float]:
    """Draw ``crops`` crops from ``count`` volumes, each volume equally often; memory before, after and at most."""
    box = ((0, shape[0]), (0, shape[1]), (0, shape[2]))
    cases = [CachedCase(str(i), str(i), "", shape, 1, box, (1,)) for i in range(count)]
    source, random = CachedVolumes(folder, cases, [1]), np.random.default_rng(0)
    draw_patches(source.subset([0]), PATCH, 2, 0.5, random)
    before, start = resident(), time.perf_counter()
    for _ in range(crops // 2):
        draw_patches(source, PATCH, 2, 0.5, random)
    return {
        "volumes": count,
        "volumes_gb": round(sum(f.stat().st_size for i in range(count) for f in folder.glob(f"{i}.*npy")) / 1e9, 3),
        "rss_before_mb": round(before / 2**20, 1),
        "rss_growth_mb": round((resident() - before) / 2**20, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "seconds_per_crop": round((time.perf_counter() - start) / crops, 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--size", type=int, nargs=3, default=(128, 256, 256))
    parser.add_argument("--crops", type=int, default=400)
    parser.add_argument("--folder", type=Path, help="where to put the volumes meanwhile")
    parser.add_argument("--draw", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = tuple(options.size)
    if options.draw:
        print(json.dumps(draw(options.folder, size, options.draw, options.crops)))
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        make(Path(folder), size, max(COUNTS))
        for count in COUNTS:
            command = [
                sys.executable,
                __file__,
                "--draw",
                str(count),
                "--folder",
                folder,
                "--crops",
                str(options.crops),
            ]
            done = subprocess.run([*command, "--size", *map(str, size)], check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout))
    report = {"size": size, "patch": PATCH, "crops": options.crops, "machine": platform.machine(), "results": rows}
    if options.output:
        write_report(options.output, report)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
