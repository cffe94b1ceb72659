"""Mean teacher: what is compared with what, the ramp, and the teacher's beginning."""

from dataclasses import replace

import pytest
import semi
import torch
from semi import batch

from contrastiveseg.methods.mean_teacher import MeanTeacher
from contrastiveseg.methods.semisupervised import TaughtSettings, labeled_count

SETTINGS = TaughtSettings(**semi.STILL)


def method(share: float = 0.5, dimensions: int = 3) -> MeanTeacher:
    return semi.method(MeanTeacher, SETTINGS, share, dimensions=dimensions)


def test_labeled_crops_come_first_and_are_counted():
    assert [labeled_count(batch(n, 3).labels) for n in (1, 2, 4)] == [1, 2, 4]


def test_a_student_that_sees_what_its_teacher_sees_is_consistent():
    terms = method().step(batch())
    assert terms["consistency"].item() == pytest.approx(0.0, abs=1e-9)


def test_consistency_is_about_unlabeled_crops_alone():
    made, given = method(), batch()
    wanted = torch.randn(2, 3, 8, 8, 8)
    made.taught = lambda images: wanted if torch.equal(images, given.images[2:]) else None
    found = made.segmenter(given.images[2:]).softmax(1)
    expected = (found - wanted.softmax(1)).square().mean()
    assert made.step(given)["consistency"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("share", "weight"), [(0.0, 6.7379e-4), (0.5, 0.1 * 2.718281828**-1.25), (1, 0.1)])
def test_the_weight_ramps_up(share, weight):
    assert method(share).unsupervised_weight == pytest.approx(weight, rel=1e-4)


def test_the_total_is_half_of_dice_and_cross_entropy_and_the_weighted_consistency():
    made = semi.method(MeanTeacher, replace(SETTINGS, deep_levels=0))
    made.taught = lambda images: torch.randn(2, 3, 8, 8, 8)
    terms = made.step(batch())
    expected = terms["dice_ce"] / 2 + made.unsupervised_weight * terms["consistency"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_teacher_begins_as_its_student_even_if_weights_came_later():
    made = method()
    for parameter in made.segmenter.parameters():
        parameter.data.normal_()
    given = batch()
    torch.testing.assert_close(made.taught(given.images), made.segmenter.eval()(given.images).float())


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_loss_falls(dimensions):
    assert semi.falls(method(dimensions=dimensions), batch(dimensions=dimensions), to=0.9)
