"""How others go from a file to its label map with an imported network: what ``beside_others.py`` compares ours with.

Each function prepares one way and returns what is timed. All have the network's weights, its patch as window, no
mirroring, and float32. Packages are imported inside: nnU-Net reads where its folders are when it is imported.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from monai.inferers import sliding_window_inference
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, NormalizeIntensity, SaveImage
from nnunet_import import nnunet_predictor

from contrastiveseg.checkpoints.open import open_segmenter

Way = Callable[[], object]


def nnunet(work: Path, image: Path, output: Path) -> Way:
    """``predict_from_files_sequential`` of nnU-Net's predictor, which stays loaded. Windows overlap by half."""
    source, target = _folders(output)
    (source / "case_0000.nii.gz").symlink_to(image)
    predictor = nnunet_predictor(work)
    predictor.use_mirroring = False

    def way() -> None:
        predictor.predict_from_files_sequential(str(source), str(target), overwrite=True)
        (target / "case.nii.gz").replace(output)

    return way


def monai(work: Path, image: Path, output: Path) -> Way:
    """MONAI's transforms and sliding window; windows overlap by half. Nothing is resampled."""
    card, network = open_segmenter(work / "imported.safetensors")
    network.eval()
    read = Compose([LoadImage(image_only=True), EnsureChannelFirst(), NormalizeIntensity()])
    write = SaveImage(output.parent, "", output_dtype="uint8", separate_folder=False, print_log=False)

    def way() -> None:
        volume = read(image)
        with torch.inference_mode():
            # Read as (x, y, z); the network sees (z, y, x).
            tiles = volume.permute(0, 3, 2, 1)[None].as_tensor()
            logits = sliding_window_inference(tiles, card.plan.patch, 1, network, 0.5, mode="gaussian")
        labels = volume[:1].clone()
        labels[0] = logits[0].argmax(0).permute(2, 1, 0)
        labels.meta["filename_or_obj"] = output.name
        write(labels)

    return way


def monai_label(work: Path, image: Path, output: Path) -> Way:
    """``BasicInferTask`` of MONAI Label, as its radiology app makes one for segmentation (``monailabel_task.py``).

    Windows overlap by two fifths at least, which on these volumes are the windows that overlap by half.
    """
    from monailabel_task import SegmentationTask

    task = SegmentationTask(*open_segmenter(work / "imported.safetensors"))
    # Of a name as text it keeps an "image_path", which Spacingd of MONAI 1.6 takes for a dictionary.
    request: dict[str, Any] = {"image": image, "device": "cpu", "logging": "ERROR"}
    request |= {"result_extension": ".nii.gz", "result_dtype": "uint8"}  # the type that its plugin in Slicer asks for

    def way() -> None:
        written, _ = task(request)
        shutil.move(written, output)

    return way


def total_segmentator(work: Path, image: Path, output: Path, spacing: float) -> Way:
    """``nnUNet_predict_image`` of TotalSegmentator with the settings of its task "total", without its weights.

    It turns the volume to its axes, resamples it to ``spacing`` mm, has nnU-Net's predictor segment it in windows that
    overlap by a fifth at least, on these volumes by half, and takes the label map back to the volume's voxels. It loads
    the network for each file. nnU-Net's predictor prepares and writes in this process, without starting two for each
    file, which would take longer than all else.
    """
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from totalsegmentator.nnunet import nnUNet_predict_image

    def in_this_process(predictor: Any, source: str, target: str, **unused: Any) -> None:
        predictor.predict_from_files_sequential(source, target, overwrite=True)

    settings: dict[str, Any] = {"model": "3d_fullres", "folds": ["all"], "trainer": "nnUNetTrainer"}
    settings |= {"resample": spacing, "task_name": "total", "quiet": True, "device": torch.device("cpu")}

    def way() -> None:
        with (
            mock.patch.object(nnUNetPredictor, "predict_from_files", in_this_process),
            mock.patch.object(torch, "set_num_threads"),  # which it sets to one
        ):
            nnUNet_predict_image(str(image), str(output), 901, **settings)

    return way


def _folders(output: Path) -> tuple[Path, Path]:
    """Of the files that go in and come out, empty."""
    folders = output.with_name(f"{output.name}-in"), output.with_name(f"{output.name}-out")
    for folder in folders:
        folder.mkdir()
    return folders
