"""A network made for training on a CPU: sound gradients, the same as before but for rounding, and channels last."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import profile

import contrastiveseg.networks.training as training
from contrastiveseg.device import autocast
from contrastiveseg.networks.channels_last import LAST, ChannelsLastNorm3d
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import Segmenter
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.networks.training import for_training

CPU = torch.device("cpu")
SMALL = {"widths": [8, 16, 32], "strides": [[2, 2, 2], [2, 2, 2]]}
FLAT = {"widths": [8, 16, 32], "strides": [[2, 2], [2, 2]]}
needs_fast = pytest.mark.skipif(not training.has_fast_convolutions(), reason="oneDNN's kernels are for AVX")


def network(name: str = "unet", **arguments) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(build(NetworkSpec(name, 3, 1, arguments or SMALL)), 3, auxiliary=1).train()


def flat_network() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(build(NetworkSpec("unet", 2, 1, FLAT)), 3, auxiliary=1).train()


def gradients(model: nn.Module, x: Tensor, dtype: torch.dtype | None = None) -> list[Tensor]:
    model.zero_grad()
    with autocast(CPU, dtype):
        levels = model.forward_deep(x) if isinstance(model, Segmenter) else [model(x)]
    torch.stack([level.float().sin().mean() for level in levels]).sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def gradients_differ(convolution: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether the bfloat16 weight gradient depends on what memory held before, as on a 2-voxel-thick map."""
    torch.manual_seed(0)
    x = torch.randn(4, 64, *shape)
    seen = []
    for fill in (0.0, 1e4, float("nan"), 1e4, float("nan"), 0.0, float("nan"), 1e4):
        litter = [torch.full((n,), fill) for n in (10**4, 10**5, 10**6) for _ in range(3)]
        litter += [torch.full((n,), fill, dtype=torch.bfloat16) for n in (10**4, 10**5, 10**6)]
        del litter
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            convolution(x).float().square().mean().backward()
        seen.append(convolution.weight.grad.clone())
    return not all(torch.allclose(seen[0], other, rtol=0.05, atol=1e-3) for other in seen[1:])


@pytest.mark.parametrize("shape", [(2, 3, 2), (1, 4, 4), (3, 3, 3), (3, 4, 7), (5, 6, 8)])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_in_bfloat16_are_sound(shape, stride):
    convolution = torch.nn.Conv3d(64, 64, 3, stride, padding=1)
    before = {k: v.clone() for k, v in convolution.state_dict().items()}
    for_training(convolution)
    assert not gradients_differ(convolution, shape)
    assert all(torch.equal(v, before[k]) for k, v in convolution.state_dict().items())


@needs_fast
@pytest.mark.parametrize("shape", [(2, 3), (1, 4), (2, 2), (3, 3), (5, 6)])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_in_bfloat16_are_sound_in_two_dimensions(shape, stride):
    convolution = torch.nn.Conv2d(64, 64, 3, stride, padding=1)
    convolution.__class__ = training._ChannelsLastConv2d
    assert not gradients_differ(convolution, shape)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("size", [(16, 16, 24), (32, 48)])
def test_gradients_differ_by_rounding_alone(batch, dtype, size):
    plain = network() if len(size) == 3 else flat_network()
    x = torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(0))
    exact, made = copy.deepcopy(plain).double(), copy.deepcopy(plain)
    for_training(made)
    wanted, rounded, found = (
        torch.cat([g.flatten().double() for g in some])
        for some in (gradients(exact, x.double()), gradients(plain, x, dtype), gradients(made, x, dtype))
    )
    # Rounding can turn the sign of an activation near 0, and with it that voxel's gradient.
    assert (found - wanted).norm() <= 1.5 * (rounded - wanted).norm() + 5e-3 * wanted.norm()


@needs_fast
@pytest.mark.parametrize("size", [(16, 16, 24), (32, 48)])
def test_maps_keep_their_channels_last_and_weights_lie_as_they_did(size):
    made, seen = network() if len(size) == 3 else flat_network(), []
    strides = [p.stride() for p in made.parameters()]
    for_training(made)
    for part in made.backbone.modules():
        if isinstance(part, (nn.InstanceNorm2d, nn.InstanceNorm3d)) and part.num_features > 8:
            part.register_forward_hook(lambda module, given, out: seen.append(out))
    with profile() as counted:
        found = gradients(made, torch.randn(2, 1, *size))
    assert seen
    assert all(out.is_contiguous(memory_format=LAST[out.dim()]) for out in seen)
    assert "aten::repeat" not in {event.key for event in counted.key_averages()}, "instance norm by contiguous copies"
    assert [p.stride() for p in made.parameters()] == strides
    assert all(gradient.is_contiguous() for gradient in found)


@needs_fast
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_a_transposed_convolution_has_the_gradients_of_torch_with_the_bias_summed_apart(dtype, layout):
    torch.manual_seed(0)
    plain = nn.ConvTranspose3d(8, 4, 2, 2)
    made = copy.deepcopy(plain)
    for_training(made)
    found = []
    for module in (plain, made):
        x = torch.randn(2, 8, 3, 4, 5, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
        x.requires_grad_()
        with profile() as counted, autocast(CPU, dtype):
            out = module(x)
            out.float().sin().sum().backward()
        found.append((out, x.grad, module.weight.grad, module.bias.grad))
        summed = "_WithSummedBias" in {event.key for event in counted.key_averages()}
        assert summed == (module is made)
    for theirs, ours in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=2e-2 if dtype else 1e-5, atol=2e-2 if dtype else 1e-5)
    with torch.no_grad(), autocast(CPU, dtype):
        assert torch.equal(made(x), plain(x))


@needs_fast
def test_a_frozen_transposed_convolution_passes_the_gradient_on():
    made = nn.ConvTranspose3d(8, 4, 2, 2).requires_grad_(False)
    for_training(made)
    x = torch.randn(1, 8, 3, 3, 3, requires_grad=True)
    made(x).sum().backward()
    assert x.grad is not None
    assert made.weight.grad is None
    assert made.bias.grad is None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("vnet", {"width": 4}), ("unet", {**SMALL, "norm": "group"}), ("unet", {**SMALL, "norm": "batch"})],
)
def test_networks_with_other_norms_keep_their_order(name, arguments):
    made = network(name, **arguments)
    for_training(made)
    assert not any(isinstance(part, ChannelsLastNorm3d | training._ChannelsLastConv3d) for part in made.modules())


def test_elsewhere_torch_chooses(monkeypatch):
    monkeypatch.setattr(training, "has_fast_convolutions", lambda: False)
    plain = network()
    made, x = copy.deepcopy(plain), torch.randn(2, 1, 16, 16, 24)
    for_training(made)
    assert all(torch.equal(a, b) for a, b in zip(gradients(plain, x), gradients(made, x), strict=True))
