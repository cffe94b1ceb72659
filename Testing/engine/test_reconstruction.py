"""Damage and repair: how much is lost, where, and what the error counts (MixCL specification, test 6)."""

import pytest
import torch

from contrastiveseg.contrast.reconstruction import cut_out, reconstruction_loss


def test_hand_values():
    target, rebuilt = torch.tensor([[0.0, 1], [2, 3]]), torch.tensor([[0.0, 1], [2, 5]])
    assert reconstruction_loss(rebuilt, target, "squared").item() == 1.0
    assert reconstruction_loss(rebuilt, target, "absolute").item() == 0.5


def test_float32_even_of_half_precision():
    rebuilt = torch.full((4,), 1 / 3).bfloat16()
    loss = reconstruction_loss(rebuilt, torch.full((4,), 1 / 3), "absolute")
    assert loss.dtype == torch.float32


@pytest.mark.parametrize("shape", [(24, 30), (24, 20, 30)])
def test_boxes_of_noise_replace_a_share(shape):
    torch.manual_seed(0)
    images = torch.full((20, 2, *shape), 7.0)
    damaged = cut_out(images, (0.2, 0.2), 4)
    lost = damaged != 7
    assert torch.equal(lost[:, 0], lost[:, 1])
    assert not torch.equal(lost[0], lost[1])
    assert lost.float().mean() == pytest.approx(0.2, abs=0.04)
    assert damaged[lost].std() == pytest.approx(1, abs=0.05)
    # Whole boxes: along a line, most voxels share their neighbor's fate.
    same = (lost[..., 1:] == lost[..., :-1]).float().mean()
    assert same > 1 - 0.3 / 4 * 2
    assert torch.equal(images, torch.full_like(images, 7.0))


def test_nothing_is_lost_when_nothing_is_to_be():
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(cut_out(images, (0.0, 0.0), 3), images)
