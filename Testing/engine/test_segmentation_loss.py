"""Dice + cross-entropy: the value of MONAI's, regions, classes that do not occur, and weights."""

import pytest
import torch
from monai.losses import DiceCELoss

from contrastiveseg.methods.segmentation_loss import dice_cross_entropy


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
