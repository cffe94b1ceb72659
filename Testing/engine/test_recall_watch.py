"""Structures that fine-tuning misses: noticed by their recall, helped, said, and kept in the card."""

from dataclasses import replace

import numpy as np
import pytest
import semi
import torch
from test_finetune import job
from test_finetuning_methods import METHODS, SMALL, folders  # noqa: F401 - a fixture

from contrastiveseg.checkpoints.describe import describe
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.events import Log
from contrastiveseg.methods import recall_watch
from contrastiveseg.methods.recall_watch import RecallWatch
from contrastiveseg.methods.registry import find_method
from contrastiveseg.methods.supervised import Supervised, SupervisedSettings
from contrastiveseg.training.finetune import finetune
from contrastiveseg.training.loop import train
from contrastiveseg.training.run import Budget, Run


def shown(watch: RecallWatch, steps: int, missed: int = 2) -> None:
    """``steps`` in which all voxels are found but those of one class, of which none is."""
    labels = torch.arange(3).repeat(8).view(1, 24)
    found = torch.nn.functional.one_hot(torch.where(labels == missed, 0, labels), 3).movedim(-1, 1).float()
    for _ in range(steps):
        watch.update(found, labels)


def network():
    return semi.method(Supervised, SupervisedSettings(**semi.STILL)).segmenter


def test_the_running_recall():
    watch = RecallWatch(3)
    shown(watch, 1)
    assert watch.recall.tolist() == [1, 1, 0]
    shown(watch, 9, missed=1)
    assert watch.seen.tolist() == [10, 10, 10]
    assert watch.recall.tolist() == pytest.approx([1, 0.1, 0.9], abs=1e-6)
    watch.update(torch.zeros(1, 3, 4), torch.tensor([[-1, -1, 2, 2]]))
    # Voxels without label do not count, classes that do not occur keep what they had.
    assert watch.seen.tolist() == [10, 10, 11]
    assert watch.recall.tolist() == pytest.approx([1, 0.1, 0.81], abs=1e-6)


def test_a_missed_structure_weighs_more_and_then_the_last_layers_begin_anew():
    watch, given = RecallWatch(3), network()
    head, level = given.head.weight.clone(), given.backbone.decoder[-1]
    first, others = next(level.parameters()).clone(), given.backbone.decoder[0].state_dict()
    others = {name: tensor.clone() for name, tensor in others.items()}
    shown(watch, 20)
    watch.intervene(given, 0.29)
    assert watch.weights.tolist() == [1, 1, 1]
    watch.intervene(given, 0.3)
    watch.intervene(given, 0.4)
    assert watch.weights.tolist() == [1, 1, 4]
    assert torch.equal(given.head.weight, head)
    watch.intervene(given, 0.5)
    assert not torch.equal(given.head.weight, head)
    assert not torch.equal(next(level.parameters()), first)
    assert all(torch.equal(given.backbone.decoder[0].state_dict()[name], tensor) for name, tensor in others.items())
    renewed = given.head.weight.clone()
    watch.intervene(given, 0.6)
    assert torch.equal(given.head.weight, renewed)
    assert watch.weights.tolist() == [1, 1, 4]
    said = watch.interventions(("wall", "chamber"))
    assert [text.split(" ")[0] for text in said] == ["chamber", "chamber"]
    assert "30% of the budget" in said[0]
    assert "begin anew (50% of the budget)" in said[1]


def test_what_is_found_or_was_hardly_shown_is_left_alone():
    watch, given = RecallWatch(3), network()
    before = given.head.weight.clone()
    shown(watch, 9)
    watch.intervene(given, 0.9)
    shown(watch, 40, missed=0)
    watch.intervene(given, 0.95)
    assert watch.interventions() == ()
    assert torch.equal(given.head.weight, before)


def test_processes_with_other_random_numbers_renew_alike():
    made = []
    for seed in (1, 2):
        given = network()
        torch.manual_seed(seed)
        recall_watch.renew(given, [0.8, 0.1, 0.1])
        made.append((given.head.weight.clone(), torch.rand(1)))
    assert torch.equal(made[0][0], made[1][0])
    assert made[0][1] != made[1][1]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_fine_tuning_watches_its_labeled_crops(name):
    cls = find_method("finetune", name)
    settings = cls.Settings(**semi.STILL | SMALL.get(name, {}))
    made, given = semi.method(cls, settings, share=0.6), semi.batch(2, 2 if cls.uses_unlabeled else 0)
    made(given)
    assert made.watch.seen.max() == 1
    # A weight on a class changes what the method minimizes.
    torch.manual_seed(0)
    plain = made.step(given)["loss"]
    made.watch.weights[2] = 4
    torch.manual_seed(0)
    assert made.step(given)["loss"] != plain


def test_an_intervention_is_logged_once_kept_in_the_card_and_resumed(dataset, tmp_path, monkeypatch):
    # A structure counts as missed whatever is found of it, and after the first step.
    monkeypatch.setattr(recall_watch, "_MISSED", 2.0)
    monkeypatch.setattr(recall_watch, "_LEAST", 1)
    told, output = [], tmp_path / "organs.safetensors"
    finetune(job(dataset, output, steps=8), told.append)
    warnings = [event.text for event in told if isinstance(event, Log) and event.level == "warning"]
    interventions = read_card(output).provenance.interventions
    assert interventions == tuple(text for text in warnings if "budget" in text)
    assert len(interventions) == len(set(interventions)) == 6
    assert interventions[0].startswith("chamber is hardly found yet: it weighs 4 times as much")
    assert "begin anew" in interventions[-1]
    assert f"intervened   {interventions[0]}" in describe(read_card(output))


@pytest.mark.parametrize("watching", [True, False])
def test_a_structure_that_is_never_predicted_is_found_with_the_watch_alone(monkeypatch, watching):
    if not watching:
        monkeypatch.setattr(recall_watch, "_WEIGHT_AT", 2.0)
    made = semi.method(Supervised, SupervisedSettings(**semi.STILL), share=0.0)
    with torch.no_grad():
        made.segmenter.head.bias[2] = -30
    made.draw = lambda source, random: semi.batch(2, 0)
    trained = train(made, None, replace(Supervised.optimization, ema=0.0), Run(Budget(steps=60), torch.device("cpu")))
    assert len(trained.interventions) == (2 if watching else 0)
    assert (made.watch.recall[2] > 0.3) == watching


def test_a_network_begins_with_the_square_root_of_how_often_each_class_occurs():
    given = network()
    given.set_prior([0.9, 0.1, 0.0])
    for head in (given.head, *given.auxiliary):
        expected = np.log(np.sqrt([0.9, 0.1, 1e-4]))
        assert head.bias.detach().numpy() == pytest.approx(expected, abs=1e-5)
