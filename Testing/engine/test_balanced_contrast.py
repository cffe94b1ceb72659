"""MCSC's contrast: M1-M4 and M8 of its specification's section 8."""

import math

import pytest
import torch

from contrastiveseg.contrast import balanced_contrast as module
from contrastiveseg.contrast.balanced_contrast import balanced_contrast, sample_blocks

CLASSES = torch.tensor([0, 0, 0, 1, 1, 2])


def rows_at(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], 1)


ROWS = rows_at(0, 10, 20, 90, 100, 200)


@pytest.mark.parametrize(("temperature", "expected"), [(0.1, 0.010526), (1.0, 0.480024)])
def test_hand_values(temperature, expected):
    assert balanced_contrast(ROWS, CLASSES, temperature).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("chunk", [1, 2 * 6])
def test_pieces_change_neither_loss_nor_gradient(monkeypatch, chunk):
    def results():
        rows = ROWS.clone().requires_grad_()
        loss = balanced_contrast(rows, CLASSES)
        return loss.detach(), *torch.autograd.grad(loss, rows)

    plain = results()
    monkeypatch.setattr(module, "CHUNK", chunk)
    torch.testing.assert_close(results(), plain)
    assert plain[1].abs().sum() > 0


@pytest.mark.parametrize("classes", [[3, 0, 1, 0, 3, 0, 0, 2], [1] * 8, [0, 1, 2, 3, 4, 5, 6, 6]])
def test_gradients_are_those_of_the_loss(classes):
    rows = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: balanced_contrast(r, torch.tensor(classes), 0.3), (rows,))


def test_pieces_bound_what_is_kept_for_the_backward_pass(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 64 * 16)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    rows = torch.randn(512, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        balanced_contrast(rows, torch.arange(512) % 5).backward()
    assert max(kept) <= 512 * 4


def test_a_class_of_many_points_weighs_no_more():
    """M2: with class 0 ten times over, class 1's anchors keep their losses."""

    def term(order: torch.Tensor, anchor: int) -> float:
        rows, classes = ROWS[order], CLASSES[order]
        s = rows @ rows[anchor] / 0.1
        others = torch.arange(len(rows)) != anchor
        total = sum(s[others & (classes == c)].exp().mean() for c in (0, 1, 2))
        return float(total.log() - s[others & (classes == classes[anchor])].mean())

    repeated = torch.cat([torch.arange(3).repeat(10), torch.tensor([3, 4, 5])])
    assert [term(repeated, 30), term(repeated, 31)] == pytest.approx([0.000658, 0.000130], abs=1e-6)
    by_hand = sum(term(repeated, a) for a in range(32)) / 32
    assert balanced_contrast(ROWS[repeated], CLASSES[repeated]).item() == pytest.approx(by_hand, abs=1e-9)


def test_perfect_features_of_aligned_labels():
    """M3: one-hot features of the very labels; labels in another order than the features give a large loss."""
    labels = torch.randint(4, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    features = torch.nn.functional.one_hot(labels, 4).double()
    aligned = balanced_contrast(features.flatten(0, 2), labels.flatten())
    assert aligned.item() == pytest.approx(math.log(1 + 3 * math.exp(-10)), abs=1e-7)
    assert balanced_contrast(features.flatten(0, 2), labels.transpose(0, 1).flatten()) > 1


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_collapsed_features_cost_the_log_of_the_number_of_classes(temperature):
    loss = balanced_contrast(torch.ones(6, 3), CLASSES, temperature)
    assert loss.item() == pytest.approx(math.log(3), abs=1e-6)


@pytest.mark.parametrize("chosen", [[0, 3, 5], [3], []])
def test_no_positives_no_loss_and_no_gradient(chosen):
    rows = ROWS[chosen].clone().requires_grad_()
    loss = balanced_contrast(rows, torch.arange(len(chosen)))
    loss.backward()
    assert loss.item() == 0
    assert not rows.grad.any()


@pytest.mark.parametrize(("shape", "block"), [((9, 14), (4, 5)), ((5, 8, 9), (7, 3, 4))])
def test_blocks_cover_the_map_in_time_and_none_is_taken_twice(shape, block):
    torch.manual_seed(0)
    labels = torch.zeros(3, *shape, dtype=torch.long)
    seen = torch.zeros(labels[0].numel(), dtype=torch.long)
    for _ in range(60):
        places = sample_blocks(labels, block, groups=2)
        assert places.shape == (3, 2, math.prod(min(b, n) for b, n in zip(block, shape, strict=True)))
        for one in places:
            assert len(one.unique()) == one.numel()
        seen += torch.bincount(places.flatten(), minlength=len(seen))
    assert (seen > 0).all()


def test_half_of_the_blocks_hold_foreground():
    labels = torch.zeros(1, 12, 12, dtype=torch.long)
    labels[0, 0, 0] = labels[0, 11, 11] = 1
    places = sample_blocks(labels, (3, 3), groups=4)
    assert labels.flatten(1)[0][places[0]].any(1).sum() == 2


def test_the_other_half_is_drawn_from_all_other_blocks_alike():
    torch.manual_seed(0)
    labels = torch.zeros(400, 12, 12, dtype=torch.long)
    labels[:, :6] = 1
    places = sample_blocks(labels, (3, 3), groups=4)
    held = labels.flatten(1).unsqueeze(1).expand(-1, 4, -1).gather(2, places).any(2)
    # 6 of the 14 blocks that are left hold foreground; each of 800 draws.
    assert (held.sum(1).float().mean() - 2).item() == pytest.approx(2 * 6 / 14, abs=0.1)


def test_groups_mix_blocks_with_and_without_foreground():
    """Else the groups of the uniform half have no foreground, and are left out of the loss."""
    labels = torch.zeros(8, 14, 14, dtype=torch.long)
    labels[:, 0, 0] = 1
    places = sample_blocks(labels, (7, 7), groups=4)
    held = labels.flatten(1).unsqueeze(1).expand(-1, 4, -1).gather(2, places).any(2)
    assert held.sum(1).tolist() == [1] * 8
    assert held.any(0).sum() > 1


def test_blocks_are_blocks():
    places = sample_blocks(torch.zeros(1, 6, 8, dtype=torch.long), (2, 4), groups=99)[0]
    assert len(places) == 6
    rows, columns = places // 8, places % 8
    assert (rows.amax(1) - rows.amin(1) == 1).all()
    assert (columns.amax(1) - columns.amin(1) == 3).all()
