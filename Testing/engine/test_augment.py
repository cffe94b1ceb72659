"""Batch augmentation against scipy and MONAI, and the map between views."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.transforms import AdjustContrast, Affine
from scipy import ndimage

from contrastiveseg.data import augment_spatial as spatial_module
from contrastiveseg.data.augment_intensity import IntensitySettings, RandomRange, augment_intensity, shift_structures
from contrastiveseg.data.augment_spatial import SpatialSettings, augment_spatial
from contrastiveseg.errors import InputError

STILL = SpatialSettings(probability=0.0, flip=0.0)
NEVER = IntensitySettings(*[RandomRange(0.0, 0.0, 0.0)] * 8)
NAMES = tuple(vars(NEVER))


def blobs(*shape: int) -> torch.Tensor:
    """Smooth random images."""
    random = np.random.default_rng(0)
    return torch.from_numpy(ndimage.gaussian_filter(random.normal(size=shape), [0, 0, *[2] * (len(shape) - 2)])).float()


def only(name: str, low: float, high: float) -> IntensitySettings:
    return replace(NEVER, **{name: RandomRange(1.0, low, high)})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SpatialSettings(probability=1.5), "probability must be from 0 to 1, not 1.5"),
        (lambda: SpatialSettings(flip=-0.1), "flip must be from 0 to 1"),
        (lambda: SpatialSettings(rotation=-1), "rotation must be 0 or more"),
        (lambda: SpatialSettings(translation=math.nan), "translation must be 0 or more"),
        (lambda: SpatialSettings(elastic=-0.1), "elastic must be 0 or more"),
        (lambda: SpatialSettings(scale=(0.0, 1.0)), "scale must be more than 0"),
        (lambda: SpatialSettings(scale=(1.2, 1.1)), "scale must be two numbers, the smaller first"),
        (lambda: RandomRange(2.0, 0.0, 1.0), "probability must be from 0 to 1, not 2"),
        (lambda: RandomRange(0.5, 1.0, 0.5), "low must not be above high"),
        (lambda: only("contrast", -0.5, 1.0), "contrast.low must be more than 0, not -0.5"),
        (lambda: only("gamma", 0.0, 1.0), "gamma.low must be more than 0"),
        (lambda: only("noise", -0.1, 1.0), "noise.low must be 0 or more"),
        (lambda: only("blur", 0.0, 1.0), "blur.low must be more than 0"),
        (lambda: only("low_resolution", 0.5, 1.5), "low_resolution.high must be more than 0 and at most 1"),
        (lambda: only("curve", 1, 4), "curve.low must be 2 or more"),
    ],
)
def test_settings_that_no_change_can_have_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("shape", [(24, 20), (12, 16, 20)])
def test_no_change_is_the_center(shape):
    images = blobs(2, 1, *shape)
    labels = (images[:, 0] > 0).long()
    out = tuple(n - 4 for n in shape)
    moved, moved_labels, matrices = augment_spatial(images, labels, STILL, (1.0,) * len(shape), out)
    inner = (slice(None), slice(None), *[slice(2, n - 2) for n in shape])
    torch.testing.assert_close(moved, images[inner], rtol=0, atol=1e-5)
    assert torch.equal(moved_labels, labels.unsqueeze(1)[inner].squeeze(1))
    assert matrices.shape == (2, len(shape), len(shape) + 1)


def test_rotation_is_rigid_in_millimeters_and_agrees_with_scipy(monkeypatch):
    images, aspect = blobs(1, 1, 30, 40), np.array([3.0, 1.5])
    # Every draw at the upper end of its range: an angle of (nearly) +20 degrees.
    monkeypatch.setattr(spatial_module.torch, "rand", lambda *size: torch.full(torch.empty(*size).shape, 0.99999))
    moves = replace(STILL, probability=1.0, rotation=20.0, scale=(1.0, 1.0), translation=0.0)
    moved, _, _ = augment_spatial(images, None, moves, tuple(aspect), (30, 40))
    x = math.radians(20 * (2 * 0.99999 - 1))
    turn = np.array([[math.cos(x), math.sin(x)], [-math.sin(x), math.cos(x)]])  # (y, x) order, millimeters
    linear = np.diag(1 / aspect) @ turn @ np.diag(aspect)
    middle = (np.array([30, 40]) - 1) / 2
    reference = ndimage.affine_transform(
        images[0, 0].numpy(), linear, middle - linear @ middle, order=1, mode="nearest"
    )
    np.testing.assert_allclose(moved[0, 0].numpy(), reference, atol=1e-4)
    assert np.abs(reference - images[0, 0].numpy()).max() > 0.1


def test_affine_agrees_with_monai(monkeypatch):
    images = blobs(1, 1, 16, 20, 24)
    matrix = torch.tensor([[[0.9, 0.1, 0.0, 0.05], [-0.1, 0.95, 0.05, 0.0], [0.0, -0.05, 1.1, -0.1]]])
    monkeypatch.setattr(spatial_module, "_affine", lambda *_: matrix)
    moved, _, _ = augment_spatial(images, None, STILL, (1.0, 1.0, 1.0), (16, 20, 24))
    # MONAI's matrix acts on centered voxel coordinates, axes z, y, x.
    half = torch.tensor([16.0, 20, 24]) / 2
    full = torch.eye(4)
    full[:3, :3] = torch.diag(half) @ matrix[0, :, :3].flip(0, 1) @ torch.diag(1 / half)
    full[:3, 3] = matrix[0, :, 3].flip(0) * half
    reference = Affine(affine=full, padding_mode="border", mode="bilinear", image_only=True)(images[0])
    torch.testing.assert_close(moved[0], torch.as_tensor(reference.as_tensor()), rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(24, 20), (16, 24, 20)])
def test_matrices_tell_where_a_voxel_came_from(shape):
    torch.manual_seed(3)
    d = len(shape)
    # An image of its own coordinates: after moving, each voxel must show what its matrix says.
    axes = torch.meshgrid(*[(2 * torch.arange(n) + 1) / n - 1 for n in shape], indexing="ij")
    own = torch.stack(axes[::-1]).expand(4, d, *shape)
    out = tuple(n - 8 for n in shape)
    aspect = (2.0, 1.0, 1.0)[:d]
    moved, _, matrices = augment_spatial(own, None, SpatialSettings(rotation=25.0), aspect, out)
    there = F.affine_grid(matrices, [4, 1, *out], align_corners=False).movedim(-1, 1)
    inside = (there.abs().amax(1, keepdim=True) < 0.9).expand_as(moved)
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(moved[inside], there[inside], rtol=0, atol=1e-4)


def test_flips_mirror_each_axis_of_images_and_labels():
    images = blobs(64, 1, 5, 6)
    torch.manual_seed(0)
    moved, labels, _ = augment_spatial(images, (images[:, 0] > 0).int(), replace(STILL, flip=0.5), (1.0, 1.0), (5, 6))
    seen = set()
    for image, result, label in zip(images[:, 0], moved[:, 0], labels, strict=True):
        for name, mirror in {"": [], "y": [0], "x": [1], "yx": [0, 1]}.items():
            if torch.allclose(image.flip(mirror), result, atol=1e-5):
                seen.add(name)
                assert torch.equal((image.flip(mirror) > 0).int(), label)
    assert seen == {"", "y", "x", "yx"}


def test_labels_follow_images_and_keep_their_type():
    torch.manual_seed(0)
    labels = F.interpolate(torch.randint(0, 4, (4, 1, 4, 5, 6)).float(), size=(16, 20, 24)).long().squeeze(1)
    moved, moved_labels, _ = augment_spatial(
        labels.unsqueeze(1).float(), labels, SpatialSettings(), (1.0,) * 3, (12, 16, 20)
    )
    assert moved_labels.dtype == torch.int64
    assert set(moved_labels.unique().tolist()) <= {0, 1, 2, 3}
    unmixed = (moved[:, 0] - moved[:, 0].round()).abs() < 1e-6
    assert (moved[:, 0].round() == moved_labels)[unmixed].float().mean() > 0.98


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (1, 1, 16, 16, 16)])
def test_elastic_is_smooth_and_bounded(shape):
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, shape[-1]).expand(shape)
    out, _, _ = augment_spatial(ramp, None, replace(STILL, elastic=0.05), (1.0,) * (len(shape) - 2), shape[2:])
    change = (out - ramp).abs().max()
    assert 0.005 < change < 0.16
    assert (out.diff(dim=-1) > -0.05).all()


@pytest.mark.parametrize(("out", "mode"), [((24, 17), "bicubic"), ((12, 17, 1), "trilinear")])
def test_crops_are_moved_as_by_torch_s_grids(out, mode):
    shape, aspect = tuple(n + 3 for n in out), (2.0, 1.0, 1.5)[: len(out)]
    images, settings = blobs(3, 1, *shape), SpatialSettings(elastic=0.08)
    torch.manual_seed(5)
    moved, _, matrices = augment_spatial(images, None, settings, aspect, out)
    torch.manual_seed(5)
    spatial_module._affine(3, settings, aspect, shape, out)
    knots = 2 * torch.rand(3, len(out), *[5] * len(out)) - 1
    bent = F.interpolate(knots, size=out, mode=mode, align_corners=True).movedim(1, -1)
    shares = matrices[:, :, :-1].norm(dim=2).view(3, *[1] * len(out), len(out))
    grid = F.affine_grid(matrices, [3, 1, *out], align_corners=False) + 2 * 0.08 * bent * shares
    there = F.grid_sample(images, grid, "bilinear", "border", align_corners=False)
    torch.testing.assert_close(moved, there, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 2, 16, 20), (3, 2, 8, 12, 16)])
@pytest.mark.parametrize("name", NAMES)
def test_each_intensity_change_changes_a_copy(name, shape):
    images = blobs(*shape)
    before = images.clone()
    strength = {"gamma": 1.5, "contrast": 1.5, "low_resolution": 0.5, "blur": 1.0, "curve": 6.0}.get(name, 0.3)
    changed = augment_intensity(images, only(name, strength, strength))
    assert torch.equal(images, before)
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert torch.isfinite(changed).all()
    for sample, other in zip(images, changed, strict=True):
        assert not torch.allclose(sample, other, atol=1e-3)


def test_views_share_no_storage():
    images = blobs(2, 1, 16, 16)
    views = [augment_intensity(images, NEVER), augment_spatial(images, None, STILL, (1.0, 1.0), (16, 16))[0]]
    torch.testing.assert_close(views[0], images)
    for view in views:
        view.zero_()
    assert images.abs().max() > 0
    assert views[0].data_ptr() != views[1].data_ptr()


def test_channels_and_samples_draw_apart():
    torch.manual_seed(0)
    offset = augment_intensity(torch.zeros(3, 2, 4, 4), only("brightness", -1.0, 1.0))[:, :, 0, 0]
    assert len(offset.flatten().unique()) == 6


def test_strengths_mean_what_they_say():
    images = blobs(1, 1, 24, 28, 20)
    one = images[0, 0]
    torch.testing.assert_close(augment_intensity(images, only("brightness", 0.4, 0.4)), images + 0.4)
    mean = images.mean()
    torch.testing.assert_close(augment_intensity(images, only("contrast", 2.0, 2.0)), (images - mean) * 2 + mean)
    gamma = torch.as_tensor(AdjustContrast(1.5)(one).as_tensor())
    torch.testing.assert_close(augment_intensity(images, only("gamma", 1.5, 1.5))[0, 0], gamma, rtol=0, atol=1e-4)
    blurred = ndimage.gaussian_filter(one.numpy(), 1.0, mode="nearest", radius=3)
    np.testing.assert_allclose(augment_intensity(images, only("blur", 1.0, 1.0))[0, 0].numpy(), blurred, atol=1e-5)
    noise = augment_intensity(images, only("noise", 0.2, 0.2)) - images
    assert noise.std() == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("shape", [(24, 28), (12, 20, 16)])
def test_bias_is_a_smooth_factor_within_its_reach(shape):
    torch.manual_seed(0)
    images = blobs(3, 1, *shape)
    changed = augment_intensity(images, only("bias", 0.7, 0.7))
    for image, other in zip(images, changed, strict=True):
        low = image.min()
        inner = image - low > 1e-3
        field = ((other - low) / (image - low)).log()[inner]
        assert field.abs().max() < 0.7 + 1e-3
        assert field.max() - field.min() > 0.2
        steps = ((other - low) / (image - low).clamp_min(1e-3)).log().diff(dim=-1)
        both = inner[..., 1:] & inner[..., :-1]
        # From one knot to the next, half the axis apart, it cannot change by more than 1.4.
        assert steps[both].abs().max() < 1.4 / ((shape[-1] - 1) / 2) + 1e-2


@pytest.mark.parametrize("shape", [(24, 28), (12, 20, 16)])
def test_a_curve_sends_equal_values_to_equal_values_and_some_up_and_others_down(shape):
    torch.manual_seed(0)
    images = (blobs(8, 1, *shape) * 50).round() / 50
    slopes = []
    for image, other in zip(images, augment_intensity(images, only("curve", 4, 8)), strict=True):
        torch.testing.assert_close(torch.stack(torch.var_mean(other)), torch.stack(torch.var_mean(image)))
        order = image.flatten().argsort()
        along, sent = image.flatten()[order].diff(), other.flatten()[order].diff()
        assert (along == 0).sum() > 50
        assert not sent[along == 0].any()
        slopes.append(sent[along > 1e-4] / along[along > 1e-4])
    assert sum(bool((slope > 0.1).any() and (slope < -0.1).any()) for slope in slopes) >= 6


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_curve_leaves_an_empty_image_finite(value):
    assert augment_intensity(torch.full((2, 1, 6, 6), value), only("curve", 4, 8)).isfinite().all()


def test_reproducible_from_the_global_seed_and_exact_under_autocast():
    images = blobs(2, 1, 16, 20)
    everything = IntensitySettings(*[RandomRange(1.0, c.low, c.high) for c in vars(IntensitySettings()).values()])
    results = []
    for autocast in (False, False, True):
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            results.append(
                augment_intensity(augment_spatial(images, None, SpatialSettings(), (1.0, 1.0), (12, 16))[0], everything)
            )
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_structures_shift_by_deviations_and_fade_at_their_border():
    images = torch.randn(1, 2, 14, 16, 16)
    labels = torch.zeros(1, 14, 16, 16, dtype=torch.long)
    labels[:, 4:10, 4:12, 4:12] = 2
    shifted = shift_structures(images, labels, RandomRange(1.0, -0.7, -0.7))
    change = (shifted - images) / images.std((2, 3, 4), keepdim=True)
    torch.testing.assert_close(change[0, :, 7, 8, 8], torch.full((2,), -0.7), atol=5e-3, rtol=0)
    assert (change[0, :, 0] == 0).all()
    assert (change[0, :, :, 0] == 0).all()
    edge = change[0, 0, 7, 3:5, 8]
    assert -0.7 < edge[1] < edge[0] < 0, "the border is soft"


def test_structures_are_not_shifted_where_some_are_unknown():
    images, labels = torch.randn(2, 1, 8, 8, 8), torch.ones(2, 8, 8, 8, dtype=torch.long)
    labels[0, 0] = -1
    shifted = shift_structures(images, labels, RandomRange(1.0, 1.0, 1.0))
    assert torch.equal(shifted[0], images[0])
    assert not torch.equal(shifted[1], images[1])
