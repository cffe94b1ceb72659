"""Trainings that are stopped: what they keep, what they say, and how they go on."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from test_finetune import job

from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.header import digest, read_card
from contrastiveseg.descriptions import PretrainJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Event, Metric, Stage, StageStarted
from contrastiveseg.training.beside import metrics_path, resume_path
from contrastiveseg.training.finetune import finetune
from contrastiveseg.training.pretrain import pretrain


def test_cancelling_keeps_the_weights_and_resuming_finishes_them(dataset, out, tmp_path):
    seen: list[Event] = []
    begun = job(dataset, out, steps=4, validation="1")

    def second_loss_seen() -> bool:
        return any(isinstance(e, Metric) and (e.name, e.step) == ("loss", 1) for e in seen)

    with pytest.raises(Cancelled, match=r"Stopped after 2 steps.*--resume") as stopped:
        finetune(begun, seen.append, second_loss_seen)
    assert stopped.value.exit_code == 130
    assert read_card(out).provenance.steps == 2
    assert resume_path(out).exists()
    finetune(replace(begun, resume=True))
    whole = tmp_path / "whole.safetensors"
    finetune(replace(begun, output=str(whole)))
    assert load(out)[1].keys() == load(whole)[1].keys()
    assert all(torch.equal(t, load(whole)[1][n]) for n, t in load(out)[1].items())
    curves = [[json.loads(line) for line in metrics_path(path).read_text().splitlines()] for path in (out, whole)]
    scores = [[(line["step"], line.get("validation_dice")) for line in curve] for curve in curves]
    assert scores[0] == scores[1], "also that of the step after which the run was cancelled"
    assert {p.name for p in out.parent.iterdir()} == {out.name, metrics_path(out).name}


def test_cancelling_the_comparison_says_that_the_model_is_finished(pretrained, dataset, out):
    seen: list[Event] = []
    with pytest.raises(Cancelled, match=r"organs\.safetensors is finished"):
        finetune(
            job(dataset, out, checkpoint=str(pretrained), compare_scratch=True),
            seen.append,
            lambda: StageStarted(Stage.TRAIN_FROM_SCRATCH) in seen,
        )
    assert read_card(out).provenance.steps == 2


def test_cancelling_before_the_first_step_writes_no_checkpoint(dataset, out):
    seen: list[Event] = []
    with pytest.raises(Cancelled, match="before the first step"):
        finetune(job(dataset, out), seen.append, lambda: StageStarted(Stage.TRAIN) in seen)
    assert not out.exists()


def test_cancelling_while_validating_keeps_the_best_so_far(dataset, out):
    """Cancelled in the last of ten validations, which follows the last step at once: the best of the nine is kept."""
    seen: list[Event] = []

    def cancelled() -> bool:
        return any(isinstance(e, Metric) and e.name == "loss" and e.step == 9 for e in seen)

    with pytest.raises(Cancelled, match=r"holds the best weights so far"):
        finetune(job(dataset, out, steps=10, validation="1"), seen.append, cancelled)
    scores = [e.value for e in seen if isinstance(e, Metric) and e.name == "validation_dice"]
    assert len(scores) == 9
    assert (read_card(out).kind, read_card(out).provenance.kept) == ("segmenter", "best")


def test_cancelling_while_scoring_leaves_the_finished_checkpoint(dataset, out):
    seen: list[Event] = []
    with pytest.raises(Cancelled, match=r"Stopped while scoring.*organs\.safetensors is finished") as stopped:
        finetune(job(dataset, out, validation="2"), seen.append, lambda: StageStarted(Stage.SCORE) in seen)
    assert stopped.value.exit_code == 130
    assert read_card(out).provenance.steps == 2
    assert read_card(out).provenance.scores == {}


def test_a_checkpoint_for_pre_training_resumes_too(dataset, tmp_path):
    def begin(name: str, **more) -> PretrainJob:
        output = str(tmp_path / f"{name}.safetensors")
        return PretrainJob(images=(str(dataset),), output=output, steps=3, precision="32", threads=1, **more)

    seen: list[Event] = []
    with pytest.raises(Cancelled, match=r"Stopped after 1 step\."):
        pretrain(begin("parts"), seen.append, lambda: any(isinstance(e, Metric) and e.name == "loss" for e in seen))
    (tmp_path / "parts.safetensors").unlink()
    with pytest.raises(InputError, match=r"interrupted run\. Add --resume"):
        pretrain(begin("parts"))
    pretrain(begin("parts", resume=True))
    pretrain(begin("whole"))
    (parts, whole) = (load(tmp_path / f"{n}.safetensors")[1] for n in ("parts", "whole"))
    assert all(torch.equal(t, parts[n]) for n, t in whole.items())
    with pytest.raises(InputError, match="nothing to resume"):
        pretrain(begin("parts", resume=True))


def test_pre_training_stopped_before_its_first_step_leaves_no_checkpoint(dataset, tmp_path):
    output, seen = tmp_path / "none.safetensors", []
    job = PretrainJob(images=(str(dataset),), output=str(output), steps=3, precision="32", threads=1)
    with pytest.raises(Cancelled, match="no checkpoint was written"):
        pretrain(job, seen.append, lambda: StageStarted(Stage.TRAIN) in seen)
    assert not output.exists()
    assert not resume_path(output).exists()


def test_tuning_in_place_that_is_stopped_leaves_the_checkpoint_and_goes_on_from_it(segmenter, dataset, out):
    out.parent.mkdir()
    shutil.copy(segmenter, out)
    before, seen = digest(out), list[Event]()
    given = job(dataset, out, checkpoint=str(out), steps=3, overwrite=True)

    def two_steps() -> bool:
        return len({event.step for event in seen if isinstance(event, Metric)}) >= 2

    with pytest.raises(Cancelled, match="is left as it was; --resume goes on"):
        finetune(given, seen.append, two_steps)
    assert digest(out) == before
    again, original = replace(given, overwrite=False, resume=True), out.read_bytes()
    card, weights = load(out)
    save(out, {name: tensor + 1 for name, tensor in weights.items()}, card)
    with pytest.raises(InputError, match="its checkpoint, volumes or label maps were added or changed"):
        finetune(again)
    out.write_bytes(original)
    assert finetune(again).steps == 3
    assert read_card(out).provenance.base == before != digest(out)
