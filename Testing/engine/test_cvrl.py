"""CVRL-style pre-training against its specification, section 7: T1 and T6 to T8 (T2 to T5 and T9 are the parts')."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from contrastiveseg import serialization
from contrastiveseg.contrast.infonce import unit
from contrastiveseg.contrast.momentum import WARM
from contrastiveseg.contrast.queue import KeyQueue, instance_contrast
from contrastiveseg.contrast.voxels import stratified_voxels, voxel_features
from contrastiveseg.data.augment_intensity import IntensitySettings, RandomRange
from contrastiveseg.data.augment_spatial import SpatialSettings
from contrastiveseg.errors import InputError
from contrastiveseg.methods.cvrl import CVRL, CVRLSettings, pooled, voxel_contrast
from contrastiveseg.methods.registry import find_method
from contrastiveseg.networks.backbone import Backbone
from contrastiveseg.testing.steps import (
    changed,
    check_a_step_in_bfloat16,
    copied,
    mean_of,
    parts_with_gradient,
    trained,
)
from contrastiveseg.testing.volumes import ToyVolumes, toy_backbone, toy_plan

SMALL = CVRLSettings(width=16, voxels=64, queue=32)
STILL = SpatialSettings(probability=0.0, flip=0.0)
NEVER = IntensitySettings(*[RandomRange(0.0, 0.0, 0.0)] * 8)

Z = torch.tensor([[1, 2, 0.5], [0, 1, -1], [-1, 1, 2], [2, -1, 0]], dtype=torch.float64)
OTHER = torch.tensor([[1.2, 1.8, 0.4], [0.1, 0.9, -1.2], [-0.8, 1.1, 1.7], [1.9, -1.2, 0.3]], dtype=torch.float64)


def made(dimensions: int = 3, settings: CVRLSettings = SMALL, norm: str = "instance") -> CVRL:
    return CVRL(toy_backbone(dimensions, norm), toy_plan(dimensions), settings)


def batch_of(cvrl: CVRL, source: ToyVolumes | None = None, seed: int = 0):
    return cvrl.draw(source or ToyVolumes(), np.random.default_rng(seed))


# The volume's loss (T1, T3, T4)


def volume_loss(first, second, temperature):
    ids = torch.arange(len(first))
    return instance_contrast(unit(first), unit(second), ids, KeyQueue(4, 3), temperature, in_batch=True).item()


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.747485), (0.5, 0.382067), (0.1, 0.003018)])
def test_hand_values(temperature, expected):
    assert volume_loss(Z, OTHER, temperature) == pytest.approx(expected, abs=1e-6)


def test_both_directions():
    both = (volume_loss(Z, OTHER, 1.0) + volume_loss(OTHER, Z, 1.0)) / 2
    assert both == pytest.approx(0.746799, abs=1e-6)


def test_collapse_and_axes():
    equal = torch.ones(4, 3, dtype=torch.float64)
    assert volume_loss(equal, equal, 0.1) == pytest.approx(math.log(4), abs=1e-9)
    assert abs(volume_loss(Z + torch.tensor([1.0, 0, 0]), OTHER, 0.5) - volume_loss(Z, OTHER, 0.5)) > 0.01


# The voxels' loss (T9)


def test_only_voxels_far_apart_repel_each_other():
    rows = torch.eye(2, dtype=torch.float64).unsqueeze(0)
    for gap, expected in ((7, 0.0), (8, math.log(1 + math.exp(-1)))):
        voxels = torch.tensor([[[0, 0, 0], [0, gap, 0]]])
        assert voxel_contrast(rows, rows, voxels, torch.zeros(1), 8, 1.0).item() == pytest.approx(expected, abs=1e-9)


def test_the_distance_reaches_the_step():
    losses = []
    for distance in (0, 8, 16):
        cvrl = made(settings=replace(SMALL, stages="P2", distance=distance))
        torch.manual_seed(1)
        losses.append(float(cvrl.step(batch_of(cvrl))["voxel"]))
    assert losses[0] > losses[1] + 0.01 > losses[2] + 0.02


# Momentum and queue (T6)


def test_the_teacher_follows_and_gets_no_gradient():
    cvrl = made(settings=replace(SMALL, stages="joint"))
    trained(cvrl, ToyVolumes(), 2)
    before = {name: p.detach().clone() for name, p in cvrl.teacher.network.named_parameters()}
    trained(cvrl, ToyVolumes(), 1)
    momentum = min(2 / (2 + WARM), SMALL.momentum)
    for name, parameter in cvrl.backbone.named_parameters():
        expected = momentum * before[name] + (1 - momentum) * parameter
        torch.testing.assert_close(dict(cvrl.teacher.network.named_parameters())[name], expected)
    assert all(p.grad is None for name, p in cvrl.named_parameters() if name.startswith("teacher"))
    assert not any(p.requires_grad for name, p in cvrl.named_parameters() if name.startswith("teacher"))


def test_keys_join_the_queue_after_the_step_with_their_volumes():
    cvrl = made()
    batch = batch_of(cvrl)
    cvrl.step(batch)
    assert int(cvrl.queue.written) == 0
    cvrl.after_step()
    assert cvrl.queue.ids[:4].tolist() == batch.cases.tolist()
    torch.testing.assert_close(cvrl.queue.keys[:4].norm(dim=1), torch.ones(4))


def test_two_crops_of_one_volume_are_no_negatives():
    cvrl = made()
    trained(cvrl, ToyVolumes(1), 3, progress=0.0)
    assert set(cvrl.queue.ids[:12].tolist()) == {0}
    assert float(cvrl.step(batch_of(cvrl, ToyVolumes(1)))["volume"]) == 0


def test_keys_of_past_steps_are_negatives():
    cvrl = made(settings=replace(SMALL, stages="P1"))
    losses = []
    for _ in range(2):
        torch.manual_seed(1)
        losses.append(float(cvrl.step(batch_of(cvrl))["volume"]))
        cvrl.queue.push(unit(torch.randn(8, 16)), torch.arange(100, 108))
    assert losses[1] > losses[0]


# Stages (T7)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ("P1", {"encoder", "low"}),
        ("P2", {"decoder.0", "decoder.1", "high"}),
        ("joint", {"encoder", "decoder.0", "decoder.1", "low", "high"}),
    ],
)
def test_gradients_of_each_stage(dimensions, stages, expected):
    cvrl = made(dimensions, replace(SMALL, stages=stages))
    cvrl.step(batch_of(cvrl))["loss"].backward()
    assert parts_with_gradient(cvrl) == expected


def test_what_a_stage_does_not_train_stays_bit_for_bit():
    cvrl = made(settings=replace(SMALL, stages="P1,P2"), norm="batch")
    before = copied(cvrl.backbone)
    trained(cvrl, ToyVolumes(), 5, progress=0.49)
    moved = changed(before, cvrl.backbone)
    assert moved
    assert all(name.startswith("encoder.") for name in moved)
    before = copied(cvrl.backbone)
    terms = trained(cvrl, ToyVolumes(), 5, progress=0.5)
    moved = changed(before, cvrl.backbone)
    assert any("running_mean" in name for name in moved)
    assert all(name.startswith("decoder.") for name in moved)
    assert set(terms[0]) == {"loss", "voxel", "dimension_high"}
    assert cvrl.backbone.encoder.training


def test_the_teachers_decoder_forgets_its_random_start():
    cvrl = made(settings=replace(SMALL, stages="P1,P2"))
    trained(cvrl, ToyVolumes(), 20, progress=0.49)
    start = [p.clone() for p in cvrl.teacher.network.decoder.parameters()]
    trained(cvrl, ToyVolumes(), 10, progress=0.5)
    teacher, student = (list(n.decoder.parameters()) for n in (cvrl.teacher.network, cvrl.backbone))
    moved, left = (
        sum((a - b).square().sum() for a, b in zip(teacher, other, strict=True)) for other in (start, student)
    )
    assert moved > left


def test_stages_follow_the_budget():
    cvrl = made(settings=replace(SMALL, stages="P1,P2", first=0.25))
    assert "volume" in trained(cvrl, ToyVolumes(), 1, progress=0.2)[0]
    assert cvrl.transferred == ("encoder",), "the decoder is as it was, should the run be cancelled here"
    seen = trained(cvrl, ToyVolumes(), 8)
    assert ["volume" in terms for terms in seen] == [True] * 2 + [False] * 6
    assert cvrl.transferred == ("encoder", "decoder")


def test_total_is_the_weighted_sum():
    cvrl = made(settings=replace(SMALL, stages="joint", lambda_dimension=0.3))
    terms = {name: float(value.detach()) for name, value in cvrl.step(batch_of(cvrl)).items()}
    total = terms["volume"] + terms["voxel"] + 0.3 * (terms["dimension_low"] + terms["dimension_high"])
    assert min(terms.values()) > 0
    assert terms["loss"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("stages", ["P1", "P2", "joint"])
def test_labels_play_no_part(stages):
    gradients = []
    for labels in (None, torch.randint(0, 9, (4, 19, 19, 19))):
        cvrl = made(settings=replace(SMALL, stages=stages))
        torch.manual_seed(0)
        cvrl.step(replace(batch_of(cvrl), labels=labels))["loss"].backward()
        gradients.append({n: p.grad for n, p in cvrl.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() != set()
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())


# Views (T8)


def test_views_share_geometry_but_neither_storage_nor_intensities():
    cvrl = made()
    images = batch_of(cvrl).images
    before = images.clone()
    first, second = cvrl.views(images)
    assert torch.equal(images, before)
    assert first.shape == second.shape == (4, 1, 16, 16, 16)
    assert not torch.allclose(first, second)
    first.zero_()
    assert second.abs().sum() > 0
    # Noise and brightness, curves and bias fields apart they show the same.
    still = replace(SMALL.intensity, bias=RandomRange(0.0, 0.2, 0.8), curve=RandomRange(0.0, 4, 8))
    smooth = [
        torch.nn.functional.avg_pool3d(v, 4).flatten()
        for v in made(settings=replace(SMALL, intensity=still)).views(images)
    ]
    assert torch.corrcoef(torch.stack(smooth))[0, 1] > 0.8


def test_student_and_teacher_get_a_view_each():
    cvrl, seen = made(settings=replace(SMALL, stages="joint")), {}
    views = torch.randn(2, 4, 1, 16, 16, 16)
    cvrl.views = lambda images: tuple(views)

    def watch(name: str, network: Backbone) -> None:
        encode = network.encode
        network.encode = lambda images: encode(seen.setdefault(name, images))

    watch("student", cvrl.backbone)
    watch("teacher", cvrl.teacher.network)
    cvrl.step(batch_of(cvrl))
    assert torch.equal(seen["student"], views[0])
    assert torch.equal(seen["teacher"], views[1])


def test_equal_views_and_weights_give_equal_features():
    cvrl = made(settings=replace(SMALL, spatial=STILL, intensity=NEVER))
    first, second = cvrl.views(batch_of(cvrl).images)
    assert torch.equal(first, second)
    mine = unit(cvrl.tokens(cvrl.backbone.encode(first)[-1]).mean(1))
    deep = cvrl.teacher.network.encode(second)[-1]
    theirs = unit(cvrl.teacher_low.network(pooled(deep, cvrl.token_grid)).mean(1))
    torch.testing.assert_close((mine * theirs).sum(1), torch.ones(4))
    # Both views share one geometry, so that the voxel of a place is the same in both and nothing is to be inverted.
    maps = [net.decode(net.encode(v))[-1] for net, v in ((cvrl.backbone, first), (cvrl.teacher.network, second))]
    places = stratified_voxels((16, 16, 16), cvrl.voxel_grid, 4, first.device)
    here, there = (voxel_features(m, places).flatten(0, 1) for m in maps)
    same = unit(cvrl.high(here)) * unit(cvrl.teacher_high.network(there))
    torch.testing.assert_close(same.sum(1), torch.ones(len(same)))


# The rest


def test_widths_follow_the_rank_rule():
    assert made(settings=replace(SMALL, width=64)).low[-1].out_features == 64
    few = made(settings=replace(SMALL, width=64, tokens=8, batch=2))
    assert few.low[-1].out_features == 5
    assert few.high[-1].out_features == 42


def test_impossible_settings_are_refused():
    for wrong in ({"temperature": 0}, {"momentum": 1.0}, {"batch": 1}, {"first": 2.0}):
        with pytest.raises(InputError):
            CVRLSettings(**wrong)


def test_registered_and_settings_survive_json():
    assert find_method("pretrain", "cvrl") is CVRL
    settings = replace(CVRLSettings(), stages="joint")
    assert serialization.from_json(CVRLSettings, serialization.to_json(settings)) == settings


def test_step_under_autocast():
    cvrl = made(settings=replace(SMALL, stages="joint"))
    check_a_step_in_bfloat16(cvrl, batch_of(cvrl))


def test_learns_in_a_few_steps():
    cvrl = made(settings=replace(SMALL, stages="joint"))
    seen = trained(cvrl, ToyVolumes(), 40)
    assert mean_of(seen[-5:], "voxel") < 0.8 * mean_of(seen[:5], "voxel")
    # The tokens of a random network hardly repeat each other, so there is little to learn: it is to stay so.
    assert mean_of(seen[-5:], "dimension_low") < 0.1 * math.log(SMALL.width)
    assert mean_of(seen[-5:], "dimension_high") < 0.8 * mean_of(seen[:5], "dimension_high")
