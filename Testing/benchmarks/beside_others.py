"""From file to file with one network and the same windows: ours, nnU-Net, MONAI, MONAI Label and TotalSegmentator.

    python Testing/benchmarks/beside_others.py

Runs in an environment with nnunetv2, monailabel and TotalSegmentator (the extra bench). A network that nnU-Net plans
and trains briefly is imported by ``contrastiveseg import``, so that all have its weights, its patch as window, no
mirroring, and float32. A test volume is segmented at the network's spacing, and sampled finer, so that it is resampled
and the label map brought back. The ways (``other_ways.py``) take turns in one process, after a first turn that does not
count: processor seconds, and their ratio to ours, as median and range over the turns; the windows that the network saw;
Dice over the structures; and the share of voxels that have the label that ours gives.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import other_ways
import SimpleITK as sitk
from common import add_common_options, exit_after, machine, parser_of, processor_seconds
from nnunet_import import Kind, nnunet_folders, trained, write_raw
from other_ways import Way
from results_file import add_run
from tables import beside_others
from torch import nn

from contrastiveseg.api import import_checkpoint
from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.evaluation.metrics import measure
from contrastiveseg.segmentation.segment import segment
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.volumes.reading import read_labels

#: Voxels and spacing (mm) of the volumes, and window.
_SIZE, _SPACING, _WINDOW = (64, 72, 72), 4.0, (48, 48, 48)
#: How volumes lie in files, and as TotalSegmentator turns them.
_STORED = "RAS"
#: So many times as many voxels an axis has the finer volume.
_FINER = 1.5
_PACKAGES = ("nnunetv2", "monai", "monailabel", "TotalSegmentator")


@dataclass(frozen=True)
class Volume:
    image: Path
    truth: Path


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "beside_others.json")
    parser.add_argument("--repeats", type=int, default=3, help="turns (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=25, help="of the training (default: %(default)s)")
    options = parser.parse_args()
    settings = SyntheticSettings(size=_SIZE, spacing=(_SPACING,) * 3)
    kind = Kind("3d_fullres", settings=settings, stored=_STORED, widths=(16, 128), patch=_WINDOW)
    with nnunet_folders(options.threads) as work:
        raw = write_raw(kind, work / "raw" / "Dataset901_Import")
        archive = trained(kind, options.iterations, work)
        import_checkpoint(archive, "nnunet", work / "imported.safetensors", orientation=_STORED)
        image = sorted((raw / "imagesTs").iterdir())[0]
        volume = Volume(image, raw / "labelsTs" / image.name.replace("_0000", ""))
        volumes = [_measured(work, each, options) for each in (volume, _finer(volume, work))]
    run = {"window": list(_WINDOW), "turns": options.repeats, "iterations": options.iterations, "volumes": volumes}
    run |= {"versions": {name: version(name) for name in _PACKAGES}, "machine": machine(options.threads)}
    add_run(options.output, run)
    print(beside_others(run))


def _finer(volume: Volume, work: Path) -> Volume:
    """The same extent in smaller voxels."""
    found = Volume(work / "finer_0000.nii.gz", work / "finer.nii.gz")
    for source, target, order in (
        (volume.image, found.image, sitk.sitkLinear),
        (volume.truth, found.truth, sitk.sitkNearestNeighbor),
    ):
        coarse = sitk.ReadImage(str(source))
        resample = sitk.ResampleImageFilter()
        resample.SetReferenceImage(coarse)
        resample.SetSize([round(n * _FINER) for n in coarse.GetSize()])
        resample.SetOutputSpacing([s / _FINER for s in coarse.GetSpacing()])
        corner = [(1 / _FINER - 1) / 2] * 3
        resample.SetOutputOrigin(coarse.TransformContinuousIndexToPhysicalPoint(corner))
        resample.SetInterpolator(order)
        resample.UseNearestNeighborExtrapolatorOn()
        sitk.WriteImage(resample.Execute(coarse), str(target))
    return found


def _measured(work: Path, volume: Volume, options: argparse.Namespace) -> dict[str, Any]:
    size = sitk.ReadImage(str(volume.image)).GetSize()[::-1]
    results = work / "x".join(map(str, size))
    results.mkdir()
    ways, shares = _ways(work, volume.image, results, size != _SIZE, options.threads)
    windows = {name: _windows(way) for name, way in ways.items()}  # the turn that does not count
    shares.clear()
    turns = [{name: processor_seconds(way) for name, way in ways.items()} for _ in range(options.repeats)]
    truth = read_labels(volume.truth)
    maps = {name: read_labels(results / f"{name}.nii.gz", truth.geometry) for name in ways}
    run: dict[str, Any] = {"volume": list(size), "network_share": round(statistics.median(shares), 3)}
    for name in ways:
        ratios = [turn[name] / turn["ours"] for turn in turns]
        scores = measure(maps[name], truth, {label: str(label) for label in (1, 2, 3)})
        run[name] = {
            "seconds": round(statistics.median(turn[name] for turn in turns), 3),
            "ratio": round(statistics.median(ratios), 2),
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
            "windows": windows[name],
            "dice": round(statistics.fmean(s.dice for s in scores if s.dice is not None), 4),
            "agree": round(float((maps[name].array == maps["ours"].array).mean()), 6),
        }
    return run


def _ways(work: Path, image: Path, results: Path, resampled: bool, threads: int) -> tuple[dict[str, Way], list[float]]:
    """By name, each writes NAME.nii.gz; and a list to which ours adds the network's share of its seconds."""
    shares: list[float] = []
    job = SegmentJob(
        checkpoint=str(work / "imported.safetensors"),
        input=(str(image),),
        output=str(results / "ours.nii.gz"),
        precision="32",
        pieces="all",
        overwrite=True,
        threads=threads,
        device="cpu",
    )

    def ours() -> None:
        seconds = segment(job).seconds
        shares.append(seconds["network"] / seconds["total"])

    others = {
        "nnunet": other_ways.nnunet,
        "monai": other_ways.monai,
        "monai_label": other_ways.monai_label,
        "total": functools.partial(other_ways.total_segmentator, spacing=_SPACING),
    }
    if resampled:
        del others["monai"]  # which does not resample; MONAI Label does it with MONAI's transforms
    return {"ours": ours} | {name: way(work, image, results / f"{name}.nii.gz") for name, way in others.items()}, shares


def _windows(way: Way) -> int:
    """How many windows a network of this process is given."""
    seen: list[int] = []
    within: list[nn.Module] = []

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not within and tuple(inputs[0].shape[2:]) == _WINDOW:  # a network, not its layers
            seen.append(len(inputs[0]))
        within.append(module)

    def leave(module: nn.Module, inputs: object, output: object) -> None:
        within.pop()

    hooks = [
        nn.modules.module.register_module_forward_pre_hook(enter),
        nn.modules.module.register_module_forward_hook(leave),
    ]
    way()
    for hook in hooks:
        hook.remove()
    return sum(seen)


if __name__ == "__main__":
    exit_after(main)
