"""Supervised fine-tuning: in which intensities it shows a crop, and that it learns."""

from dataclasses import replace

import pytest
import semi
import torch

from contrastiveseg.data.augment_intensity import IntensitySettings, RandomRange
from contrastiveseg.data.augment_spatial import SpatialSettings
from contrastiveseg.errors import InputError
from contrastiveseg.methods.supervised import Supervised, SupervisedSettings
from contrastiveseg.planning.plan import Channel


@pytest.mark.parametrize("name", ["bias", "curve"])
@pytest.mark.parametrize(("modality", "expected"), [("MR", True), ("any", True), ("CT", False)])
def test_bias_fields_and_curves_are_not_for_hounsfield_units(modality, expected, name):
    certain = replace(getattr(IntensitySettings(), name), probability=1.0)
    changes = replace(semi.STILL["intensity"], **{name: certain})
    made = semi.method(Supervised, SupervisedSettings(**{**semi.STILL, "intensity": changes}))
    made.plan = replace(made.plan, channels=(Channel("image", modality),))
    images = semi.batch().images
    assert torch.equal(made.augment_intensity(images), images) != expected


@pytest.mark.parametrize(("modality", "expected"), [("MR", True), ("CT", False)])
def test_structures_are_shown_in_other_contrasts_but_not_in_hounsfield_units(modality, expected):
    shift = RandomRange(1.0, 0.5, 0.5)
    made = semi.method(Supervised, SupervisedSettings(**{**semi.STILL, "structures": shift}))
    made.plan = replace(made.plan, channels=(Channel("image", modality),))
    given = semi.batch(2, 0)
    images, labels = made.moved(given)
    assert torch.equal(labels, given.labels)
    change = images - given.images
    assert bool((change[:, 0][labels > 0] > 0.1).all()) == expected
    assert torch.equal(images, given.images) != expected


def test_moves_widen_with_the_steps():
    """Exactly the first ones in step 0, the late ones from ``late_from`` on, so that a short run never sees those."""
    first = SpatialSettings(flip=0.0, rotation=0.0, scale=(1.0, 1.0), translation=0.0)
    late = replace(first, rotation=90.0, scale=(0.5, 2.0))
    given_moves = {"spatial": first, "late_spatial": late, "late_from": 10}
    made = semi.method(Supervised, SupervisedSettings(**{**semi.STILL, **given_moves}))
    given = semi.batch(2, 0)

    def change(steps_done: int) -> float:
        torch.manual_seed(0)
        made.steps_done = steps_done
        return float((made.moved(given)[0] - given.images).abs().mean())

    assert change(0) < 1e-4 < change(1) < change(10)
    assert change(10) == change(1000)


@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf")])
def test_lower_levels_cannot_weigh_less_than_nothing(weight):
    with pytest.raises(InputError, match="deep_weight must be 0 or more"):
        SupervisedSettings(deep_weight=weight)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_loss_falls(dimensions):
    made = semi.method(Supervised, SupervisedSettings(**semi.STILL), dimensions=dimensions)
    assert semi.falls(made, semi.batch(4, 0, dimensions=dimensions), to=0.9)
