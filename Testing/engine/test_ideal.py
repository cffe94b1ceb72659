"""IDEAL-style pre-training against its specification, section 8 (values and matching are tested with the parts)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from key_encoder import check_the_key_encoder_follows

from contrastiveseg import serialization
from contrastiveseg.data.augment_intensity import IntensitySettings, RandomRange
from contrastiveseg.data.augment_spatial import SpatialSettings
from contrastiveseg.data.batch import Batch
from contrastiveseg.errors import InputError
from contrastiveseg.methods import ideal as module
from contrastiveseg.methods.configuration import method_settings
from contrastiveseg.methods.ideal import IDEAL, IDEALSettings
from contrastiveseg.methods.registry import find_method
from contrastiveseg.networks.segmenter import load_transferred
from contrastiveseg.testing.steps import (
    changed,
    check_a_step_in_bfloat16,
    copied,
    mean_of,
    parts_with_gradient,
    trained,
)
from contrastiveseg.testing.volumes import ToyVolumes, toy_backbone, toy_plan

SMALL = IDEALSettings(projection=16, others=64)
STILL = SpatialSettings(probability=0.0, flip=0.0)
NEVER = IntensitySettings(*[RandomRange(0.0, 0.0, 0.0)] * 8)


def made(dimensions: int = 3, settings: IDEALSettings = SMALL, size: int = 16) -> IDEAL:
    return IDEAL(toy_backbone(dimensions), toy_plan(dimensions, size), settings)


def stepped(ideal: IDEAL, source: ToyVolumes | None = None, share: float = 1.0) -> dict[str, torch.Tensor]:
    batch = ideal.draw(source or ToyVolumes(), np.random.default_rng(0))
    torch.manual_seed(1)
    ideal.progress = share
    return ideal.step(batch)


# Gradients and keys (tests 3 and 4)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("key", ["ema", "shared"])
@pytest.mark.parametrize("negatives", ["batch", "queue"])
def test_gradients(dimensions, key, negatives):
    ideal = made(dimensions, replace(SMALL, key=key, negatives=negatives), size=32 if dimensions == 2 else 16)
    stepped(ideal)["loss"].backward()
    assert parts_with_gradient(ideal) == {"encoder", "head"}
    assert all(p.grad is None and not p.requires_grad for n, p in ideal.named_parameters() if n.startswith("teacher"))
    assert not any(p.requires_grad for p in ideal.backbone.decoder.parameters())
    assert hasattr(ideal, "teacher") == (key == "ema")


def test_both_views_of_a_shared_encoder_get_gradients_and_may_be_swapped():
    ideal = made(settings=replace(SMALL, key="shared", others=10**6, match="geometric", spatial=STILL, intensity=NEVER))
    maps = torch.randn(8, 32, 4, 4, 4, requires_grad=True)
    ideal.backbone.encode = lambda images: [None, None, maps]
    loss = stepped(ideal)["loss"]
    gradient = torch.autograd.grad(loss, maps)[0]
    assert (gradient.flatten(1).abs().amax(1) > 0).all()
    swapped = maps.detach().roll(4, 0)
    ideal.backbone.encode = lambda images: [None, None, swapped]
    torch.testing.assert_close(stepped(ideal)["loss"], loss)


def test_the_teacher_follows():
    check_the_key_encoder_follows(made(), SMALL.momentum)


def test_pooled_keys_of_other_volumes_join_the_queue():
    ideal = made(settings=replace(SMALL, negatives="queue"))
    trained(ideal, ToyVolumes(), 2)
    assert int(ideal.queue.written) == 2 * 2 * ideal.settings.batch
    assert set(ideal.queue.ids[:16].tolist()) == {0, 1, 2, 3}
    plain = made()
    trained(plain, ToyVolumes(), 1)
    assert int(plain.queue.written) == 0


# Matching (tests 2 and 5)


def test_views_that_are_equal_match_themselves():
    ideal = made(settings=replace(SMALL, spatial=STILL, intensity=NEVER))
    assert float(stepped(ideal)["agreement"]) == 1.0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_matches_show_the_same_place(monkeypatch, dimensions):
    # An encoder that shows where in the crop a cell lies: the cell most like it in the other view is the same place.
    moves = SpatialSettings(flip=0.5, rotation=15, scale=(1.0, 1.25), translation=0.1)
    settings = replace(SMALL, key="shared", match="geometric", spatial=moves, intensity=NEVER)
    ideal, seen = made(dimensions, settings, size=32 if dimensions == 2 else 16), []
    axis = torch.linspace(-1, 1, 2 * ideal.plan.patch_shape[0])
    ramps = torch.stack(torch.meshgrid(*[axis] * dimensions, indexing="ij")).expand(4, *[-1] * (dimensions + 1))
    pool = getattr(torch.nn.functional, f"avg_pool{dimensions}d")

    def encode(images: torch.Tensor) -> list:
        # Put on a sphere, so that cosines tell distances.
        cells = pool(images, 4)
        return [None, None, torch.cat([cells, (3 - cells.square().sum(1, keepdim=True)).sqrt()], 1)]

    ideal.backbone.encode, ideal.head, contrast = encode, torch.nn.Identity(), module.dense_contrast
    monkeypatch.setattr(module, "dense_contrast", lambda *given: seen.append(given[:3]) or contrast(*given))
    torch.manual_seed(0)
    one_data_set = torch.zeros(4, dtype=torch.int64)
    terms = ideal.step(Batch(ramps, None, torch.full((4, 3), 0.5), torch.ones(4, 3), one_data_set, torch.arange(4)))
    assert float(terms["agreement"]) > 0.98
    queries, keys, match = seen[0]
    attracted = keys.gather(1, match.clamp_min(0).unsqueeze(-1).expand(-1, -1, keys.shape[-1]))
    apart = (queries - attracted)[match >= 0][:, :dimensions].abs()
    # A cell is 4 voxels long.
    assert float(apart.max()) < 4 * float(axis[1] - axis[0])
    assert (match >= 0).float().mean() > 0.5


def test_geometry_matches_first_and_features_later(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "by_features", lambda q, k: torch.full(q.shape[:2], 5))
    contrast = module.dense_contrast
    monkeypatch.setattr(
        module, "dense_contrast", lambda q, k, match, *rest: seen.append(match) or contrast(q, k, match, *rest)
    )
    for share, match, by_features in ((0.2, "features", False), (0.3, "features", True), (0.3, "geometric", False)):
        stepped(made(settings=replace(SMALL, match=match)), share=share)
        assert bool((seen[-1] == 5).all()) == by_features


def test_encoder_features_are_matched_and_not_projections(monkeypatch):
    seen = []
    by_features = module.by_features
    monkeypatch.setattr(module, "by_features", lambda q, k: seen.append((q, k)) or by_features(q, k))
    ideal = made()
    stepped(ideal)
    width = ideal.backbone.channels[ideal.level]
    assert width != SMALL.projection
    assert [x.shape[-1] for x in seen[0]] == [width, width]


def test_one_direction_and_many_cells():
    ideal = made(settings=replace(SMALL, swap=False, most=10, queries=7))
    assert torch.isfinite(stepped(ideal)["loss"])


# Shapes (test 6)


def test_the_head_keeps_the_grid():
    for head in ("linear", "mlp"):
        ideal = made(settings=replace(SMALL, head=head))
        maps = torch.randn(1, 32, 4, 4, 4)
        out = ideal.head(maps)
        assert out.shape == (1, 16, 4, 4, 4)
        order = torch.randperm(64)
        mixed = ideal.head(maps.flatten(2)[..., order].view_as(maps))
        torch.testing.assert_close(mixed.flatten(2), out.flatten(2)[..., order])


def test_small_maps_are_replaced_by_the_level_above():
    assert made(size=16).level == 2
    assert made(size=8).level == 1
    assert torch.isfinite(stepped(made(size=8))["loss"])


# Transfer (test 8) and the rest


def test_the_encoder_alone_is_trained_and_transferred():
    ideal = made()
    before = copied(ideal.backbone)
    trained(ideal, ToyVolumes(), 2)
    assert all(name.startswith("encoder.") for name in changed(before, ideal.backbone))
    assert ideal.transferred == ("encoder",)
    target = toy_backbone(seed=5)
    fresh = copied(target)
    load_transferred(target, ideal.backbone.state_dict(), ideal.transferred)
    for name, tensor in target.state_dict().items():
        expected = ideal.backbone.state_dict() if name.startswith("encoder.") else fresh
        assert torch.equal(tensor, expected[name]), name


def test_impossible_settings_are_refused():
    for wrong in ({"temperature": 0}, {"momentum": 1.0}, {"batch": 0}, {"start_up": 2}, {"radius": -1}, {"most": 0}):
        with pytest.raises(InputError):
            IDEALSettings(**wrong)
    with pytest.raises(InputError, match=r"settings\.spatial\.elastic must be 0, not 0\.1: places of one view"):
        method_settings(IDEAL, {"spatial.elastic": 0.1})


def test_registered_and_settings_survive_json():
    assert find_method("pretrain", "ideal") is IDEAL
    settings = replace(IDEALSettings(), key="shared")
    assert serialization.from_json(IDEALSettings, serialization.to_json(settings)) == settings


def test_step_under_autocast():
    ideal = made()
    check_a_step_in_bfloat16(ideal, ideal.draw(ToyVolumes(), np.random.default_rng(0)))


def test_learns_in_a_few_steps():
    seen = trained(made(), ToyVolumes(6), 40)
    assert mean_of(seen[-5:], "loss") < 0.85 * mean_of(seen[:5], "loss")
    assert mean_of(seen[-10:], "agreement") > mean_of(seen[:2], "agreement") + 0.1
