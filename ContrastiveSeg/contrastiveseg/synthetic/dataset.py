"""Synthetic subjects written as a data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..events import Emit, ProgressMeter, Stage, StageStarted, silent
from ..files import replacing, write_text
from ..volumes.itk import image_on
from ..volumes.volume import Geometry
from .anatomy import LABEL_NAMES, REGIONS
from .settings import SyntheticSettings
from .subject import synthesize


def write_dataset(
    folder: Path,
    cases: int,
    seed: int,
    settings: SyntheticSettings,
    labeled: int | None = None,
    emit: Emit = silent,
) -> None:
    """Write subjects ``seed`` .. ``seed + cases - 1`` as a dataset.

    ``folder`` gets ``imagesTr``, ``labelsTr`` (the first ``labeled`` cases; all by default) and a ``dataset.json``
    with the keys of the Medical Segmentation Decathlon and of nnU-Net v2.

    Raises:
        InputError: ``labeled`` exceeds ``cases``, a negative seed, or a folder that is not
            writable.
    """
    labeled = cases if labeled is None else labeled
    if cases < 1 or not 0 <= labeled <= cases:
        raise InputError(
            f"Cannot make {cases} cases of which {labeled} are labeled. Make 1 or more, and label at most as many."
        )
    if seed < 0:
        raise InputError(f"The seed must be 0 or more, not {seed}.")

    emit(StageStarted(Stage.SYNTHESIZE))
    progress = ProgressMeter(emit, cases, "volumes")
    training, dataset = [], {}
    for index in range(cases):
        progress(index)
        volume, label_map = synthesize(seed + index, settings)
        entry = {"image": f"./imagesTr/{volume.name}.nii.gz"}
        _write(folder / entry["image"], volume.array[0], volume.geometry)
        if index < labeled:
            entry["label"] = f"./labelsTr/{volume.name}.nii.gz"
            _write(folder / entry["label"], label_map.array.astype(np.int16), label_map.geometry)
        training.append(entry)
        dataset[volume.name] = dict(entry)
    progress(cases)
    in_region = {organ.label for organ in REGIONS[settings.region][0]}
    names = {k: v for k, v in LABEL_NAMES.items() if k <= settings.labels and k in in_region}
    description = {
        "name": "Synthetic anatomy",
        "description": f"Synthetic {settings.region}, contrast {settings.contrast}, seed {seed}",
        "tensorImageSize": "3D",
        "modality": {"0": _modality(settings)},
        "channel_names": {"0": _modality(settings)},
        "labels": {"background": 0, **{name: value for value, name in names.items()}},
        "numTraining": cases,
        "numTest": 0,
        "file_ending": ".nii.gz",
        "training": training,
        "test": [],
        "dataset": dataset,
    }
    write_text(folder / "dataset.json", json.dumps(description, indent=2) + "\n")


def _write(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    with replacing(path) as temporary:
        sitk.WriteImage(image_on(array, geometry), str(temporary), useCompression=True)


def _modality(settings: SyntheticSettings) -> str:
    return "CT" if settings.contrast == "CT" else "MRI"
