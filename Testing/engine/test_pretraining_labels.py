"""Labels in pre-training: what is used is named by the user, noted in the checkpoint, and no proof afterwards."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from contrastiveseg.checkpoints.format import load
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.cli import main
from contrastiveseg.descriptions import EvaluateJob, FinetuneJob, PretrainJob
from contrastiveseg.errors import InputError
from contrastiveseg.evaluation.job import run_evaluation
from contrastiveseg.events import Event, Log
from contrastiveseg.training import setup
from contrastiveseg.training.finetune import finetune
from contrastiveseg.training.pretrain import pretrain

COMMON = {"steps": 2, "precision": "32", "threads": 1}


def label(dataset: Path, *cases: int) -> list[str]:
    return [str(dataset / "labelsTr" / f"synthetic_{case:05d}.nii.gz") for case in cases]


def pretrained_with(dataset: Path, output: Path, labels: list[str], method: str = "mixcl") -> list[bool]:
    """Whether the label of each case was used, as the checkpoint says; cases by name."""
    given = {"images": (str(dataset),), "labels": tuple(labels), "output": str(output), "method": method}
    pretrain(PretrainJob(**given, keep_names=True, **COMMON))
    return [case.label_used for case in sorted(read_card(output).provenance.cases, key=lambda case: case.name)]


@pytest.fixture(scope="module")
def mixcl(dataset, tmp_path_factory) -> Path:
    """A checkpoint that has learned from the labels of cases 0 and 2."""
    path = tmp_path_factory.mktemp("mixcl") / "mixcl.safetensors"
    assert pretrained_with(dataset, path, label(dataset, 0, 2)) == [True, False, True, False]
    return path


def test_only_labels_that_are_named_are_used(dataset, mixcl, tmp_path):
    weights = load(mixcl)[1]
    assert pretrained_with(dataset, tmp_path / "none.safetensors", []) == [False] * 4
    without = load(tmp_path / "none.safetensors")[1]
    assert not all(torch.equal(tensor, without[name]) for name, tensor in weights.items())
    # Noise in the labels of the others changes nothing.
    noisy = tmp_path / "noisy"
    shutil.copytree(dataset, noisy)
    for path in label(noisy, 1, 3):
        image = sitk.ReadImage(path)
        noise = np.random.default_rng(0).integers(0, 9, sitk.GetArrayViewFromImage(image).shape, np.uint8)
        changed = sitk.GetImageFromArray(noise)
        changed.CopyInformation(image)
        sitk.WriteImage(changed, path)
    pretrained_with(noisy, tmp_path / "noisy.safetensors", label(noisy, 0, 2))
    again = load(tmp_path / "noisy.safetensors")[1]
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


def test_data_sets_are_pooled_on_the_command_line(dataset, tmp_path):
    other, output = tmp_path / "other", tmp_path / "pooled.safetensors"
    shutil.copytree(dataset / "imagesTr", other)
    command = ["pretrain", "--method", "mixcl", "--images", str(dataset), "--labels", str(dataset)]
    command += ["--images", str(other), "--output", str(output), "--steps", "1", "--precision", "32", "--json"]
    assert main(command) == 0
    origin = read_card(output).provenance
    assert (origin.case_count, sum(case.label_used for case in origin.cases)) == (8, 4)


def test_a_method_that_learns_from_none_refuses_labels(dataset, tmp_path):
    with pytest.raises(InputError, match=r"macl pre-training learns from no labels.*mixcl"):
        pretrained_with(dataset, tmp_path / "macl.safetensors", label(dataset, 0), method="macl")


def tuned(dataset: Path, checkpoint: Path, output: Path, validation: str, seen: list | None = None) -> None:
    given = {"images": (str(dataset),), "checkpoint": str(checkpoint), "output": str(output)}
    job = FinetuneJob(**given, validation=validation, keep_names=True, **COMMON)
    finetune(job, (seen if seen is not None else []).append)


def test_cases_whose_labels_were_used_are_not_held_out(dataset, mixcl, tmp_path):
    for validation in ("synthetic_00000", "synthetic_00001,synthetic_00002", "leave-one-out"):
        with pytest.raises(InputError, match="learned from the labels of synthetic_0000"):
            tuned(dataset, mixcl, tmp_path / "refused.safetensors", validation)
    seen: list[Event] = []
    tuned(dataset, mixcl, tmp_path / "organs.safetensors", "synthetic_00001", seen)
    assert [e for e in seen if isinstance(e, Log) and e.level == "warning"] == []
    origin = read_card(tmp_path / "organs.safetensors").provenance
    assert sorted(case.name[-1] for case in origin.cases if case.label_used) == ["0", "2", "3"]


def part_of(dataset: Path, folder: Path, *cases: int) -> Path:
    """A data set of some of the cases."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
        for case in cases:
            shutil.copy(dataset / part / f"synthetic_{case:05d}.nii.gz", folder / part)
    told = json.loads((dataset / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({"labels": told["labels"]}))
    return folder


def test_what_was_learned_is_remembered_though_it_comes_back_without_its_label(dataset, mixcl, tmp_path):
    few, output = part_of(dataset, tmp_path / "few", 1, 3), tmp_path / "organs.safetensors"
    job = FinetuneJob(
        images=(str(few),),
        unlabeled=tuple(str(dataset / "imagesTr" / f"synthetic_{case:05d}.nii.gz") for case in (0, 2)),
        checkpoint=str(mixcl),
        method="mean-teacher",
        output=str(output),
        keep_names=True,
        **COMMON,
    )
    finetune(job)
    origin = read_card(output).provenance
    assert sorted((case.name[-1], case.label_used) for case in origin.cases) == [(n, True) for n in "0123"]
    assert origin.case_count == 4


def test_the_same_case_in_another_format_is_told_of(dataset, mixcl, tmp_path):
    copy, seen = tmp_path / "copy", []
    for part in ("imagesTr", "labelsTr"):
        (copy / part).mkdir(parents=True)
        for file in (dataset / part).iterdir():
            sitk.WriteImage(sitk.ReadImage(str(file)), str(copy / part / file.name.replace(".nii.gz", ".mha")))
    (copy / "dataset.json").write_text((dataset / "dataset.json").read_text().replace(".nii.gz", ".mha"))
    tuned(copy, mixcl, tmp_path / "organs.safetensors", "synthetic_00000,synthetic_00001", seen)
    (told,) = [e.text for e in seen if isinstance(e, Log) and e.level == "warning"]
    assert "other files named synthetic_00000." in told


def test_what_was_learned_is_remembered_through_fine_tuning(dataset, mixcl, tmp_path):
    few = part_of(dataset, tmp_path / "few", 1, 3)
    organs = tmp_path / "organs.safetensors"
    tuned(few, mixcl, organs, "none")
    origin = read_card(organs).provenance
    assert sorted(case.name[-1] for case in origin.cases if case.label_used) == ["0", "1", "2", "3"]
    assert origin.case_count == 4
    # A segmenter that is tuned further is not refused, but told of.
    seen: list[Event] = []
    tuned(dataset, organs, tmp_path / "further.safetensors", "synthetic_00000", seen)
    assert any("synthetic_00000" in e.text for e in seen if isinstance(e, Log) and e.level == "warning")


def test_evaluation_warns_of_cases_that_were_learned_from(dataset, mixcl, tmp_path):
    references = str(dataset / "labelsTr")
    job = EvaluateJob(
        predictions=references, references=references, output=str(tmp_path / "scores.json"), checkpoint=str(mixcl)
    )
    seen: list[Event] = []
    run_evaluation(job, seen.append)
    # The other one is that the files are compared with themselves.
    assert sum("synthetic_00000, synthetic_00002:" in e.text for e in warnings(seen)) == 1
    assert len(warnings(seen)) == 2
    seen.clear()
    run_evaluation(replace(job, checkpoint=None, overwrite=True), seen.append)
    assert len(warnings(seen)) == 1


def warnings(seen: list[Event]) -> list[Log]:
    return [e for e in seen if isinstance(e, Log) and e.level == "warning"]


@pytest.mark.parametrize("ending", ["_seg", "_label"])
def test_evaluation_knows_a_case_with_an_ending_in_both_folders(dataset, mixcl, tmp_path, ending):
    for folder in ("predictions", "references"):
        (tmp_path / folder).mkdir()
        shutil.copy(label(dataset, 2)[0], tmp_path / folder / f"synthetic_00002{ending}.nii.gz")
    job = EvaluateJob(
        predictions=str(tmp_path / "predictions"),
        references=str(tmp_path / "references"),
        output=str(tmp_path / "scores.json"),
        checkpoint=str(mixcl),
    )
    seen: list[Event] = []
    run_evaluation(job, seen.append)
    assert any("learned from labels of cases named synthetic_00002" in getattr(e, "text", "") for e in seen)


def test_every_case_with_a_label_is_named_and_first(monkeypatch, dataset, mixcl, tmp_path):
    monkeypatch.setattr(setup, "_NAMED_CASES", 1)
    assert pretrained_with(dataset, tmp_path / "few.safetensors", label(dataset, 0, 2)) == [True, True]
    card = read_card(mixcl)
    assert [case.label_used for case in card.provenance.cases] == [True, True, False, False]
