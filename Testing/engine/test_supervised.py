"""Supervised fine-tuning: in which intensities it shows a crop, and that it learns."""

from dataclasses import replace

import pytest
import semi
import torch

from contrastiveseg.data.augment_intensity import IntensitySettings
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


@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf")])
def test_lower_levels_cannot_weigh_less_than_nothing(weight):
    with pytest.raises(InputError, match="deep_weight must be 0 or more"):
        SupervisedSettings(deep_weight=weight)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_loss_falls(dimensions):
    made = semi.method(Supervised, SupervisedSettings(**semi.STILL), dimensions=dimensions)
    assert semi.falls(made, semi.batch(4, 0, dimensions=dimensions), to=0.9)
