"""The networks' blocks give what MONAI's give, under the same names: earlier checkpoints were made of those."""

from __future__ import annotations

import pytest
import torch
from monai.networks.blocks import Convolution
from monai.networks.blocks.dynunet_block import UnetResBlock
from monai.networks.blocks.pos_embed_utils import build_sincos_position_embedding
from torch import nn

from contrastiveseg.networks.blocks import ResidualBlock, convolution
from contrastiveseg.networks.unetr import sine_cosine_places

LEAKY = ("leakyrelu", {"negative_slope": 0.01, "inplace": True})
NORMS = {"instance": ("instance", {"affine": True}), "batch": "batch", "group": ("group", {"num_groups": 4})}


def assert_alike(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    """The same tensors under the same names, the same answer, and the same gradients."""
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(mine, other)
    answers = [ours(x), theirs(x)]
    assert torch.equal(*answers)
    gradients = []
    for module, answer in zip((ours, theirs), answers, strict=True):
        answer.square().mean().backward()
        gradients.append([p.grad for p in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("norm", list(NORMS))
@pytest.mark.parametrize(("kernel", "stride"), [([1, 3, 3], [1, 2, 2]), (3, 1)])
def test_a_convolution(norm, kernel, stride) -> None:
    torch.manual_seed(0)
    ours = convolution(3, 2, 4, kernel=kernel, stride=stride, norm=norm)
    torch.manual_seed(0)
    theirs = Convolution(3, 2, 4, stride, kernel, adn_ordering="NA", act=LEAKY, norm=NORMS[norm])
    assert_alike(ours, theirs, torch.randn(2, 2, 4, 6, 6))


def test_a_convolution_that_enlarges() -> None:
    torch.manual_seed(0)
    ours = convolution(2, 3, 4, kernel=2, stride=2, padding=0, transposed=True, norm="batch", slope=0.0)
    torch.manual_seed(0)
    more = {"is_transposed": True, "padding": 0, "output_padding": 0}
    theirs = Convolution(2, 3, 4, 2, 2, adn_ordering="NA", act="relu", norm="batch", **more)
    assert_alike(ours, theirs, torch.randn(2, 3, 4, 4))


def test_a_convolution_alone() -> None:
    torch.manual_seed(0)
    ours = convolution(2, 3, 4, kernel=1, slope=None)
    torch.manual_seed(0)
    assert_alike(ours, Convolution(2, 3, 4, kernel_size=1, conv_only=True), torch.randn(1, 3, 4, 4))


@pytest.mark.parametrize(("channels", "stride"), [(4, [1, 1, 1]), (2, [1, 1, 1]), (4, [1, 2, 2])])
def test_a_residual_block(channels, stride) -> None:
    torch.manual_seed(0)
    ours = ResidualBlock(3, channels, 4, [1, 3, 3], stride, "instance")
    torch.manual_seed(0)
    theirs = UnetResBlock(3, channels, 4, [1, 3, 3], stride, NORMS["instance"], LEAKY)
    assert_alike(ours, theirs, torch.randn(1, channels, 4, 6, 6))


def test_an_even_kernel_needs_a_padding() -> None:
    with pytest.raises(ValueError, match="odd"):
        convolution(3, 1, 1, kernel=2)


@pytest.mark.parametrize(("grid", "embedding"), [((2, 3), 8), ((2, 3, 4), 12)])
def test_places_of_tokens(grid, embedding) -> None:
    theirs = build_sincos_position_embedding(list(grid), embedding, len(grid))
    torch.testing.assert_close(sine_cosine_places(grid, embedding), theirs.data)
