"""CVRL-style fine-tuning: the class contrast by hand, who teaches whom, and labels that must not matter."""

import math

import pytest
import semi
import torch
from semi import batch

from ContrastiveSegLib.errors import InputError
from ContrastiveSegLib.methods.cvrl_semisupervised import (
    CVRLTuning,
    CVRLTuningSettings,
    class_contrast,
    trusted,
)

SETTINGS = CVRLTuningSettings(**semi.STILL, width=8, voxels=16)


def method(share: float = 0.5, dimensions: int = 3, **changes) -> CVRLTuning:
    settings = CVRLTuningSettings(**(semi.STILL | {"width": 8, "voxels": 16} | changes))
    return semi.method(CVRLTuning, settings, share, dimensions=dimensions)


def by_hand(rows, keys, classes, temperature):
    """The definition, voxel by voxel."""
    a, k = (torch.nn.functional.normalize(x, dim=1) for x in (rows, keys))
    losses = []
    for u, c in enumerate(classes.tolist()):
        if c < 0:
            continue
        mean = torch.nn.functional.normalize(k[classes == c].sum(0), dim=0)
        attracted = (math.exp(a[u] @ k[u] / temperature) + math.exp(a[u] @ mean / temperature)) / 2
        repelled = sum(math.exp(a[u] @ k[q] / temperature) for q, d in enumerate(classes.tolist()) if d not in (c, -1))
        losses.append(-math.log(attracted / (attracted + repelled)))
    return sum(losses) / len(losses)


def test_class_contrast_equals_its_definition():
    torch.manual_seed(0)
    rows, keys = torch.randn(2, 9, 4, dtype=torch.float64)
    classes = torch.tensor([0, 0, 1, 2, 2, 2, -1, -1, 1])
    found = class_contrast(rows, keys, classes, 0.5)
    assert found.item() == pytest.approx(by_hand(rows, keys, classes, 0.5), abs=1e-8)


def test_voxels_without_class_play_no_part():
    torch.manual_seed(0)
    rows, keys = torch.randn(2, 6, 4, dtype=torch.float64)
    classes = torch.tensor([0, 1, 1, -1, 0, -1])
    known = classes >= 0
    alone = class_contrast(rows[known], keys[known], classes[known], 0.1)
    torch.testing.assert_close(class_contrast(rows, keys, classes, 0.1), alone)
    nothing = class_contrast(rows.requires_grad_(), keys, torch.full((6,), -1), 0.1)
    nothing.backward()
    assert nothing.item() == 0


def test_one_class_alone_has_no_negatives():
    rows, keys = torch.randn(2, 5, 4, dtype=torch.float64)
    assert class_contrast(rows, keys, torch.ones(5, dtype=torch.long), 0.1).item() == pytest.approx(0, abs=1e-9)


def test_the_teacher_names_unlabelled_voxels_it_is_sure_of():
    labels = torch.tensor([[2, 0], [-1, -1]])
    probabilities = torch.tensor([[[0.0, 0.0], [1, 1]], [[0.95, 0.6], [0.05, 0.4]]])
    assert trusted(labels, probabilities, 0.9).tolist() == [[2, 0], [0, -1]]


def test_terms_add_up():
    made = method(beta_low=0.2, beta_high=0.3, lambda_dimension=0.0, deep_levels=0)
    terms = {name: float(value.detach()) for name, value in made.step(batch()).items()}
    total = terms["dice_ce"] + made.unsupervised_weight * terms["consistency"]
    total += 0.2 * terms["volume"] + 0.3 * terms["voxel"]
    assert terms["consistency"] == pytest.approx(0, abs=1e-9)
    assert terms["loss"] == pytest.approx(total, rel=1e-4)


def test_everything_but_the_teacher_learns():
    made = method(deep_levels=0)
    made.step(batch())["loss"].backward()
    for name, parameter in made.named_parameters():
        reached = parameter.grad is not None and parameter.grad.abs().max() > 0
        assert reached != name.startswith("teacher"), name


def test_it_trains_without_unlabelled_volumes():
    assert torch.isfinite(method().step(batch(4, 0))["loss"])


def test_keys_join_the_queue_after_the_step():
    made, given = method(), batch()
    made.step(given)
    assert int(made.queue.written) == 0
    made.after_step()
    assert made.queue.ids[: len(given.cases)].tolist() == given.cases.tolist()


def test_impossible_settings_are_refused():
    for wrong in ({"temperature": 0}, {"confidence": 2.0}, {"queue": 0}):
        with pytest.raises(InputError):
            CVRLTuningSettings(**wrong)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_loss_falls(dimensions):
    assert semi.falls(method(dimensions=dimensions), batch(dimensions=dimensions), steps=25, to=0.9)
