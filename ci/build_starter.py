"""Makes the starter checkpoint: synthetic anatomy of several regions, then MACL pre-training on it.

    bash ci/build-starter [--output CKPT] [--cases N] [--steps N] [--work DIR]

About a quarter of an hour on two CPU cores. Deterministic by seed up to the floating-point arithmetic of the machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from contrastiveseg.descriptions import PretrainJob
from contrastiveseg.jobs.run import run
from contrastiveseg.synthetic.dataset import write_dataset
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.terminal import watcher

ROOT = Path(__file__).resolve().parents[1]
STARTER = ROOT / "ContrastiveSeg" / "contrastiveseg" / "starters" / "macl-3d-tiny.safetensors"
#: Region -> size in voxels. One data set each: a place means the same anatomy only within a region.
REGIONS = {"heart": (48, 80, 96), "temporal": (48, 64, 48), "torso": (48, 64, 64), "head": (64, 64, 56)}
SEED = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=STARTER)
    parser.add_argument("--cases", type=int, default=80, help="synthetic volumes of each region")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--work", type=Path, default=ROOT / "demo-output" / "starter", help="folder for the volumes")
    given = parser.parse_args()
    folders = []
    for region, size in REGIONS.items():
        folder = given.work / region
        settings = SyntheticSettings(region=region, size=size, spacing=(1.5, 1.5, 1.5), contrast="random")
        if not (folder / "dataset.json").exists():
            write_dataset(folder, given.cases, SEED, settings, labeled=0)
        folders.append(str(folder))
    job = PretrainJob(
        images=tuple(folders),
        method="macl",
        output=str(given.output),
        steps=given.steps,
        size="tiny",
        generic=True,
        overwrite=True,
        settings={"groups": 3, "dense": "cell", "jitter_invariant": True},
        license="Apache-2.0",
        cache=str(given.work / "cache"),
        threads=given.threads,
    )
    run(job, watcher(as_json=False))


if __name__ == "__main__":
    main()
