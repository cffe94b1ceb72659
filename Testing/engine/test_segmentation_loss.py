"""Dice + cross-entropy: MONAI's value, regions, absent classes, weights, and what is not labeled."""

import math

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss

from contrastiveseg.methods.segmentation_loss import cross_entropy, dice_cross_entropy, squared_dice


def logits(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("grid", [(8, 8), (6, 6, 6)])
def test_where_every_class_occurs_it_is_monais(grid):
    given, labels = logits(2, 3, *grid), torch.arange(2 * torch.Size(grid).numel()).view(2, *grid) % 3
    monai = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    expected = monai(given, labels.unsqueeze(1)).item()
    assert dice_cross_entropy(given, labels).item() == pytest.approx(expected, abs=1e-6)
    everywhere = torch.ones_like(labels, dtype=torch.bool)
    assert dice_cross_entropy(given, labels, region=everywhere).item() == pytest.approx(expected, abs=1e-6)


def test_a_class_that_does_not_occur_has_no_dice():
    given, labels = logits(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    entropy = torch.nn.functional.cross_entropy(given, labels).item()
    assert dice_cross_entropy(given, labels).item() == pytest.approx(entropy, abs=1e-6)
    labels[:, :2] = 1
    # Class 2 is missing: the Dice term is that of class 1 alone.
    p, t = given.softmax(1)[:, 1], labels == 1
    dice = 1 - 2 * p[t].sum() / (p.sum() + t.sum())
    entropy = torch.nn.functional.cross_entropy(given, labels)
    assert dice_cross_entropy(given, labels).item() == pytest.approx((entropy + dice).item(), abs=1e-5)


def test_weights_are_those_of_the_cross_entropy():
    given, labels = logits(2, 3, 4, 4), torch.arange(32).view(2, 4, 4) % 3
    weights = torch.tensor([1.0, 4.0, 2.0])
    plain, weighted = dice_cross_entropy(given, labels), dice_cross_entropy(given, labels, weights)
    change = torch.nn.functional.cross_entropy(given, labels, weights) - torch.nn.functional.cross_entropy(
        given, labels
    )
    assert (weighted - plain).item() == pytest.approx(change.item(), abs=1e-6)


def test_a_region_does_not_see_beyond_itself():
    given = logits(2, 3, 4, 4).requires_grad_()
    region = torch.zeros(2, 4, 4, dtype=torch.bool)
    region[:, :2] = True
    labels = torch.arange(32).view(2, 4, 4) % 3
    loss = dice_cross_entropy(given, labels, region=region)
    loss.backward()
    assert not given.grad[:, :, 2:].any()
    assert given.grad[:, :, :2].any()
    changed = labels.clone()
    changed[:, 2:] = (labels[:, 2:] + 1) % 3
    assert dice_cross_entropy(given, changed, region=region).item() == loss.item()


@pytest.mark.parametrize("grid", [(8, 8), (6, 6, 6)])
def test_where_all_is_labeled_the_squared_dice_is_monais(grid):
    given, labels = logits(2, 3, *grid), torch.arange(2 * torch.Size(grid).numel()).view(2, *grid) % 2
    monai = DiceLoss(to_onehot_y=True, softmax=True, squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)
    assert squared_dice(given, labels).item() == pytest.approx(monai(given, labels.unsqueeze(1)).item(), abs=1e-6)
    entropy = torch.nn.functional.cross_entropy(given, labels)
    assert cross_entropy(given, labels).item() == pytest.approx(entropy.item(), abs=1e-6)


def two_by_two() -> tuple[torch.Tensor, torch.Tensor]:
    """Four voxels: probabilities (1/2, 1/4, 1/4), (1/4, 1/2, 1/4) and twice (1/4, 1/4, 1/2); the last is unlabeled."""
    p = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5], [0.25, 0.25, 0.5]])
    return p.log().T.reshape(1, 3, 2, 2), torch.tensor([[[0, 1], [2, -1]]])


def test_an_unlabeled_voxel_has_no_part_by_hand():
    given, labels = two_by_two()
    entropy = math.log(2)
    # Class 1: predicted 1/4 + 1/2 + 1/4 = 1 over the three labeled voxels, 1 labeled, overlap 1/2; class 2 likewise.
    assert dice_cross_entropy(given, labels).item() == pytest.approx(entropy + 0.5, abs=1e-4)
    assert cross_entropy(given, labels).item() == pytest.approx(entropy, abs=1e-6)
    # Squares: each class has an overlap of 1/2, 1/4 + 2/16 predicted and 1 labeled.
    assert squared_dice(given, labels).item() == pytest.approx(1 - 1 / 1.375, abs=1e-4)


@pytest.mark.parametrize("loss", [dice_cross_entropy, squared_dice, cross_entropy])
def test_unlabeled_voxels_get_no_gradient(loss):
    given = logits(2, 3, 4, 4).requires_grad_()
    labels = torch.arange(32).view(2, 4, 4) % 3
    labels[0, 1:3] = -1
    loss(given, labels).backward()
    assert not given.grad[0, :, 1:3].any()
    assert given.grad[1].any()
    given.grad = None
    nothing = loss(given, torch.full_like(labels, -1))
    nothing.backward()
    assert torch.isfinite(nothing)
    assert not given.grad.any()


def test_structures_not_looked_for_merge_with_the_background_by_hand():
    given, _ = two_by_two()
    labels, missing = torch.tensor([[[0, 1], [0, 0]]]), torch.tensor([[False, False, True]])
    # Background or class 2: 3/4, 1/2 where class 1 is labeled, 3/4, 3/4.
    entropy = -(3 * math.log(0.75) + math.log(0.5)) / 4
    assert cross_entropy(given, labels, missing=missing).item() == pytest.approx(entropy, abs=1e-6)
    # Class 1: overlap 1/2, predicted 5/4, labeled 1. Class 2 does not occur and costs nothing.
    dice = 1 - 1 / 2.25
    assert dice_cross_entropy(given, labels, missing=missing).item() == pytest.approx(entropy + dice, abs=1e-4)
    everywhere = missing.view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert dice_cross_entropy(given, labels, missing=everywhere).item() == pytest.approx(entropy + dice, abs=1e-4)


@pytest.mark.parametrize("loss", [dice_cross_entropy, squared_dice, cross_entropy])
def test_a_structure_not_looked_for_competes_with_no_background(loss):
    """Moving probability between background and the structure changes nothing in that case, and all in the others."""
    given = torch.zeros(2, 3, 2, 2, requires_grad=True)
    labels = torch.zeros(2, 2, 2, dtype=torch.long)
    labels[:, 0, 0] = 1
    loss(given, labels, missing=torch.tensor([[False, False, True], [False, False, False]])).backward()
    torch.testing.assert_close(given.grad[0, 0], given.grad[0, 2])
    assert (given.grad[1, 0] - given.grad[1, 2]).abs().max() > 1e-3
