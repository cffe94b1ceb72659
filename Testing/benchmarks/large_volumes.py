"""Seconds and memory of segmenting large volumes in a warm worker, with networks that the default starter begins.

    python Testing/benchmarks/large_volumes.py [--threads 2] [--minutes 2] [--precision auto]

The volumes are synthetic: MR of 256x256x100 voxels, CT of 512x512x300 and of 512x512x600. The network and its plan are
those with which ``finetune --minutes`` would begin on the volume, at the spacing that it would choose; the head is
random, of 4 or 20 classes besides the background, as times do not depend on the weights. Stored are the medians of the
jobs after the first of a worker, and the most memory that the worker held.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import add_common_options, exit_after, machine, parser_of
from results_file import add_run
from segment_time import warm
from tables import large_volumes

from contrastiveseg.checkpoints.card import Card, Label
from contrastiveseg.checkpoints.format import save
from contrastiveseg.checkpoints.starters import checkpoint_path
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import Segmenter, load_transferred
from contrastiveseg.segmentation.tiles import fit_tiles
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.synthetic.subject import synthesize
from contrastiveseg.training.run import Budget, Run
from contrastiveseg.training.setup import cases_of
from contrastiveseg.training.start import open_start
from contrastiveseg.volumes.reading import read_geometry
from contrastiveseg.volumes.resample import resampled_shape
from contrastiveseg.volumes.volume import Geometry
from contrastiveseg.volumes.writing import write_image, write_labels

#: Voxels (z, y, x), their spacing in mm, contrast, classes besides the background.
VOLUMES = (
    ((100, 256, 256), (2.0, 1.4, 1.4), "cine", 4),
    ((300, 512, 512), (1.25, 0.8, 0.8), "CT", 4),
    ((600, 512, 512), (1.0, 0.8, 0.8), "CT", 20),
)
#: Subjects are drawn on a grid coarser by this factor, and noise is added on the fine one.
_COARSER = 4


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "large_volumes.json")
    parser.set_defaults(threads=2)
    parser.add_argument("--minutes", type=float, default=2.0, help="budget (default: %(default)s)")
    parser.add_argument("--precision", choices=("auto", "32", "bf16"), default="auto")
    parser.add_argument("--repeats", type=int, default=3, help="warm jobs (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    runs = []
    for size, spacing, contrast, classes in VOLUMES:
        with tempfile.TemporaryDirectory() as work:
            image = _written(Path(work), size, spacing, contrast)
            run = _measured(Path(work), image, classes, options)
        add_run(options.output, run)
        runs.append(run)
    print(large_volumes(runs))


def _written(work: Path, size: tuple[int, ...], spacing: tuple[float, ...], contrast: Any) -> Path:
    """The image, as ``images/case.nii.gz``; its labels are ``labels/case.nii.gz``."""
    z, y, x = (n // _COARSER for n in size)
    settings = SyntheticSettings(size=(z, y, x), spacing=tuple(s * _COARSER for s in spacing), contrast=contrast)  # type: ignore[arg-type]
    volume, label_map = synthesize(0, settings)
    geometry = Geometry(size[::-1], tuple(spacing[::-1]), (0.0, 0.0, 0.0), volume.geometry.direction)  # type: ignore[arg-type]
    random = np.random.default_rng(0)
    image = _enlarged(np.rint(volume.array[0]).astype(np.int16))
    for part in image:
        part += random.integers(-20, 21, part.shape, dtype=np.int16)
    for folder in ("images", "labels"):
        (work / folder).mkdir()
    write_image(work / "images" / "case.nii.gz", image, geometry)
    write_labels(work / "labels" / "case.nii.gz", _enlarged(label_map.array.astype(np.uint8)), geometry)
    return work / "images" / "case.nii.gz"


def _enlarged(array: np.ndarray) -> np.ndarray:
    for axis in range(3):
        array = array.repeat(_COARSER, axis)
    return array


def _measured(work: Path, image: Path, classes: int, options: argparse.Namespace) -> dict[str, Any]:
    job = FinetuneJob(
        checkpoint=str(checkpoint_path("starter:synthetic-labels-3d-tiny")),
        images=(str(image),),
        labels=(str(work / "labels"),),
        output=str(work / "unused.safetensors"),
        minutes=options.minutes,
    )
    budget = Run(Budget(minutes=options.minutes), torch.device("cpu"))
    start = open_start(job, cases_of(job.images, job.labels), budget)
    torch.manual_seed(0)
    network = Segmenter(build(start.network), classes + 1)
    assert start.card is not None
    load_transferred(network.backbone, start.backbone_weights, start.card.transferred)
    labels = tuple(Label(n, f"label {n}") for n in range(1, classes + 1))
    card = Card("segmenter", "supervised", start.network, start.plan, labels=labels)
    checkpoint = work / "segmenter.safetensors"
    save(checkpoint, network.state_dict(), card)
    segmenting = {"checkpoint": str(checkpoint), "input": [str(image)], "output": str(work / "out.nii.gz")}
    segmenting |= {"overwrite": True, "device": "cpu", "precision": options.precision, "threads": options.threads}
    told = warm(segmenting, options.repeats)
    geometry, _ = read_geometry(image)
    shape = resampled_shape(geometry.shape, geometry.spacing_zyx, start.plan.spacing)
    return {
        "size": list(geometry.shape),
        "classes": classes,
        "spacing": [round(s, 2) for s in start.plan.spacing],
        "tiles": fit_tiles(shape, network.backbone.total_stride, start.plan.patch).count,
        "precision": options.precision,
        "machine": machine(options.threads),
        **told,
    }


if __name__ == "__main__":
    exit_after(main)
