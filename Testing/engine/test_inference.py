"""A network made for inference: the same answers, by oneDNN and with channels last, and the given one stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import profile

import contrastiveseg.networks.inference as inference
from contrastiveseg.device import autocast
from contrastiveseg.networks.channels_last import LAST
from contrastiveseg.networks.inference import for_inference
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import Segmenter
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.networks.training import for_training

CPU = torch.device("cpu")
SMALL = {"widths": [8, 16], "strides": [[2, 2, 2]]}
#: Name, arguments, tile.
NETWORKS = [
    ("unet", SMALL, (8, 8, 12)),
    ("unet", {**SMALL, "strides": [[1, 2, 2]], "kernels": [[1, 3, 3], [3, 3, 3]]}, (3, 8, 8)),
    ("unet", {**SMALL, "residual": True, "norm": "batch"}, (8, 8, 8)),
    ("unet", {**SMALL, "residual": True, "shortcut": "pool", "norm": "group", "down": "max"}, (8, 8, 8)),
    ("vnet", {"width": 4}, (16, 16, 32)),
]
needs_fast = pytest.mark.skipif(not inference.has_fast_convolutions(), reason="oneDNN's kernels are for AVX")


def network(name: str = "unet", arguments: dict | None = None, dimensions: int = 3) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(build(NetworkSpec(name, dimensions, 1, arguments or SMALL)), 3).eval()


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize(("name", "arguments", "tile"), NETWORKS)
@pytest.mark.parametrize("batch", [1, 2])
def test_logits_differ_by_rounding_alone(name, arguments, tile, batch) -> None:
    plain, x = network(name, arguments), noise(batch, 1, *tile)
    fast = for_inference(plain, CPU)
    with torch.inference_mode():
        expected = plain(x)
        assert apart(fast(x), expected) < 1e-4
        with autocast(CPU, torch.bfloat16):
            assert apart(fast(x), expected) < max(0.03, 1.5 * apart(plain(x), expected))


FLAT = {"widths": [16, 32], "strides": [[2, 2]]}


@pytest.mark.parametrize("more", [{}, {"residual": True, "norm": "batch"}, {"residual": True, "norm": "group"}])
@pytest.mark.parametrize("batch", [1, 3])
def test_in_two_dimensions_logits_differ_by_rounding_alone(more, batch) -> None:
    plain, x = network("unet", {**FLAT, **more}, 2), noise(batch, 1, 16, 24)
    fast = for_inference(plain, CPU)
    with torch.inference_mode():
        expected = plain(x)
        assert apart(fast(x), expected) < 1e-4
        with autocast(CPU, torch.bfloat16):
            assert apart(fast(x), expected) < max(0.03, 1.5 * apart(plain(x), expected))


@needs_fast
@pytest.mark.parametrize(("dimensions", "arguments"), [(2, FLAT), (3, {**SMALL, "widths": [16, 32]})])
def test_maps_keep_their_channels_last_from_the_first_on(dimensions, arguments) -> None:
    fast, seen = for_inference(network("unet", arguments, dimensions), CPU), []
    for part in fast.modules():
        if isinstance(part, (nn.InstanceNorm2d, nn.InstanceNorm3d)):
            part.register_forward_hook(lambda module, given, out: seen.append(out))
    with torch.inference_mode(), profile() as counted:
        fast(noise(2, 1, *[16] * dimensions))
    assert seen
    assert all(out.is_contiguous(memory_format=LAST[out.dim()]) for out in seen)
    assert "aten::repeat" not in {event.key for event in counted.key_averages()}, "instance norm by contiguous copies"


def test_the_network_given_stays_fit_for_training() -> None:
    plain = network()
    for_training(plain)
    kinds, strides = [type(m) for m in plain.modules()], [p.stride() for p in plain.parameters()]
    plain.train()
    for_inference(plain, CPU)
    assert [type(m) for m in plain.modules()] == kinds
    assert [p.stride() for p in plain.parameters()] == strides
    assert plain.training
    plain(noise(2, 1, 8, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in plain.backbone.parameters())


def test_elsewhere_torch_chooses(monkeypatch) -> None:
    monkeypatch.setattr(inference, "has_fast_convolutions", lambda: False)
    plain, x = network(), noise(1, 1, 8, 8, 8)
    fast = for_inference(plain, CPU)
    assert {type(m) for m in fast.modules()} == {type(m) for m in plain.modules()}
    with torch.inference_mode():
        assert torch.equal(fast(x), plain(x))


@needs_fast
def test_every_convolution_is_onednns_and_no_norm_copies_its_map() -> None:
    fast, x = for_inference(network(), CPU), noise(1, 1, 8, 8, 8)
    convolutions = sum(isinstance(m, nn.Conv3d) for m in fast.modules())
    with torch.inference_mode(), profile() as counted:
        fast(x)
    calls = {event.key: event.count for event in counted.key_averages()}
    assert calls["aten::mkldnn_convolution"] == convolutions
    assert "aten::slow_conv3d_forward" not in calls
    assert "aten::repeat" not in calls, "instance norm by way of contiguous copies"
