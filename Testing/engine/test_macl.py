"""MACL against its specification, section 9 items 5-8, and the paired drawing of section 4."""

import math
from dataclasses import replace

import pytest
import torch

from contrastiveseg import serialization
from contrastiveseg.contrast.collapse import CollapseGuard
from contrastiveseg.contrast.views import decoder_blocks, down
from contrastiveseg.data.augment_intensity import IntensitySettings, RandomRange
from contrastiveseg.data.augment_spatial import SpatialSettings
from contrastiveseg.data.batch import Batch
from contrastiveseg.errors import ContrastiveSegError, InputError
from contrastiveseg.methods.macl import MACL, MACLSettings, equivariance
from contrastiveseg.methods.registry import find_method
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import load_transferred
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel, Plan
from contrastiveseg.planning.presets import preset
from contrastiveseg.testing.steps import check_a_step_in_bfloat16

SMALL = MACLSettings(dense="crop", jitter_invariant=False, margin=1.0, projection=8)
HEADS = {"auxiliary_instances", "dominant_instances", "pixels"}


def plan(*patch: int, dimensions: int = 3, slice_axis: int = 0) -> Plan:
    return Plan(dimensions, (Channel(),), (2.0, 1.0, 1.0), patch, slice_axis)


def public_network(width: int, levels: int = 4) -> NetworkSpec:
    """The 2D U-Net of the published code."""
    arguments = {"widths": [width * 2**n for n in range(levels + 1)], "strides": [[2, 2]] * levels}
    return NetworkSpec(
        "unet", 2, 1, arguments | {"norm": "batch", "down": "max", "bottleneck_norm": False, "bias": True}
    )


def unet_3d() -> NetworkSpec:
    return NetworkSpec("unet", 3, 1, {"widths": [4, 8, 16, 32], "strides": [[2, 2, 2]] * 3})


def at(images: torch.Tensor, positions: torch.Tensor) -> Batch:
    """A batch whose crops lie at ``positions`` (B, 1) along z, in the middle of a box twice their size."""
    count = len(images)
    middle, extents = torch.full((count, 2), 0.5), torch.full((count, 3), 0.5)
    data_sets = torch.zeros(count, dtype=torch.int64)
    return Batch(images, None, torch.cat([positions, middle], 1), extents, data_sets, torch.arange(count))


def batch_for(macl: MACL, count: int = 4) -> Batch:
    shape = [math.ceil(n * macl.settings.margin) for n in macl.plan.patch_shape]
    positions = torch.linspace(0, 1, count).repeat_interleave(2)[:count, None]
    return at(torch.randn(count, 1, *shape), positions)


def made(dimensions: int, settings: MACLSettings = SMALL) -> MACL:
    torch.manual_seed(0)
    if dimensions == 2:
        return MACL(build(public_network(4, 3)), plan(1, 32, 64, dimensions=2), replace(settings, decoder_blocks=1))
    return MACL(build(unet_3d()), plan(32, 48, 32), settings)


# Gradients (item 5)


def reached(macl: MACL) -> set[str]:
    """Parts with a gradient other than zero."""
    parts = {"encoder": macl.backbone.encoder, **{name: getattr(macl, name) for name in HEADS}}
    parts |= {f"decoder.{n}": block for n, block in enumerate(macl.backbone.decoder)}
    return {
        name
        for name, part in parts.items()
        if any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    }


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((0.0, 0.0, 1.0), {"encoder"}),
        ((0.0, 1.0, 0.0), {"encoder", "decoder.0", "pixels"}),
        ((1.0, 0.0, 0.0), {"encoder", "decoder.0", "auxiliary_instances", "dominant_instances"}),
    ],
    ids=["equivariance", "dense", "global"],
)
def test_gradients_of_each_loss(dimensions, weights, expected):
    names = ("lambda_global", "lambda_dense", "lambda_equivariance")
    macl = made(dimensions, replace(SMALL, **dict(zip(names, weights, strict=True))))
    macl.step(batch_for(macl))["loss"].backward()
    assert reached(macl) == expected
    assert all(not p.requires_grad for block in macl.backbone.decoder[1:] for p in block.parameters())


def test_both_branches_of_the_shared_encoder_receive_gradients():
    small, deep = torch.randn(2, 3, 2, 2, requires_grad=True), torch.randn(2, 3, 4, 4, requires_grad=True)
    equivariance(small, deep, (2, 2)).backward()
    assert small.grad.abs().max() > 0
    assert deep.grad.abs().max() > 0


def test_a_step_of_the_global_loss_moves_the_trained_decoder_blocks_only():
    macl = made(2, replace(SMALL, lambda_dense=0.0, lambda_equivariance=0.0))
    before = {name: p.detach().clone() for name, p in macl.backbone.named_parameters()}
    optimizer = torch.optim.SGD([p for p in macl.parameters() if p.requires_grad], 0.1)
    macl.step(batch_for(macl))["loss"].backward()
    optimizer.step()
    moved = {name for name, p in macl.backbone.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("decoder.0.") for name in moved)
    assert not any(name.startswith(("decoder.1.", "decoder.2.")) for name in moved)


# Equivariance (item 6)


def test_equivariance_by_hand():
    ramp = torch.arange(16.0).view(1, 1, 4, 4)
    assert down(ramp, (2, 2)).flatten().tolist() == [0, 3, 12, 15]
    assert equivariance(torch.zeros(1, 1, 2, 2), ramp, (2, 2), "none").item() == 7.5
    corner = torch.zeros(1, 1, 4, 4)
    corner[..., 0, 0] = 4
    assert equivariance(torch.zeros(1, 1, 2, 2), corner, (2, 2), "none").item() == 1.0
    assert down(torch.arange(64.0).view(1, 1, 4, 4, 4), (2, 2, 2)).flatten().tolist() == [0, 3, 12, 15, 48, 51, 60, 63]


def test_channel_norm_ignores_scale():
    small, deep = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 4, 4)
    normed = equivariance(small, deep, (2, 2), "channel")
    torch.testing.assert_close(equivariance(small * 1e-2, deep * 5, (2, 2), "channel"), normed)
    assert equivariance(small * 1e-2, deep * 1e-2, (2, 2), "none") < 0.02


# Shapes (item 7)


def test_public_network_has_the_published_number_of_parameters():
    macl = MACL(build(public_network(32)), plan(1, 128, 128, dimensions=2), MACLSettings())
    assert sum(p.numel() for p in macl.parameters()) == 8_616_576
    assert macl.transferred == ("encoder", "decoder.0", "decoder.1")


@pytest.mark.parametrize(
    ("patch", "levels", "wanted", "expected"),
    [
        ((128, 128, 128), 4, None, 2),
        ((96, 96, 96), 4, None, 1),
        ((96, 96, 96), 3, None, 2),
        ((64, 64, 64), 4, None, 1),
        ((32, 48, 32), 3, None, 1),
        ((48, 64, 64), 3, None, 1),
        ((512, 512), 4, 3, 3),
    ],
)
def test_decoder_blocks_that_fit(patch, levels, wanted, expected):
    assert decoder_blocks(patch, [(2,) * len(patch)] * levels, wanted) == expected


@pytest.mark.parametrize(
    ("patch", "levels", "wanted", "said"),
    [((96, 96, 96), 4, 2, "128x128x128"), ((24, 24, 24), 3, None, "32x32x32"), ((64, 64, 64), 3, 4, "1 to 3")],
)
def test_decoder_blocks_that_do_not_fit_are_refused(patch, levels, wanted, said):
    with pytest.raises(InputError, match=said):
        decoder_blocks(patch, [(2, 2, 2)] * levels, wanted)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_branches_end_on_one_grid(dimensions):
    macl = made(dimensions)
    images = torch.randn(2, 1, *macl.plan.patch_shape)
    small = macl.backbone.encode(down(images, macl.factor))[-1]
    deep = macl.pixels(macl.backbone.encode(images)[-1])
    assert macl.decoded(down(images, macl.factor)).shape == deep.shape
    assert min(small.shape[2:]) == 2


def test_anisotropic_network_with_default_settings():
    spec = preset("tiny", 3, 1, (16, 64, 64), (4.0, 1.0, 1.0))
    macl = MACL(build(spec), plan(16, 64, 64), MACLSettings())
    terms = macl.step(batch_for(macl))
    assert torch.isfinite(terms["loss"])


def test_each_branch_sees_its_own_views(monkeypatch):
    macl = made(2)
    shape = (2, 1, *macl.plan.patch_shape)
    views = dict(zip(("I1", "I2", "V1", "V2"), torch.randn(4, *shape), strict=True))
    names = views | {f"down {n}": down(v, macl.factor) for n, v in views.items()}
    encode, seen = macl.backbone.encode, []

    def recording(x):
        seen.append(next(name for name, view in names.items() if view.shape == x.shape and torch.equal(view, x)))
        return encode(x)

    monkeypatch.setattr(macl, "views", lambda images: tuple(views.values()))
    monkeypatch.setattr(macl.backbone, "encode", recording)
    macl.step(batch_for(macl, 2))
    assert sorted(seen) == ["I2", "V2", "down I1", "down V1"]


def test_views_of_the_invariance_group_stay_aligned_with_the_crop():
    macl = made(2, replace(SMALL, margin=1.25))
    images = batch_for(macl).images
    still_1, still_2, moved_1, moved_2 = macl.views(images)
    assert torch.equal(still_1, images[..., 4:-4, 8:-8])
    assert torch.equal(still_2, still_1)
    assert moved_1.shape == still_1.shape
    assert not torch.allclose(moved_1, moved_2)
    assert len({view.data_ptr() for view in (images, still_1, still_2, moved_1, moved_2)}) == 5
    macl.jitter = True
    macl.settings = replace(macl.settings, intensity=IntensitySettings(brightness=RandomRange(1.0, -0.2, 0.2)))
    jittered = macl.views(images)
    assert not torch.equal(jittered[0], jittered[1])


def test_what_auto_means():
    flat, deep = made(2, replace(SMALL, dense="auto", jitter_invariant=None)), made(3, MACLSettings())
    assert (flat.mode, flat.dense, flat.jitter) == ("axis", "crop", False)
    assert (deep.mode, deep.dense, deep.jitter) == ("center3d", "cell", True)


def test_terms_and_total():
    macl = made(3, replace(SMALL, lambda_global=0.7, lambda_dense=0.3, lambda_equivariance=2.0, jitter_invariant=True))
    terms = {name: value.item() for name, value in macl.step(batch_for(macl)).items()}
    assert set(terms) == {"loss", "global", "dense", "equivariance", "bottleneck_scale"}
    total = 0.7 * terms["global"] + 0.3 * terms["dense"] + 2 * terms["equivariance"]
    assert terms["loss"] == pytest.approx(total, rel=1e-5)


def test_one_bad_voxel_does_not_spread():
    macl = made(2)
    batch = batch_for(macl)
    batch.images[0, 0, 5, 5] = math.nan
    batch.images[1, 0, 5, 5] = math.inf
    assert all(torch.isfinite(term) for term in macl.step(batch).values())


def test_step_under_autocast_stays_near_the_exact_loss():
    macl = made(3, replace(SMALL, spatial=SpatialSettings(0.0, 0.0)))
    batch, losses = batch_for(macl), []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(macl.step(batch)["loss"])
    torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=0)
    check_a_step_in_bfloat16(macl, batch)


def test_one_crop_is_refused():
    with pytest.raises(InputError, match="two crops"):
        made(3, replace(SMALL, groups=1, per_group=1))
    macl = made(3)
    with pytest.raises(InputError, match="two crops"):
        macl.step(batch_for(macl, 1))


def test_registered_and_settings_survive_json():
    assert find_method("pretrain", "macl") is MACL
    settings = replace(MACLSettings(), threshold=0.05, decoder_blocks=1)
    assert serialization.from_json(MACLSettings, serialization.to_json(settings)) == settings


# Collapse (section 8 item 8)


def guarded(scales: list[float], losses: list[float]) -> CollapseGuard:
    guard = CollapseGuard(warmup=50, window=100)
    for scale, loss in zip(scales, losses, strict=True):
        guard.watch(torch.tensor(scale), torch.tensor(loss), rows=8)
        guard.check()
    return guard


def test_collapse_is_noticed():
    equal = math.log(7)
    with pytest.raises(ContrastiveSegError, match="shrank"):
        guarded([1.0] * 60 + [0.009] * 60, [1.0] * 120)
    with pytest.raises(ContrastiveSegError, match="does not learn"):
        guarded([1.0] * 200, [equal * 1.004] * 200)
    guarded([1.0] * 200, [equal * 1.006] * 200)
    guarded([1.0] * 200, [equal] * 140 + [0.9 * equal] + [equal] * 59)
    # A resumed run goes on counting.
    resumed = CollapseGuard(50, 100)
    resumed.load_state_dict(guarded([1.0] * 120, [equal] * 120).state_dict())
    assert int(resumed.stalled) == 70
    assert float(resumed.first_scale) == 1.0


# Drawing (section 4)


# Learning and transfer (item 8)


def slices(count: int, seed: int) -> Batch:
    """A disc whose center, radius and brightness follow the position, in noise; 64 x 64."""
    random = torch.Generator().manual_seed(seed)
    p = torch.rand(count, 1, 1, generator=random)
    y, x = torch.meshgrid(*[(torch.arange(64) + 0.5) / 64] * 2, indexing="ij")
    disc = ((x - 0.3 - 0.4 * p) ** 2 + (y - 0.5) ** 2).sqrt() < 0.35 - 0.25 * (2 * p - 1).abs()
    images = disc * (0.5 + p) + 0.1 * torch.randn(count, 64, 64, generator=random)
    return at(images.unsqueeze(1), p[:, 0])


def test_learns_positions_without_collapse_and_transfers():
    # The toy of the specification with three poolings, and 80 instead of 300 steps for the global loss: seconds, then.
    torch.manual_seed(0)
    still = IntensitySettings(*[RandomRange(0.0, 0.0, 0.0)] * 8)
    settings = MACLSettings(margin=1.0, spatial=SpatialSettings(probability=0.0, flip=0.5), intensity=still)
    macl = MACL(build(public_network(8, 3)), plan(1, 64, 64, dimensions=2), settings)
    optimizer = torch.optim.SGD([p for p in macl.parameters() if p.requires_grad], 0.01, momentum=0.9)
    held_out = slices(16, seed=10_000)
    shuffled = replace(held_out, positions=held_out.positions.flip(0))

    def evaluate(batch: Batch) -> dict[str, float]:
        with torch.no_grad():
            return {name: float(value) for name, value in macl.step(batch).items()}

    start = evaluate(held_out)
    for step in range(80):
        optimizer.zero_grad()
        macl.step(slices(8, seed=step))["loss"].backward()
        optimizer.step()
        if step == 59:
            after_60, wrong = evaluate(held_out), evaluate(shuffled)
    end = evaluate(held_out)

    assert after_60["dense"] < 0.6 * start["dense"]
    assert wrong["dense"] > after_60["dense"] + 1
    assert end["global"] < 0.9 * math.log(31)
    assert evaluate(shuffled)["global"] > end["global"] + 0.5
    assert end["bottleneck_scale"] > 0.3 * start["bottleneck_scale"]

    trained, parts = macl.backbone.state_dict(), macl.transferred
    torch.manual_seed(3)
    fresh = build(public_network(8, 3)).state_dict()
    torch.manual_seed(3)
    target = build(public_network(8, 3))
    load_transferred(target, trained, parts)
    for name, tensor in target.state_dict().items():
        ours = any(name.startswith(f"{part}.") for part in parts)
        assert torch.equal(tensor, (trained if ours else fresh)[name]), name
