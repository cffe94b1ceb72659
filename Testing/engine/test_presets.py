"""Networks sized to the data: the presets, and which network and patch a job gets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from contrastiveseg.errors import InputError
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.fingerprint import Fingerprint
from contrastiveseg.planning.plan import Channel
from contrastiveseg.planning.presets import (
    PATCH_VOXELS,
    choose_network,
    for_thick_slices,
    patch_voxels,
    plan_strides,
    preset,
    size_of,
)
from contrastiveseg.serialization import from_json, to_json

CPU, GPU = torch.device("cpu"), torch.device("cuda")
#: Of 20 short-axis slices of a heart.
CINE = Fingerprint((Channel(), Channel()), (10.0, 1.5, 1.5), (10, 256, 216), 20)


@pytest.mark.parametrize(
    ("size", "patch", "spacing"),
    [
        ("tiny", (32, 48, 32), (1.0, 1.0, 1.0)),
        ("tiny", (10, 200, 200), (10.0, 1.0, 1.0)),
        ("tiny", (256, 256), (0.7, 0.7)),
        ("tiny", (1, 64, 64), (5.0, 1.0, 1.0)),
        ("base", (16, 96, 96), (3.0, 1.0, 1.0)),
        ("large", (32, 32, 32), (1.0, 1.0, 1.0)),
        ("large", (64, 64), (1.0, 1.0)),
    ],
)
def test_a_preset_takes_the_patch_it_was_made_for(size, patch, spacing) -> None:
    network = build(preset(size, len(patch), 1, patch, spacing)).eval()  # type: ignore[arg-type]
    assert all(n % s == 0 for n, s in zip(patch, network.total_stride, strict=True))
    with torch.inference_mode():
        features = network.encode(torch.randn(1, 1, *patch))
        assert network.decode(features)[-1].shape == (1, network.channels[0], *patch)
    assert all(n >= min(4, p) for n, p in zip(features[-1].shape[2:], patch, strict=True))


def test_tiny_has_three_down_samplings_and_at_most_two_million_parameters() -> None:
    network = build(preset("tiny", 3, 1, (64, 64, 64), (1.0, 1.0, 1.0)))
    assert network.channels == (16, 32, 64, 128)
    assert network.strides == ((2, 2, 2),) * 3
    assert sum(p.numel() for p in network.parameters()) <= 2_000_000


def test_coarse_axes_wait_until_the_others_have_caught_up() -> None:
    strides, kernels = plan_strides((16, 128, 128), (4.0, 1.0, 1.0), 4)
    assert strides == [[1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    assert kernels == [[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
    strides, kernels = plan_strides((8, 16, 16), (1.0, 1.0, 1.0), 4)
    assert strides == [[2, 2, 2], [1, 2, 2]]
    assert kernels == [[3, 3, 3]] * 3


def test_a_preset_survives_the_checkpoint_header() -> None:
    spec = preset("large", 3, 2, (16, 32, 32), (3.0, 1.0, 1.0))
    assert from_json(NetworkSpec, to_json(spec)) == spec


@pytest.mark.parametrize(
    ("size", "patch", "message"),
    [("huge", (32, 32, 32), "tiny, base, large"), ("tiny", (5, 7, 7), "has 5x7x7 voxels, too few.*finer --resolution")],
)
def test_what_has_no_preset_is_refused(size, patch, message) -> None:
    with pytest.raises(InputError, match=message):
        preset(size, 3, 1, patch, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(("device", "size"), [(CPU, "tiny"), (GPU, "base")])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_automatic_size_follows_the_device(device, size, dimensions) -> None:
    spec, voxels = choose_network("unet", "auto", dimensions, CINE, device)
    assert (spec.dimensions, spec.in_channels) == (dimensions, 2)
    assert voxels == PATCH_VOXELS[dimensions, size] == patch_voxels(spec)
    assert (spec, voxels) == choose_network("unet", size, dimensions, CINE, device)
    assert size_of(build(spec)) == size


def test_another_backbone_keeps_its_own_defaults() -> None:
    spec, voxels = choose_network("vnet", "tiny", 3, CINE, CPU)
    assert (spec, voxels) == (NetworkSpec("vnet", 3, 2), PATCH_VOXELS[3, "tiny"])


def test_thick_slices_are_halved_as_often_as_their_number_allows() -> None:
    spec, _ = choose_network("unet", "tiny", 3, CINE, CPU)
    assert build(spec).total_stride == (2, 8, 8)


def test_a_pre_trained_network_meets_thick_slices_as_a_fresh_one_would() -> None:
    cubes = preset("tiny", 3, 1, (32, 32, 32), (1.0, 1.0, 1.0))
    fresh, _ = choose_network("unet", "tiny", 3, CINE, CPU)
    assert for_thick_slices(cubes, CINE) == replace(fresh, in_channels=1)
    assert fresh.arguments["strides"][0] == [1, 2, 2]
    few = replace(CINE, spacing=(1.5, 1.5, 1.5), shape=(12, 128, 128))
    slab = for_thick_slices(cubes, few)
    assert build(slab).total_stride == (2, 8, 8)
    assert {tuple(kernel) for kernel in slab.arguments["kernels"]} == {(3, 3, 3)}
    assert for_thick_slices(cubes, replace(few, shape=(16, 128, 128))) == cubes
    even = replace(CINE, spacing=(2.9, 1.5, 1.5))
    fewer_levels = preset("tiny", 3, 1, (16, 16, 16), (1.0, 1.0, 1.0))
    assert len(fewer_levels.arguments["strides"]) == 2
    other = NetworkSpec("segresnet", 3, 1)
    for spec, seen in ((cubes, even), (fewer_levels, CINE), (fresh, CINE), (other, CINE)):
        assert for_thick_slices(spec, seen) == spec
