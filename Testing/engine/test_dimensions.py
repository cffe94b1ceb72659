"""Contrast along the feature dimension: the CVRL specification's T2 to T5."""

import math

import pytest
import torch

from contrastiveseg.contrast.dimensions import dimension_contrast, fitting_width
from contrastiveseg.contrast.infonce import infonce

Z = torch.tensor([[1, 2, 0.5], [0, 1, -1], [-1, 1, 2], [2, -1, 0]], dtype=torch.float64)
OTHER = torch.tensor([[1.2, 1.8, 0.4], [0.1, 0.9, -1.2], [-0.8, 1.1, 1.7], [1.9, -1.2, 0.3]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("temperature", "symmetric", "expected"),
    [(1.0, False, 0.472416), (1.0, True, 0.472394), (0.5, False, 0.183378), (0.1, False, 0.000257)],
)
def test_hand_values(temperature, symmetric, expected):
    assert dimension_contrast(Z, OTHER, temperature, symmetric).item() == pytest.approx(expected, abs=1e-6)


def test_collapse_is_the_logarithm_of_the_width():
    rows = torch.ones(12, 4, requires_grad=True)
    loss = dimension_contrast(rows, torch.ones(12, 4))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(4), abs=1e-6)
    assert torch.isfinite(rows.grad).all()


def test_orthonormal_columns_are_the_best_there_is():
    # Sines and cosines of whole periods: centered and orthogonal.
    t = torch.arange(16, dtype=torch.float64) / 16 * 2 * math.pi
    columns = torch.stack([t.sin(), t.cos(), (2 * t).sin(), (2 * t).cos()], 1)
    expected = math.log(1 + 3 * math.exp(-1 / 0.5))
    assert dimension_contrast(columns, columns, 0.5).item() == pytest.approx(expected, abs=1e-9)


def test_axes():
    loss = dimension_contrast(Z, OTHER, 0.5)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(dimension_contrast(Z[order], OTHER[order], 0.5), loss)
    scale, shift = torch.tensor([2.0, 0.5, 3.0]), torch.tensor([1.0, -4.0, 0.2])
    torch.testing.assert_close(dimension_contrast(Z * scale + shift, OTHER, 0.5), loss)
    assert dimension_contrast(Z[order], OTHER, 0.5) > loss + 0.1


def test_hard_pairs_are_pushed_hardest():
    # The rows of the identity as keys make the anchors the logits themselves.
    logits = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    infonce(logits, torch.eye(5, dtype=torch.float64), torch.arange(5), temperature=0.2).backward()
    softmax = (logits.detach() / 0.2).softmax(1)
    torch.testing.assert_close(logits.grad, (softmax - torch.eye(5)) / (5 * 0.2), rtol=0, atol=1e-8)
    assert logits.grad.sum(1).abs().max() < 1e-8


def test_width_that_the_rows_allow():
    assert fitting_width(64, 192) == 64
    assert fitting_width(64, 96) == 32
    assert fitting_width(64, 3) == 2
