"""PC of the MACL specification, section 9 items 1-4: hand values, invariances, dense form."""

import pytest
import torch
import torch.nn.functional as F

from contrastiveseg.contrast import infonce
from contrastiveseg.contrast.position_contrast import dense_position_contrast, position_contrast

CROSS = torch.eye(2, dtype=torch.float64)


def positions_at(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def by_hand(first, second, positions, threshold, temperature, base=None):
    """The definition, anchor by anchor and pair by pair."""
    rows, count, total = torch.cat([first, second]), len(first), 0.0
    for a in range(2 * count):
        similar = [F.cosine_similarity(rows[a], row, dim=0) / temperature for row in rows]
        others = [k for k in range(2 * count) if k != a]
        positive = [
            b
            for b in others
            if b % count == a % count or float((positions[a % count] - positions[b % count]).abs().max()) < threshold
        ]
        denominator = sum(similar[k].exp() for k in others)
        total += -sum((similar[b].exp() / denominator).log() for b in positive) / len(positive)
    return total / (2 * count) * (temperature / (base or temperature))


@pytest.mark.parametrize(("where", "expected"), [((0.1, 0.9), 0.551445), ((0.50, 0.55), 1.218111)])
def test_hand_values(where, expected):
    loss = position_contrast(CROSS, CROSS, positions_at(*where), 0.1, temperature=1.0)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("temperature", "base", "expected"), [(1.0, None, 0.957474), (0.1, None, 0.966802), (0.1, 0.07, 1.381145)]
)
def test_hand_values_of_oblique_rows(temperature, base, expected):
    first = torch.tensor([[1, 0], [0.6, 0.8]], dtype=torch.float64)
    second = torch.tensor([[0.8, 0.6], [0, 1]], dtype=torch.float64)
    loss = position_contrast(first, second, positions_at(0.1, 0.9), 0.1, temperature, base)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("threshold", "expected"), [(0.125, 0.551445), (0.126, 1.218111), (0.0, 0.551445)])
def test_threshold_is_strict_and_zero_leaves_the_own_view(threshold, expected):
    loss = position_contrast(CROSS, CROSS, positions_at(0.25, 0.375), threshold, temperature=1.0)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_all_axes_must_be_near():
    far_on_one = torch.tensor([[0.5, 0.5, 0.1], [0.5, 0.5, 0.9]], dtype=torch.float64)
    loss = position_contrast(CROSS, CROSS, far_on_one, 0.1, temperature=1.0)
    assert loss.item() == pytest.approx(0.551445, abs=1e-6)


def test_samples_of_different_data_sets_do_not_attract():
    loss = position_contrast(CROSS, CROSS, positions_at(0.5, 0.5), 0.1, temperature=1.0, data_sets=torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(0.551445, abs=1e-6)
    one = position_contrast(CROSS, CROSS, positions_at(0.5, 0.5), 0.1, temperature=1.0, data_sets=torch.tensor([3, 3]))
    assert one.item() == pytest.approx(1.218111, abs=1e-6)


@pytest.fixture
def rows():
    torch.manual_seed(0)
    first, second = torch.randn(2, 6, 5, dtype=torch.float64)
    return first, second, torch.rand(6, 3, dtype=torch.float64)


def test_equals_the_definition(rows):
    assert position_contrast(*rows, 0.4, 0.1).item() == pytest.approx(by_hand(*rows, 0.4, 0.1).item(), abs=1e-10)
    half = position_contrast(*rows, 0.4, 0.1, 0.07)
    assert half.item() == pytest.approx(by_hand(*rows, 0.4, 0.1, 0.07).item(), abs=1e-10)


def test_invariant_to_swap_permutation_and_scale(rows):
    first, second, where = rows
    loss = position_contrast(first, second, where, 0.4)
    order = torch.randperm(6)
    scale = torch.rand(6, 1, dtype=torch.float64) + 0.1
    torch.testing.assert_close(position_contrast(second, first, where, 0.4), loss)
    torch.testing.assert_close(position_contrast(first[order], second[order], where[order], 0.4), loss)
    torch.testing.assert_close(position_contrast(first * scale, second, where, 0.4), loss)
    assert not torch.allclose(position_contrast(first[order], second, where, 0.4), loss)


def test_dense_with_one_cell_is_global(rows):
    first, second, where = rows
    dense = dense_position_contrast(first[..., None, None], second[..., None, None], where, 0.4)
    torch.testing.assert_close(dense, position_contrast(first, second, where, 0.4))


def maps(cells=(3, 4), dtype=torch.float32):
    torch.manual_seed(1)
    first, second = torch.randn(2, 4, 5, *cells, dtype=dtype)
    return first, second, torch.rand(4, 1, dtype=dtype)


def test_dense_equals_a_loop_over_cells():
    first, second, where = maps()
    loop = [position_contrast(first[:, :, i, j], second[:, :, i, j], where, 0.3) for i in range(3) for j in range(4)]
    torch.testing.assert_close(
        dense_position_contrast(first, second, where, 0.3), torch.stack(loop).mean(), rtol=0, atol=1e-5
    )


def test_dense_matches_the_same_cell_only():
    first, second, where = maps()
    order = torch.randperm(12)
    mix = lambda m: m.flatten(2)[:, :, order].view_as(m)  # noqa: E731
    loss = dense_position_contrast(first, second, where, 0.3)
    torch.testing.assert_close(dense_position_contrast(mix(first), mix(second), where, 0.3), loss)
    assert not torch.allclose(dense_position_contrast(mix(first), second, where, 0.3), loss, atol=1e-3)


def test_dense_in_2d_and_in_3d_of_depth_one_agree():
    first, second, where = maps()
    flat = dense_position_contrast(first, second, where, 0.3)
    torch.testing.assert_close(dense_position_contrast(first[:, :, None], second[:, :, None], where, 0.3), flat)


def test_chunks_change_neither_loss_nor_gradient(monkeypatch):
    first, second, where = maps((6, 6), torch.float64)
    results = []
    for chunk in (2**24, 5 * 64):
        monkeypatch.setattr(infonce, "CHUNK", chunk)
        leaf = first.clone().requires_grad_()
        loss = dense_position_contrast(leaf, second, where, 0.3)
        results.append((loss.detach(), torch.autograd.grad(loss, leaf)[0]))
    torch.testing.assert_close(results[0], results[1])


def test_float32_even_under_autocast():
    first, second, where = maps()
    exact = dense_position_contrast(first, second, where, 0.3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = dense_position_contrast(first, second, where, 0.3)
        assert dense_position_contrast(first.bfloat16(), second.bfloat16(), where, 0.3).dtype == torch.float32
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact)


def test_large_similarities_stay_finite():
    row = torch.full((3, 4), 1e4, requires_grad=True)
    loss = position_contrast(row, -row, torch.rand(3, 1), 0.1, temperature=1e-3)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(row.grad).all()
