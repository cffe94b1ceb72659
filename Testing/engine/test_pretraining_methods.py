"""Every pre-training method through the same doors: the job in 3D and 2D, resuming, fine-tuning from it, the budget."""

import pytest
import torch
from toy_volumes import ToyVolumes, check_it_resumes, toy_backbone, toy_plan

from contrastiveseg.checkpoints.format import load
from contrastiveseg.descriptions import FinetuneJob, PretrainJob
from contrastiveseg.methods.method import Method
from contrastiveseg.methods.registry import available_methods, find_method
from contrastiveseg.networks.registry import build
from contrastiveseg.training.finetune import finetune
from contrastiveseg.training.pretrain import pretrain

METHODS = [name for stage, name in available_methods() if stage == "pretrain"]


def test_the_methods_there_are():
    assert set(METHODS) >= {"macl", "cvrl", "mixcl", "ideal", "aligned"}


@pytest.mark.parametrize("name", METHODS)
def test_what_inspect_and_the_panel_say(name):
    method = find_method("pretrain", name)
    assert len(method.description) > 40
    assert method.citation
    if name in ("cvrl", "mixcl", "ideal"):
        assert "-style" in method.description
        assert "-style" in method.citation
        assert "econstructed" in method.description


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", METHODS)
def test_a_job_makes_a_checkpoint_to_fine_tune(name, dimensions, dataset, tmp_path):
    base, organs = tmp_path / "base.safetensors", tmp_path / "organs.safetensors"
    common = {"steps": 2, "precision": "32", "threads": 1}
    job = PretrainJob(
        images=(str(dataset / "imagesTr"),), output=str(base), method=name, dimensions=dimensions, **common
    )
    result = pretrain(job)
    assert result["steps"] == 2
    card, weights = load(base)
    assert (card.kind, card.method, card.plan.dimensions) == ("pretrained", name, dimensions)
    assert "encoder" in card.transferred
    # The backbone and nothing else: no teacher, no queue, no head.
    assert set(weights) == set(build(card.network).state_dict())
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    report = finetune(FinetuneJob(images=(str(dataset),), output=str(organs), checkpoint=str(base), **common))
    assert "encoder" in report["transfer"]["loaded"]


@pytest.mark.parametrize("name", METHODS)
def test_a_cancelled_run_resumes_on_the_same_curve(name, tmp_path):
    method, source = find_method("pretrain", name), ToyVolumes()

    def made(resume: bool) -> Method:
        # Whatever a resumed run was made with, it goes on with what the interrupted one had.
        return method(toy_backbone(seed=int(resume)), toy_plan(), method.Settings())

    check_it_resumes(made, source, method.optimization, tmp_path)
