"""From file to file with one network and the same windows: ours, nnU-Net's predictor, and MONAI's sliding window.

    python Testing/benchmarks/beside_others.py

Runs in an environment with nnunetv2 (the extra bench). A network that nnU-Net plans, trained for one step, is imported
by ``contrastiveseg import``, so that all three have its weights, its patch as window, windows that overlap by half, no
mirroring, and float32. They take turns in one process, after a first turn that does not count: processor seconds, and
their ratio to ours, as median and range over the turns; and the share of voxels that have the label that ours gives.
nnU-Net's way is ``predict_from_files_sequential``. MONAI's is reading, normalizing, ``sliding_window_inference`` with
Gaussian weights, the largest logit, and writing; the volume has the network's spacing, so nothing is resampled.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch
from common import add_common_options, machine, processor_seconds
from monai.inferers import sliding_window_inference
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, NormalizeIntensity, SaveImage
from nnunet_import import Kind, nnunet_folders, nnunet_predictor, trained, write_raw
from results_file import add_run
from tables import beside_others

from contrastiveseg.api import import_checkpoint
from contrastiveseg.checkpoints.open import open_segmenter
from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.segmentation.segment import segment
from contrastiveseg.synthetic.settings import SyntheticSettings

#: Volume, and window.
_SIZE, _WINDOW = (64, 96, 96), (48, 48, 48)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_options(parser, "beside_others.json")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default: %(default)s)")
    options = parser.parse_args()
    settings = SyntheticSettings(size=_SIZE, spacing=(4.0, 4.0, 4.0))
    kind = Kind("3d_fullres", settings=settings, widths=(16, 128), patch=_WINDOW)
    with nnunet_folders(options.threads) as work:
        raw = write_raw(kind, work / "raw" / "Dataset901_Import")
        import_checkpoint(trained(kind, 1, work), "nnunet", work / "imported.safetensors")
        run = _measured(work, sorted((raw / "imagesTs").iterdir())[0], options)
    add_run(options.output, run | {"nnunetv2": version("nnunetv2"), "machine": machine(options.threads)})
    print(beside_others(run))
    return 0


def _measured(work: Path, image: Path, options: argparse.Namespace) -> dict[str, Any]:
    folder = work / "one"
    for each in (folder, work / "nnunet"):
        each.mkdir()
    (folder / image.name).symlink_to(image)
    network_seconds: list[float] = []
    reference = nnunet_predictor(work)
    reference.use_mirroring = False
    files = {
        "ours": work / "ours.nii.gz",
        "monai": work / "monai" / "case.nii.gz",
        "nnunet": work / "nnunet" / image.name,
    }
    files["nnunet"] = files["nnunet"].with_name(image.name.replace("_0000", ""))
    job = SegmentJob(
        checkpoint=str(work / "imported.safetensors"),
        input=(str(image),),
        output=str(files["ours"]),
        precision="32",
        pieces="all",
        overwrite=True,
        threads=options.threads,
        device="cpu",
    )

    def ours() -> None:
        seconds = segment(job).seconds
        network_seconds.append(seconds["network"] / seconds["total"])

    ways: dict[str, Callable[[], object]] = {
        "ours": ours,
        "nnunet": lambda: reference.predict_from_files_sequential(str(folder), str(work / "nnunet"), overwrite=True),
        "monai": _monai(work / "imported.safetensors", image, files["monai"]),
    }
    turns = [{name: processor_seconds(way) for name, way in ways.items()} for _ in range(options.repeats + 1)][1:]
    maps = {name: sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for name, path in files.items()}
    run: dict[str, Any] = {"volume": list(_SIZE), "window": list(_WINDOW), "turns": options.repeats}
    run["network_share"] = round(statistics.median(network_seconds[1:]), 3)
    for name in ways:
        ratios = [turn[name] / turn["ours"] for turn in turns]
        run[name] = {
            "seconds": round(statistics.median(turn[name] for turn in turns), 3),
            "ratio": round(statistics.median(ratios), 2),
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
            "agree": round(float((maps[name] == maps["ours"]).mean()), 6),
        }
    return run


def _monai(checkpoint: Path, image: Path, output: Path) -> Callable[[], object]:
    """MONAI's transforms and sliding window around the same network, as torch runs it."""
    card, network = open_segmenter(checkpoint)
    network.eval()
    read = Compose([LoadImage(image_only=True), EnsureChannelFirst(), NormalizeIntensity()])
    write = SaveImage(output.parent, "", output_dtype="uint8", separate_folder=False, print_log=False)

    def work() -> None:
        volume = read(image)
        with torch.inference_mode():
            # Read as (x, y, z); the network sees (z, y, x).
            tiles = volume.permute(0, 3, 2, 1)[None].as_tensor()
            logits = sliding_window_inference(tiles, card.plan.patch, 1, network, 0.5, mode="gaussian")
        labels = volume[:1].clone()
        labels[0] = logits[0].argmax(0).permute(2, 1, 0)
        labels.meta["filename_or_obj"] = output.name
        write(labels)

    return work


if __name__ == "__main__":
    sys.exit(main())
