"""Contrast by synthetic labels against its specification, section 6."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from contrastiveseg import serialization
from contrastiveseg.data.augment_spatial import SpatialSettings
from contrastiveseg.data.batch import Batch
from contrastiveseg.errors import InputError
from contrastiveseg.methods import synthetic_labels as module
from contrastiveseg.methods.registry import find_method
from contrastiveseg.methods.synthetic_labels import SyntheticLabels, SyntheticLabelsSettings
from contrastiveseg.planning.plan import Channel
from contrastiveseg.synthetic.label_maps import ShapeSettings
from contrastiveseg.testing.steps import check_a_step_in_bfloat16, mean_of, parts_with_gradient, trained
from contrastiveseg.testing.volumes import ToyVolumes, toy_backbone, toy_plan

SMALL = SyntheticLabelsSettings(points=64, projection=16, hidden=16, maps=2)
STILL = SpatialSettings(probability=0.0, flip=0.0)


def made(dimensions: int = 3, settings: SyntheticLabelsSettings = SMALL, size: int = 16) -> SyntheticLabels:
    return SyntheticLabels(toy_backbone(dimensions), toy_plan(dimensions, size), settings)


def drawn(method: SyntheticLabels, source: ToyVolumes | None = None, seed: int = 0) -> Batch:
    return method.draw(source or ToyVolumes(), np.random.default_rng(seed))


def loss_of(method: SyntheticLabels, batch: Batch, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return method.step(batch)


# Values (tests 1 and 2)


class Same(torch.nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows


def test_hand_value_of_a_level():
    """Two labels of two cells each, embeddings at right angles: the classes' means are e^(1/T) and e^0."""
    method = made(2, replace(SMALL, points=4, temperature=0.5))
    labels = torch.tensor([[[1, 1], [2, 2]]])
    told = torch.tensor([[[[1.0, 1], [0, 0]], [[0, 0], [1, 1]]]]).repeat(2, 1, 1, 1)
    expected = math.log(1 + math.exp(-2))
    assert float(method.contrast(Same(), told, labels)) == pytest.approx(expected, abs=1e-6)
    # Embeddings that tell nothing leave the number of labels.
    assert float(method.contrast(Same(), torch.ones(2, 2, 2, 2), labels)) == pytest.approx(math.log(2), abs=1e-6)
    # The second rendering says the opposite: of an anchor's three positives one lies like it, and so do half of the
    # others.
    crossed = torch.cat([told[:1], told[1:].flip(1)])
    own = math.log((math.exp(2) + 2) / 3 + (2 * math.exp(2) + 2) / 4) - 2 / 3
    assert float(method.contrast(Same(), crossed, labels)) == pytest.approx(own, abs=1e-6)


def test_volumes_are_apart():
    """Features that name the volume and nothing else tell no label: the same value as with features all alike."""
    method = made(2, replace(SMALL, points=4))
    labels = torch.tensor([[[1, 1], [2, 2]]]).repeat(3, 1, 1)
    features = torch.eye(3).view(3, 3, 1, 1).expand(3, 3, 2, 2).repeat(2, 1, 1, 1)
    assert float(method.contrast(Same(), features, labels)) == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_cell_has_the_label_at_its_place(dimensions, monkeypatch):
    method = made(dimensions)
    labels = torch.randint(1, 5, (2, *[4] * dimensions))
    fine = labels
    for axis in range(1, dimensions + 1):
        fine = fine.repeat_interleave(4, axis)
    seen = []
    monkeypatch.setattr(module, "balanced_cells", lambda known, most: seen.append(known) or known.new_zeros(2, 3))
    method.contrast(Same(), torch.zeros(4, 3, *[4] * dimensions), fine)
    assert torch.equal(seen[0], labels.flatten(1))


# Gradients (test 3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_part_gets_a_gradient(dimensions):
    method = made(dimensions)
    loss_of(method, drawn(method))["loss"].backward()
    assert parts_with_gradient(method) == {"encoder", "decoder.0", "decoder.1", "heads"}
    assert [n for n, p in method.named_parameters() if p.grad is None] == []


def test_terms_are_the_levels():
    method = made()
    terms = loss_of(method, drawn(method))
    assert set(terms) == {"loss", "level_0", "level_1"}
    assert float(terms["loss"].detach()) == pytest.approx(float(terms["level_0"] + terms["level_1"]) / 2, rel=1e-6)


# Drawing (test 4)


def test_patches_of_many_sizes_and_about_as_many_voxels():
    method = made(size=32)
    seen = {tuple(drawn(method, seed=s).images.shape) for s in range(60)}
    sides = {side for shape in seen for side in shape[2:]}
    assert sides == {16, 20, 24, 28, 32}
    assert all(0.6 < math.prod(shape) / (2 * 32**3) <= 1.4 for shape in seen)
    assert {tuple(drawn(made(settings=replace(SMALL, smallest=1.0)), seed=s).images.shape) for s in range(9)} == {
        (2, 1, 16, 16, 16)
    }


@pytest.mark.parametrize("dimensions", [2, 3])
def test_label_maps_of_volumes_and_empty_ones(dimensions):
    method = made(dimensions, replace(SMALL, random_shapes=0.5, smallest=1.0, maps=20))
    batch = drawn(method)
    assert batch.images.shape == (20, 1, *[16] * dimensions)
    assert not batch.images.any(), "no image is ever read"
    assert batch.labels.shape == (20, *[24] * dimensions)
    empty = batch.cases < 0
    assert 4 <= int(empty.sum()) <= 16
    assert not batch.labels[empty].any()
    assert batch.labels[~empty].flatten(1).any(1).sum() >= 3
    assert (drawn(method, ToyVolumes(labeled=())).cases == -1).all()
    assert set(drawn(method, ToyVolumes(labeled=(2,))).cases.tolist()) == {-1, 2}


def test_a_volume_smaller_than_the_crop_is_continued():
    method = made(settings=replace(SMALL, random_shapes=0.0, smallest=1.0))
    source = ToyVolumes(shape=(12, 40, 40))
    source.labels = [np.full((12, 40, 40), 3, np.int16)] * 4
    assert (drawn(method, source).labels == 3).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_label_maps_have_no_empty_part(dimensions):
    method = made(dimensions)
    batch = drawn(method)
    torch.manual_seed(0)
    labels = method.label_maps(batch)
    assert labels.shape == (len(batch.images), *batch.images.shape[2:])
    assert (labels > 0).all()


def test_two_renderings_of_one_map_and_channels_of_their_own():
    still = replace(SMALL, spatial=STILL, shapes=ShapeSettings(painted=(0, 0)))
    plan = replace(toy_plan(), channels=(Channel("a"), Channel("b")))
    method = SyntheticLabels(toy_backbone(), plan, still)
    labels = torch.randint(1, 6, (2, 16, 16, 16))
    images = method.rendered(labels)
    assert images.shape == (2, 2, 16, 16, 16)
    assert not torch.allclose(images[:, 0], images[:, 1], atol=0.1)
    assert not torch.allclose(images, method.rendered(labels), atol=0.1)


# Randomness, learning (tests 5 and 6)


def test_the_same_seed_is_the_same_step():
    method = made()
    first, again, other = drawn(method, seed=3), drawn(method, seed=3), drawn(method, seed=4)
    assert torch.equal(first.labels, again.labels)
    assert first.labels.shape != other.labels.shape or not torch.equal(first.labels, other.labels)
    losses = [float(loss_of(method, first, seed)["loss"].detach()) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_falls_on_a_fixed_batch():
    method = made(settings=replace(SMALL, smallest=1.0))
    batch = drawn(method)
    optimizer = torch.optim.AdamW(method.parameters(), 2e-3)
    seen = []
    for _ in range(30):
        loss = loss_of(method, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < 0.6 * seen[0]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_learns_in_a_few_steps(dimensions):
    seen = trained(made(dimensions, replace(SMALL, maps=4)), ToyVolumes(), 40)
    assert mean_of(seen[-10:], "loss") < 0.95 * mean_of(seen[:10], "loss")


# The rest


def test_impossible_settings_are_refused():
    wrong = ({"temperature": 0}, {"smallest": 0}, {"random_shapes": 1.5}, {"margin": 0.5}, {"points": 1}, {"maps": 0})
    for given in wrong:
        with pytest.raises(InputError):
            SyntheticLabelsSettings(**given)


def test_registered_and_settings_survive_json():
    assert find_method("pretrain", "synthetic-labels") is SyntheticLabels
    settings = replace(SyntheticLabelsSettings(), temperature=0.2, shapes=ShapeSettings(painted=(1, 2)))
    assert serialization.from_json(SyntheticLabelsSettings, serialization.to_json(settings)) == settings
    assert made().transferred == ("encoder", "decoder")


def test_step_under_autocast():
    method = made()
    check_a_step_in_bfloat16(method, drawn(method))
