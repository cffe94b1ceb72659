"""Every fine-tuning method is held to the conformance tests that other packages' methods are, and reads no label of an
unlabeled volume."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from contrastiveseg.checkpoints.format import load
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.methods.registry import available_methods, find_method
from contrastiveseg.testing import method_checks
from contrastiveseg.testing.with_pytest import each
from contrastiveseg.training.finetune import finetune

METHODS = [name for stage, name in available_methods() if stage == "finetune"]
SEMI_SUPERVISED = [name for name in METHODS if find_method("finetune", name).uses_unlabeled]

#: MCSC's Transformer and blocks at their usual size take seconds a step.
SMALL = {"mcsc": {"embedding": 12, "heads": 2, "depth": 2, "width": 8, "fine_block": 4, "coarse_block": 2}}


CHECKS = {
    f"{name}-{check}": run
    for name in METHODS
    for check, run in method_checks(name, "finetune", SMALL.get(name)).items()
    if check != "trains_in_two_processes"  # test_distributed.py has those of all methods together
}


@pytest.fixture(scope="module")
def folders(dataset, tmp_path_factory) -> Path:
    """labeled/ with two cases, unlabeled/ with two images, noisy/ with the same and labels of noise beside them."""
    root = tmp_path_factory.mktemp("cases")
    for name in ("labeled/imagesTr", "labeled/labelsTr", "unlabeled", "noisy"):
        (root / name).mkdir(parents=True)
    for case in range(4):
        name = f"synthetic_{case:05d}"
        image, label = (dataset / folder / f"{name}.nii.gz" for folder in ("imagesTr", "labelsTr"))
        if case < 2:
            shutil.copy(image, root / "labeled" / "imagesTr")
            shutil.copy(label, root / "labeled" / "labelsTr")
            continue
        for folder in ("unlabeled", "noisy"):
            shutil.copy(image, root / folder)
        given = sitk.ReadImage(str(label))
        noise = np.random.default_rng(case).integers(0, 4, given.GetSize()[::-1]).astype(np.uint8)
        noisy = sitk.GetImageFromArray(noise)
        noisy.CopyInformation(given)
        sitk.WriteImage(noisy, str(root / "noisy" / f"{name}_seg.nii.gz"))
    return root


def job(folders: Path, output: Path, method: str, unlabeled: str) -> FinetuneJob:
    return FinetuneJob(
        images=(str(folders / "labeled" / "imagesTr"),),
        labels=(str(folders / "labeled" / "labelsTr"),),
        unlabeled=(str(folders / unlabeled),),
        checkpoint="none",
        method=method,
        settings=SMALL.get(method, {}),
        output=str(output),
        steps=2,
        precision="32",
        threads=1,
    )


def test_the_methods_there_are():
    assert set(METHODS) >= {"supervised", "mean-teacher", "bcp", "mcsc", "cvrl", "ideal"}
    assert set(METHODS) - set(SEMI_SUPERVISED) == {"supervised"}


@each(CHECKS)
def test_conformance(check, tmp_path):
    check(tmp_path)


@pytest.mark.parametrize("name", ["cvrl", "ideal"])
def test_reconstructed_methods_say_so(name):
    method = find_method("finetune", name)
    assert "-style" in method.description
    assert "econstructed" in method.description


@pytest.mark.parametrize("name", SEMI_SUPERVISED)
def test_labels_of_unlabeled_volumes_are_never_used(name, folders, tmp_path):
    weights = []
    for unlabeled in ("unlabeled", "noisy"):
        path = tmp_path / f"{unlabeled}.safetensors"
        finetune(job(folders, path, name, unlabeled))
        weights.append(load(path)[1])
    different = [n for n, tensor in weights[0].items() if not torch.equal(tensor, weights[1][n])]
    assert different == []
