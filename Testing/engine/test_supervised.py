"""Supervised fine-tuning: in which intensities it shows a crop, and that it learns."""

from dataclasses import replace

import pytest
import semi
import torch

from ContrastiveSegLib.methods.supervised import Supervised, SupervisedSettings
from ContrastiveSegLib.volumes.augment import Chance, IntensitySettings
from ContrastiveSegLib.volumes.plan import Channel


@pytest.mark.parametrize(("modality", "expected"), [("MR", True), ("any", True), ("CT", False)])
def test_bias_fields_are_not_for_hounsfield_units(modality, expected):
    changes = IntensitySettings(**{**vars(semi.STILL["intensity"]), "bias": Chance(1.0, 0.5, 0.5)})
    made = semi.method(Supervised, SupervisedSettings(**{**semi.STILL, "intensity": changes}))
    made.plan = replace(made.plan, channels=(Channel("image", modality),))
    images = semi.batch().images
    assert torch.equal(made.changed(images), images) != expected


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_loss_falls(dimensions):
    made = semi.method(Supervised, SupervisedSettings(**semi.STILL), dimensions=dimensions)
    assert semi.falls(made, semi.batch(4, 0, dimensions=dimensions), to=0.9)
