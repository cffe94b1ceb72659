"""Our own method: points at one place of two views attract, far ones repel, and the clean view is rebuilt."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from contrastiveseg import serialization
from contrastiveseg.contrast.geometry import sample
from contrastiveseg.data.augment_intensity import IntensitySettings, RandomRange
from contrastiveseg.data.augment_spatial import SpatialSettings
from contrastiveseg.data.batch import Batch
from contrastiveseg.errors import InputError
from contrastiveseg.methods import aligned as module
from contrastiveseg.methods.aligned import Aligned, AlignedSettings, far, point_contrast, positions_of
from contrastiveseg.methods.registry import find_method
from contrastiveseg.testing.steps import check_a_step_in_bfloat16, mean_of, parts_with_gradient, trained
from contrastiveseg.testing.volumes import ToyVolumes, toy_backbone, toy_plan

SMALL = AlignedSettings(width=16, points=64)
NEVER = IntensitySettings(*[RandomRange(0.0, 0.0, 0.0)] * 8)


def made(dimensions: int = 3, settings: AlignedSettings = SMALL) -> Aligned:
    return Aligned(toy_backbone(dimensions), toy_plan(dimensions), settings)


def stepped(aligned: Aligned, source: ToyVolumes | None = None) -> dict[str, torch.Tensor]:
    batch = aligned.draw(source or ToyVolumes(), np.random.default_rng(0))
    torch.manual_seed(1)
    return aligned.step(batch)


# Gradients


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("weights", "head"), [((1.0, 0.0), "head"), ((0.0, 1.0), "reconstruction")])
def test_each_term_reaches_the_whole_network(dimensions, weights, head):
    aligned = made(dimensions, replace(SMALL, weight_contrast=weights[0], weight_reconstruction=weights[1]))
    stepped(aligned)["loss"].backward()
    assert parts_with_gradient(aligned) == {"encoder", "decoder.0", "decoder.1", head}
    assert aligned.transferred == ("encoder", "decoder")


def test_total_is_the_weighted_sum():
    terms = {name: float(value.detach()) for name, value in stepped(made()).items()}
    assert set(terms) == {"loss", "contrast", "reconstruction", "damage"}
    assert terms["loss"] == pytest.approx(0.3 * terms["contrast"] + terms["reconstruction"], rel=1e-5)


# Geometry


@pytest.mark.parametrize("dimensions", [2, 3])
def test_both_views_are_looked_at_in_the_same_place(monkeypatch, dimensions):
    # A network that shows its input, over an image of coordinates: both views must give the same numbers.
    spatial = SpatialSettings(flip=0.5, rotation=5, scale=(0.9, 1.1), translation=0.05)
    settings = replace(SMALL, spatial=spatial, intensity=NEVER, lost=(0.0, 0.0), margin=2.0)
    aligned, seen = made(dimensions, settings), []
    axis = torch.linspace(-1, 1, 32) * 31 / 32
    ramps = torch.stack(torch.meshgrid(*[axis] * dimensions, indexing="ij"))
    monkeypatch.setattr(module, "sample", lambda maps, points: seen.append(sample(maps, points)) or seen[-1])
    aligned.backbone.encode = aligned.backbone.decode = lambda x: [x] if torch.is_tensor(x) else x
    aligned.head = aligned.reconstruction = torch.nn.Identity()
    positions, extents, one_data_set = torch.full((2, 3), 0.5), torch.ones(2, 3), torch.zeros(2, dtype=torch.int64)
    torch.manual_seed(0)
    aligned.step(Batch(ramps.expand(2, *ramps.shape), None, positions, extents, one_data_set, torch.arange(2)))
    first, second = seen[0].split(2)
    both = ((first.abs() < 0.3) & (second.abs() < 0.3)).all(-1)
    assert both.float().mean() > 0.1
    torch.testing.assert_close(first[both], second[both], atol=0.02, rtol=0)


def at(positions: list[list[float]], data_sets: list[int]) -> Batch:
    """Empty crops at ``positions`` that extend over half of their volumes."""
    count = len(positions)
    images, extents = torch.zeros(count, 1, 2, 2, 2), torch.full((count, 3), 0.5)
    return Batch(images, None, torch.tensor(positions), extents, torch.tensor(data_sets), torch.arange(count))


def test_positions_of_points_in_the_body():
    batch = at([[0.5, 0.5, 0.5], [0.25, 0.5, 0.5]], [0, 1])
    points = torch.tensor([[[0.0, 0.5, 1.0]], [[0.5, 0.5, 0.5]]])
    expected = torch.tensor([[[0.25, 0.5, 0.75]], [[0.25, 0.5, 0.5]]])
    torch.testing.assert_close(positions_of(points, batch, toy_plan()), expected)
    flat = positions_of(points[..., :2], batch, toy_plan(2))
    torch.testing.assert_close(flat[0], torch.tensor([[0.5, 0.25, 0.5]]))


def test_near_positions_do_not_repel_in_one_data_set():
    aligned = made()
    batch = at([[0.5, 0.5, 0.5], [0.55, 0.5, 0.5], [0.6, 0.5, 0.5], [0.5, 0.5, 0.5]], [0, 0, 0, 1])
    reach = aligned.reach(batch)
    assert torch.allclose(reach, torch.tensor(0.0625))
    apart = far(batch.positions[:, None], reach, batch.data_sets)
    expected = [[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]]
    assert apart.int().tolist() == expected
    slices = made(2).reach(at([[0.5, 0.5, 0.5]], [0]))
    torch.testing.assert_close(slices, torch.tensor([[0.125, 0.0625, 0.0625]]))


# The contrast


def test_hand_values():
    rows = torch.eye(2).view(1, 2, 2)
    seen, apart = torch.tensor([True, True]), torch.tensor([[False, True], [True, False]])
    expected = math.log(1 + math.exp(-1))
    assert point_contrast(rows, rows, seen, apart, 1.0).item() == pytest.approx(expected, abs=1e-6)
    assert point_contrast(rows, rows, seen, torch.zeros(2, 2, dtype=torch.bool), 1.0).item() == 0


def test_points_that_one_view_does_not_show_play_no_part():
    torch.manual_seed(0)
    first, second = torch.nn.functional.normalize(torch.randn(2, 1, 6, 3), dim=-1)
    seen, apart = torch.tensor([True] * 4 + [False] * 2), ~torch.eye(6, dtype=torch.bool)
    found = point_contrast(first, second, seen, apart, 0.1)
    alone = point_contrast(first[:, :4], second[:, :4], seen[:4], apart[:4, :4], 0.1)
    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(point_contrast(second, first, seen, apart, 0.1), found)


# The rest


def test_one_bad_voxel_does_not_spread():
    aligned = made()
    batch = aligned.draw(ToyVolumes(), np.random.default_rng(0))
    batch.images[0, 0, 5, 5, 5] = math.nan
    assert all(torch.isfinite(term) for term in aligned.step(batch).values())


def test_one_volume_is_enough():
    assert torch.isfinite(stepped(made(settings=replace(SMALL, batch=1)), ToyVolumes(1))["loss"])


def test_impossible_settings_are_refused():
    elastic = SpatialSettings(elastic=0.1)
    for wrong in ({"temperature": 0}, {"near": -1}, {"batch": 0}, {"lost": (0.5, 0.2)}, {"spatial": elastic}):
        with pytest.raises(InputError):
            AlignedSettings(**wrong)


def test_registered_and_settings_survive_json():
    assert find_method("pretrain", "aligned") is Aligned
    settings = replace(AlignedSettings(), near=0.2)
    assert serialization.from_json(AlignedSettings, serialization.to_json(settings)) == settings


def test_step_under_autocast():
    aligned = made()
    check_a_step_in_bfloat16(aligned, aligned.draw(ToyVolumes(), np.random.default_rng(0)))


def test_learns_in_a_few_steps():
    # Views with curves have less in common: without them 15 steps would do.
    seen = trained(made(), ToyVolumes(6), 25)
    assert mean_of(seen[-5:], "contrast") < 0.93 * mean_of(seen[:5], "contrast")
    assert mean_of(seen[-5:], "reconstruction") < 0.7 * mean_of(seen[:5], "reconstruction")
