"""Every fine-tuning method through the same doors: the job in 3D and 2D, labels it must not read, and resuming."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from toy_volumes import ToyVolumes, check_it_resumes, toy_backbone, toy_plan

from contrastiveseg.checkpoints.format import load
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.methods.method import Method
from contrastiveseg.methods.registry import available_methods, find_method
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import Segmenter
from contrastiveseg.training.finetune import finetune

METHODS = [name for stage, name in available_methods() if stage == "finetune"]
SEMI_SUPERVISED = [name for name in METHODS if find_method("finetune", name).uses_unlabeled]

#: MCSC's Transformer and blocks at their usual size take seconds a step.
SMALL = {"mcsc": {"embedding": 12, "heads": 2, "depth": 2, "width": 8, "fine_block": 4, "coarse_block": 2}}


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


def job(folders: Path, output: Path, method: str, unlabeled: str = "unlabeled", dimensions: int = 3) -> FinetuneJob:
    return FinetuneJob(
        images=(str(folders / "labeled" / "imagesTr"),),
        labels=(str(folders / "labeled" / "labelsTr"),),
        unlabeled=(str(folders / unlabeled),) if method in SEMI_SUPERVISED else (),
        checkpoint="none",
        method=method,
        settings=SMALL.get(method, {}),
        output=str(output),
        dimensions=dimensions,
        steps=2,
        precision="32",
        threads=1,
    )


def test_the_methods_there_are():
    assert set(METHODS) >= {"supervised", "mean-teacher", "bcp", "mcsc", "cvrl", "ideal"}
    assert set(METHODS) - set(SEMI_SUPERVISED) == {"supervised"}


@pytest.mark.parametrize("name", METHODS)
def test_what_inspect_and_the_panel_say(name):
    method = find_method("finetune", name)
    assert len(method.description) > 40
    assert method.citation
    if name in ("cvrl", "ideal"):
        assert "-style" in method.description
        assert "econstructed" in method.description


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_a_job_makes_a_segmenter_and_nothing_else(name, dimensions, folders, tmp_path):
    path = tmp_path / "organs.safetensors"
    assert finetune(job(folders, path, name, dimensions=dimensions))["steps"] == 2
    card, weights = load(path)
    assert (card.kind, card.method, card.plan.dimensions) == ("segmenter", name, dimensions)
    assert set(weights) == set(Segmenter(build(card.network), len(card.labels) + 1).state_dict())
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


@pytest.mark.parametrize("name", SEMI_SUPERVISED)
def test_labels_of_unlabeled_volumes_are_never_used(name, folders, tmp_path):
    weights = []
    for unlabeled in ("unlabeled", "noisy"):
        path = tmp_path / f"{unlabeled}.safetensors"
        finetune(job(folders, path, name, unlabeled))
        weights.append(load(path)[1])
    different = [n for n, tensor in weights[0].items() if not torch.equal(tensor, weights[1][n])]
    assert different == []


@pytest.mark.parametrize("name", SEMI_SUPERVISED)
def test_a_cancelled_run_resumes_on_the_same_curve(name, tmp_path):
    method, source = find_method("finetune", name), ToyVolumes(labeled=(0, 1))

    def made(resume: bool) -> Method:
        # Whatever a resumed run was made with, it goes on with what the interrupted one had.
        backbone = toy_backbone(seed=int(resume))
        return method(backbone, toy_plan(), method.Settings(**SMALL.get(name, {})), classes=3)

    check_it_resumes(made, source, method.optimization, tmp_path)
