"""Imported nnU-Nets against nnU-Net itself: logits of the networks, label maps of the whole way from file to file.

    python Testing/benchmarks/nnunet_import.py

Runs in an environment with nnunetv2 (the extra bench). For each kind of model nnU-Net plans, preprocesses and briefly
trains on synthetic volumes, and exports a zip; ``contrastiveseg import`` reads it. Networks get the same noise; both
programs segment volumes that were not trained on, with tiles that overlap by half, and with and without mirroring.
Volumes and widths are small, and Adam is used, so that a CPU trains in a minute; all else is nnU-Net's own.
"""

from __future__ import annotations

import json
import multiprocessing.dummy
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import SimpleITK as sitk
import torch
from common import add_common_options, exit_after, machine, parser_of
from results_file import add_run, is_finished, read_runs

from contrastiveseg.api import import_checkpoint
from contrastiveseg.errors import InputError
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.synthetic.dataset import write_dataset
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.volumes.reading import read_channels

_TRAINED, _TESTED = 4, 2
#: Channels of level 0, doubled at each level up to the second number, unless a kind has others.
_WIDTH, _WIDEST = 8, 64


@dataclass(frozen=True)
class Kind:
    """A kind of model and the data it is made for."""

    configuration: str
    planner: str = "ExperimentPlanner"
    settings: SyntheticSettings = SyntheticSettings(size=(24, 32, 32), spacing=(12.0, 10.0, 12.0))
    channels: tuple[str, ...] = ("MRI",)
    regions: bool = False
    masked: bool = False
    stored: str = "LPS"
    widths: tuple[int, int] = (_WIDTH, _WIDEST)
    patch: tuple[int, ...] | None = None


KINDS = {
    "plain 3D": Kind("3d_fullres"),
    "plain 2D, thick slices": Kind("2d", settings=SyntheticSettings(size=(9, 48, 40), spacing=(32.0, 7.0, 9.0))),
    "residual 3D, CT": Kind(
        "3d_fullres",
        "nnUNetPlannerResEncM",
        SyntheticSettings(size=(24, 32, 32), spacing=(12.0, 10.0, 12.0), contrast="CT"),
        ("CT",),
    ),
    "plain 3D, regions, 2 channels, sagittal slices": Kind(
        "3d_fullres",
        settings=SyntheticSettings(size=(32, 36, 12), spacing=(9.0, 9.0, 30.0)),
        channels=("T1", "T2"),
        regions=True,
        masked=True,
        stored="RAS",
    ),
    "residual 2D, coronal slices": Kind(
        "2d",
        "nnUNetPlannerResEncM",
        SyntheticSettings(size=(32, 10, 36), spacing=(9.0, 28.0, 11.0)),
        ("rescale_to_0_1",),
    ),
}


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "nnunet_import.json")
    parser.add_argument(
        "--iterations",
        type=int,
        default=120,
        help="of nnU-Net's training (default: %(default)s)",
    )
    options = parser.parse_args()
    for name, kind in KINDS.items():
        if not is_finished(options.output, {"model": name}):
            with nnunet_folders(options.threads) as work:
                run = {
                    "model": name,
                    "iterations": options.iterations,
                    **compared(kind, options.iterations, work),
                }
            add_run(
                options.output,
                run
                | {
                    "nnunetv2": version("nnunetv2"),
                    "machine": machine(options.threads),
                },
            )
    for run in read_runs(options.output):
        print(
            run["model"],
            {key: run[key] for key in ("logits", "dice", "dice_mirrored", "voxels_apart")},
        )


@contextmanager
def nnunet_folders(threads: int) -> Iterator[Path]:
    """A folder for nnU-Net, whose environment variables name it."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ |= {f"nnUNet_{name}": f"{temporary}/{name}" for name in ("raw", "preprocessed", "results")}
        os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1"}
        yield Path(temporary)


def compared(kind: Kind, iterations: int, work: Path) -> dict[str, Any]:
    """Largest difference of logits, and Dice between label maps, over the test volumes."""
    raw = write_raw(kind, work / "raw" / "Dataset901_Import")
    checkpoint = work / "imported.safetensors"
    import_checkpoint(trained(kind, iterations, work), "nnunet", checkpoint)
    predictor = Predictor.open(checkpoint, device="cpu", dtype=None)
    reference = nnunet_predictor(work)
    found: dict[str, Any] = {
        "logits": logit_difference(reference, predictor),
        "voxels_apart": 0,
    }
    for mirror, key in ((False, "dice"), (True, "dice_mirrored")):
        reference.use_mirroring = mirror
        scores = []
        for case in range(_TRAINED, _TRAINED + _TESTED):
            images = sorted((raw / "imagesTs").glob(f"case_{case}_*"))
            array, properties = reference.plans_manager.image_reader_writer_class().read_images(list(map(str, images)))
            theirs = reference.predict_single_npy_array(array, properties)
            ours = predictor.predict(read_channels(images), mirror=mirror, pieces="all").labels.array
            found["voxels_apart"] += int((ours != theirs).sum())
            scores += [_dice(ours == v, theirs == v) for v in np.unique(theirs) if v]
        if not scores:
            raise InputError("nnU-Net has found nothing in the test volumes. Train it for more --iterations.")
        found[key] = {"least": min(scores), "labels": len(scores)}
    return found


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def logit_difference(reference: Any, predictor: Predictor) -> float:
    """Between the networks, for noise of one patch; nnU-Net gets it transposed, as its plans say."""
    plan = predictor.card.plan
    torch.manual_seed(0)
    noise = torch.randn(1, len(plan.channels), *plan.patch_shape)
    shown = [axis for axis in range(3) if plan.dimensions == 3 or axis != plan.slice_axis]
    theirs = [shown.index(axis) for axis in reference.plans_manager.transpose_forward if axis in shown]
    reference.network.load_state_dict(reference.list_of_parameters[0])
    with torch.inference_mode():
        expected = reference.network.eval()(noise.permute(0, 1, *(2 + axis for axis in theirs)))
        expected = expected.permute(0, 1, *(2 + int(axis) for axis in np.argsort(theirs)))
        found = predictor.network(noise)[:, -expected.shape[1] :]
    return float((found - expected).abs().max())


def write_raw(kind: Kind, folder: Path) -> Path:
    """Synthetic volumes in nnU-Net's layout; the last ones are for testing."""
    synthetic = folder / "synthetic"
    write_dataset(synthetic, _TRAINED + _TESTED, 0, kind.settings)
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (folder / name).mkdir()
    draw = np.random.default_rng(0)
    for case, image in enumerate(sorted((synthetic / "imagesTr").iterdir())):
        truth = sitk.ReadImage(str(synthetic / "labelsTr" / image.name))
        truth = sitk.GrayscaleDilate(truth, [n // 10 for n in truth.GetSize()])  # large enough to be learned soon
        target = folder / ("imagesTr" if case < _TRAINED else "imagesTs")
        for channel in range(len(kind.channels)):
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(image))).astype(np.float32)
            if channel:
                array = array.max() - array + draw.normal(0, 0.02 * np.ptp(array), array.shape).astype(np.float32)
            if kind.masked:
                array = np.where(_body(truth), np.maximum(array, 1), 0)
            _write(array, truth, kind.stored, target / f"case_{case}_{channel:04}.nii.gz")
        labels = folder / ("labelsTr" if case < _TRAINED else "labelsTs")
        _write(sitk.GetArrayFromImage(truth), truth, kind.stored, labels / f"case_{case}.nii.gz")
    names = json.loads((synthetic / "dataset.json").read_text())["labels"]
    described: dict[str, Any] = {"labels": names}
    if kind.regions:
        first, second, third = (name for name in names if name != "background")
        regions = {"background": 0, "all": [1, 2, 3], second: [2, 3], third: 3}
        described = {
            "labels": regions,
            "regions_class_order": [1, 2, 3],
            "reference": f"{first}, synthetic",
        }
    described |= {
        "channel_names": {str(n): name for n, name in enumerate(kind.channels)},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(described | {"numTraining": _TRAINED}))
    return folder


def _body(truth: sitk.Image) -> np.ndarray:
    """Something around the labeled structures, so that nnU-Net crops to it and normalizes inside."""
    return sitk.GetArrayFromImage(sitk.BinaryDilate(truth > 0, [5, 5, 5])) > 0


def _write(array: np.ndarray, like: sitk.Image, stored: str, path: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(like)
    sitk.WriteImage(sitk.DICOMOrient(image, stored), str(path))


def trained(kind: Kind, iterations: int, work: Path) -> Path:
    """The exported archive of a model of nnU-Net, trained for ``iterations`` steps."""
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        plan_experiments,
        preprocess,
    )
    from nnunetv2.model_sharing.model_export import export_pretrained_model

    extractor = DatasetFingerprintExtractor(901, 1)
    extractor.num_foreground_voxels_for_intensitystats = 10_000 * _TRAINED
    threads = mock.patch("multiprocessing.get_context", return_value=multiprocessing.dummy)  # instead of processes
    with threads:
        extractor.run()
    plans_name = plan_experiments([901], kind.planner)
    plans_file = work / "preprocessed" / "Dataset901_Import" / f"{plans_name}.json"
    plans = json.loads(plans_file.read_text())
    for configuration in plans["configurations"].values():
        arguments = configuration.get("architecture", {}).get("arch_kwargs")
        if arguments:
            first, most = kind.widths
            arguments["features_per_stage"] = [min(first << n, most) for n in range(arguments["n_stages"])]
            configuration["patch_size"] = list(kind.patch or configuration["patch_size"])
            configuration["batch_size"] = 2 if kind.configuration != "2d" else 8
    plans_file.write_text(json.dumps(plans))
    with threads:
        preprocess([901], plans_name, (kind.configuration,), (1,), verbose=False)
    _train(
        plans,
        kind.configuration,
        json.loads((plans_file.parent / "dataset.json").read_text()),
        iterations,
    )
    archive = work / "exported.zip"
    export_pretrained_model(901, str(archive), (kind.configuration,), "nnUNetTrainer", plans_name, ("all",))  # type: ignore[arg-type]
    return archive


def started_trainer(plans: dict[str, Any], configuration: str, dataset: dict[str, Any]) -> Any:
    """nnU-Net's trainer before its first step; it augments in this process."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - nnU-Net draws from the global generator
    torch.manual_seed(0)
    trainer = nnUNetTrainer(
        plans | {"continue_training": False},
        configuration,
        "all",
        dataset,
        device=torch.device("cpu"),
    )
    with mock.patch.dict(os.environ, nnUNet_n_proc_DA="0"):
        trainer.on_train_start()
    trainer.network.train()
    return trainer


def _train(plans: dict[str, Any], configuration: str, dataset: dict[str, Any], iterations: int) -> None:
    trainer = started_trainer(plans, configuration, dataset)
    # Its own momentum of 0.99 needs more steps than a CPU has time for.
    trainer.optimizer = torch.optim.Adam(trainer.network.parameters(), 3e-3)
    for _ in range(iterations):
        trainer.train_step(next(trainer.dataloader_train))
    trainer._best_ema = np.float64(0.5)  # as validation stores it
    trainer.save_checkpoint(os.path.join(trainer.output_folder, "checkpoint_final.pth"))
    validation = Path(trainer.output_folder, "validation")
    validation.mkdir()
    for file in (
        validation / "summary.json",
        Path(trainer.output_folder, "progress.png"),
    ):
        file.write_text("{}")  # which the export wants
    if not Path(trainer.output_folder_base, "dataset_fingerprint.json").exists():
        Path(trainer.output_folder_base, "dataset_fingerprint.json").write_text("{}")


def nnunet_predictor(work: Path) -> Any:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    (model,) = (work / "results" / "Dataset901_Import").iterdir()
    predictor.initialize_from_trained_model_folder(str(model), ("all",))
    return predictor


if __name__ == "__main__":
    exit_after(main)
