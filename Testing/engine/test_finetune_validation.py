"""What fine-tuning scores: cases held out or left out one by one, and the checkpoint it started from."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from test_finetune import job

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.events import Event
from contrastiveseg.segmentation.segment import segment
from contrastiveseg.training.beside import metrics_path
from contrastiveseg.training.finetune import finetune
from contrastiveseg.volumes.reading import read_volume


@pytest.mark.parametrize(("validation", "held"), [("2", 2), ("none", 0)])
def test_validation_on_held_out_cases(dataset, out, validation, held):
    seen: list[Event] = []
    result = finetune(job(dataset, out, validation=validation), seen.append)
    assert len(result.held_out) == held
    assert sum("Held out synthetic_" in getattr(e, "text", "") for e in seen) == held
    assert any("did best on the held-out cases" in getattr(e, "text", "") for e in seen) == bool(held)
    assert result.kept == ("best" if held else "average")
    card = read_card(out)
    assert set(card.provenance.scores) == ({"held_out_dice"} if held else set())
    lines = [json.loads(line) for line in metrics_path(out).read_text().splitlines()]
    assert any("validation_dice" in line for line in lines) == bool(held)


def test_held_out_cases_have_no_part_in_the_plan(dataset, tmp_path, out):
    shutil.copytree(dataset, tmp_path / "data")
    path = tmp_path / "data/imagesTr/synthetic_00000.nii.gz"
    trained = [read_volume(path.with_name(f"synthetic_{n:05d}.nii.gz")).geometry.spacing for n in (1, 2, 3)]
    for file in (path, tmp_path / "data/labelsTr" / path.name):
        image = sitk.ReadImage(str(file))
        image.SetSpacing([2 * s for s in image.GetSpacing()])
        sitk.WriteImage(image, str(file))
    finetune(job(tmp_path / "data", out, validation="synthetic_00000", resolution="native", steps=1))
    assert read_card(out).plan.spacing == pytest.approx(tuple(np.median(trained, axis=0))[::-1])


def test_leave_one_out_scores_every_case_once_and_trains_on_all(dataset, out):
    seen: list[Event] = []
    result = finetune(job(dataset, out, validation="leave-one-out", steps=1), seen.append)
    names = [c.name for c in result.leave_one_out.cases]
    assert names == [f"synthetic_{i:05d}" for i in range(4)]
    assert result.leave_one_out.dice == pytest.approx(np.mean([c.dice for c in result.leave_one_out.cases]))
    assert result.held_out == ()
    card = read_card(out)
    assert card.provenance.case_count == 4
    assert card.provenance.scores == {"leave_one_out_dice": pytest.approx(result.leave_one_out.dice)}
    assert any("Leave-one-out Dice" in getattr(e, "text", "") for e in seen)


def test_validation_on_cases_given_by_name(dataset, out):
    given = "synthetic_00003, synthetic_00000,synthetic_00003"
    result = finetune(job(dataset, out, validation=given, keep_names=True))
    assert [c.name for c in result.held_out] == ["synthetic_00000", "synthetic_00003"]
    assert [c.name for c in read_card(out).provenance.cases] == ["synthetic_00001", "synthetic_00002"]


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        ("4", "leave none to train on"),
        ("9", "leave none"),
        ("half", r"takes a number.*no labeled case 'half'; there are: synthetic_00000, "),
        ("-1", "takes"),
        ("²", "takes a number"),
        (",", "takes"),
        ("synthetic_00001,organ", "no labeled case 'organ'"),
        (",".join(f"synthetic_{i:05d}" for i in range(4)), "leave none to train on"),
    ],
)
def test_validation_refused(dataset, out, validation, words):
    with pytest.raises(InputError, match=words):
        finetune(job(dataset, out, validation=validation))
    assert not out.parent.exists()


def test_comparing_holds_a_case_out_even_if_none_is_asked_for(pretrained, dataset, out):
    result = finetune(job(dataset, out, checkpoint=str(pretrained), compare_scratch=True, validation="0", steps=1))
    assert len(result.held_out) == 1


def test_there_is_nothing_to_compare_scratch_with(dataset, out):
    with pytest.raises(InputError, match="--compare-scratch compares a checkpoint"):
        finetune(job(dataset, out, compare_scratch=True))


def test_before_and_after_on_the_held_out_cases(segmenter, dataset, tmp_path, out):
    # The same classes in another order, one of them unknown here, under other numbers: names decide.
    card, weights = load(segmenter)
    torch.manual_seed(1)
    sharp = {n: torch.randn_like(t) * 5 if n.startswith("head.") else t for n, t in weights.items()}
    base = tmp_path / "base.safetensors"
    names = [label.name for label in card.labels]
    labels = (Label(3, names[1]), Label(9, names[0]), Label(1, names[2]))
    save(base, sharp, replace(card, labels=labels, one_piece=(3,)))
    told: list[dict] = []
    result = finetune(job(dataset, out, checkpoint=str(base), validation="2", steps=1), told.append)
    assert [c.name for c in result.before] == [c.name for c in result.held_out]
    assert any("before and" in getattr(e, "text", "") for e in told)
    for scored in result.before:
        path = dataset / "imagesTr" / f"{scored.name}.nii.gz"
        found = tmp_path / path.name
        segment(SegmentJob(checkpoint=str(base), input=(str(path),), output=str(found), precision="32", threads=1))
        predicted = sitk.GetArrayFromImage(sitk.ReadImage(str(found)))
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "labelsTr" / path.name)))
        for value, name in enumerate(names, start=1):
            ours = predicted == next(label.value for label in labels if label.name == name)
            overlap = 2 * (ours & (truth == value)).sum() / (ours.sum() + (truth == value).sum())
            assert scored.labels[name] == pytest.approx(overlap)
    assert any(dice > 0 for scored in result.before for dice in scored.labels.values())


def test_there_is_no_before_without_these_labels(pretrained, segmenter, dataset, tmp_path, out):
    card, weights = load(segmenter)
    other = tmp_path / "other.safetensors"
    save(other, weights, replace(card, labels=(Label(1, "another"), *card.labels[1:])))
    for given in ({"checkpoint": str(pretrained)}, {"checkpoint": str(other)}, {}):
        result = finetune(job(dataset, out, validation="1", steps=1, overwrite=True, **given))
        assert (result.before, len(result.held_out)) == (None, 1)
    assert finetune(job(dataset, out, checkpoint=str(segmenter), steps=1, overwrite=True)).before is None


def test_held_out_cases_are_not_listed_as_trained_on(dataset, out):
    finetune(job(dataset, out, validation="1"))
    origin = read_card(out).provenance
    assert (origin.case_count, len(origin.cases), origin.kept) == (3, 3, "best")
    assert origin.optimization["optimizer"] == "adamw"
