"""Bidirectional copy-paste: what is pasted where, what each region costs, and who learns."""

from dataclasses import replace

import pytest
import semi
import torch
from semi import batch
from test_loss_formulas import by_hand

from contrastiveseg.methods.bcp import BCP, BCPSettings

SETTINGS = BCPSettings(**semi.STILL)


def method(share: float = 0.5, dimensions: int = 3, settings: BCPSettings = SETTINGS) -> BCP:
    return semi.method(BCP, settings, share, dimensions=dimensions)


def watched(made: BCP) -> dict:
    """What the network gets and what its answer is compared with, at the next step."""
    seen = {}
    plain = made.segmenter.forward_deep

    def forward_deep(images):
        seen["images"] = images.clone()
        return plain(images)

    made.segmenter.forward_deep = forward_deep
    return seen


def test_every_mixed_crop_is_one_crop_with_a_box_of_the_other():
    made, given = method(), batch()
    seen = watched(made)
    made.step(given)
    box = 125  # round(8 * 2 / 3) = 5 voxels an axis
    ours, theirs = given.images[:2], given.images[2:]
    for mixed, outside, inside in ((seen["images"][:2], ours, theirs), (seen["images"][2:], theirs, ours)):
        assert (mixed == inside).flatten(1).sum(1).tolist() == [box, box]
        assert ((mixed == inside) | (mixed == outside)).all()


def test_the_first_part_of_the_budget_pastes_labeled_crops_alone():
    made, given = method(share=0.0), batch()
    seen = watched(made)
    terms = made.step(given)
    assert len(seen["images"]) == 2
    assert "pseudo" not in terms
    assert torch.isin(seen["images"], given.images[:2]).all()


def test_the_pseudo_labels_are_the_teachers():
    """With a teacher that says "class 1 everywhere", a student that agrees pays nothing for the pasted regions."""
    made = method()
    made.taught = lambda images: torch.tensor([0.0, 9.0, 0.0]).view(1, 3, 1, 1, 1).expand(len(images), 3, 8, 8, 8)
    agreeing = torch.tensor([-30.0, 30.0, -30.0]).view(1, 3, 1, 1, 1).expand(4, 3, 8, 8, 8)
    made.segmenter.forward_deep = lambda images: [agreeing]
    # Class 2 is nowhere, in truth and prediction, which costs nothing either.
    assert made.step(batch())["pseudo"].item() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_loss_is_that_of_both_kinds_of_voxels(dimensions):
    """Section 3 of the specification, voxel by voxel, with answers that do not depend on what is seen."""
    made, given = method(dimensions=dimensions, settings=replace(SETTINGS, deep_levels=0)), batch(dimensions=dimensions)
    shape, box = [semi.SIDE] * dimensions, torch.zeros([semi.SIDE] * dimensions, dtype=torch.bool)
    box[2:7, 1:6] = True
    made._box = lambda shape: box
    answers, taught = torch.randn(4, 3, *shape), torch.randn(2, 3, *shape)
    made.segmenter.forward_deep, made.taught = lambda images: [answers], lambda images: taught
    own, others = given.labels[:2], taught.argmax(1)
    targets = torch.cat([torch.where(box, others, own), torch.where(box, own, others)])
    labeled = torch.stack([~box, ~box, box, box])
    expected = 0.0
    for region, weight in ((labeled, 1.0), (~labeled, 0.5)):
        entropy, dice, _ = by_hand(answers.double(), targets, [1.0] * 3, region, None)
        expected += weight * (entropy + dice)
    assert made.step(given)["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_pieces_beside_the_largest_can_be_dropped(dimensions):
    shape = [semi.SIDE] * dimensions
    found = torch.zeros(2, *shape, dtype=torch.long)
    found[:, :2], found[:, 4], found[0, 6:, 6:] = 1, 2, 1
    kept = found.clone()
    kept[0, 6:, 6:] = 0
    for largest, expected in ((False, found), (True, kept)):
        made = method(dimensions=dimensions, settings=replace(SETTINGS, largest_component=largest))
        made.taught = lambda images: torch.nn.functional.one_hot(found, 3).movedim(-1, 1).float()
        assert torch.equal(made._pseudo_labels(torch.zeros(2, 1, *shape)), expected)


def test_the_teacher_follows_and_is_never_trained():
    made = method()
    made.step(batch())["loss"].backward()
    assert all(p.grad is None for p in made.teacher.parameters())
    assert all(p.grad is not None for p in made.segmenter.parameters())
    for parameter in made.segmenter.parameters():
        parameter.data.add_(1.0)
    before = [p.clone() for p in made.teacher.network.parameters()]
    made.after_step()
    moved = [(a - b).abs().sum() for a, b in zip(made.teacher.network.parameters(), before, strict=True)]
    assert all(m > 0 for m in moved)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("labeled", "unlabeled"), [(2, 2), (1, 2), (2, 0)])
def test_the_loss_falls(labeled, unlabeled, dimensions):
    assert semi.falls(method(dimensions=dimensions), batch(labeled, unlabeled, dimensions), to=0.9)
