"""Supervised contrast with partial labels of several data sets (MixCL specification, tests 2 to 5 and 8)."""

import pytest
import torch

from contrastiveseg.contrast.label_contrast import balanced_cells, draw_cells, label_contrast

PAIRS = ((1, 0), (1, 0), (0, 1), (0, 1))


def loss(rows, labels, data_sets=None, temperature=1.0) -> float:
    rows, labels = torch.tensor(rows, dtype=torch.float64), torch.tensor(labels)
    sets = torch.zeros_like(labels) if data_sets is None else torch.tensor(data_sets)
    return label_contrast(rows, labels, sets, temperature).item()


@pytest.mark.parametrize(
    ("rows", "labels", "expected"),
    [
        (PAIRS, (1, 1, 2, 2), 0.551445),
        (PAIRS, (1, 2, 1, 2), 1.551445),
        # 1.171149 would mean that background was an anchor.
        (((1, 0), (1, 0), (0, 1), (1, 0)), (1, 1, 0, 0), 0.861995),
    ],
)
def test_hand_values(rows, labels, expected):
    assert loss(rows, labels) == pytest.approx(expected, abs=1e-6)


def test_without_labels_it_is_exactly_zero():
    rows = torch.randn(4, 3, requires_grad=True)
    for labels in ((-1, -1, -1, -1), (0, 0, 0, 0), (1, 2, 3, 0), (1, -1, 0, -1)):
        found = label_contrast(rows, torch.tensor(labels), torch.zeros(4, dtype=torch.long))
        gradient = torch.autograd.grad(found, rows)[0]
        assert found.item() == 0
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_cells_without_label_play_no_part():
    torch.manual_seed(0)
    rows, labels = torch.randn(8, 3), (1, 1, 0, 2, 2, 0, -1, -1)
    found = loss(rows.tolist(), labels)
    noise = rows.clone()
    noise[6:] = 100 * torch.randn(2, 3)
    assert loss(noise.tolist(), labels) == pytest.approx(found, abs=1e-12)
    assert loss(rows[:6].tolist(), labels[:6]) == pytest.approx(found, abs=1e-12)


def test_other_data_sets_change_nothing():
    torch.manual_seed(0)
    rows, labels = torch.randn(6, 3).tolist(), (1, 1, 0, 2, 2, 0)
    strangers = torch.randn(4, 3).tolist()
    alone = loss(rows, labels)
    # Neither of the strangers' classes has two cells: they add no anchors, and are no negatives of the others.
    assert loss([*rows, *strangers], (*labels, 1, 2, 0, 3), (0,) * 6 + (1,) * 4) == pytest.approx(alone, abs=1e-12)
    # Anchors of their own are averaged in, each with the loss it has alone.
    theirs = loss(strangers, (1, 1, 0, 0))
    both = loss([*rows, *strangers], (*labels, 1, 1, 0, 0), (0,) * 6 + (1,) * 4)
    assert both == pytest.approx((4 * alone + 2 * theirs) / 6, abs=1e-12)


def test_names_of_classes_and_lengths_of_rows_do_not_matter():
    torch.manual_seed(0)
    rows, labels = torch.randn(8, 3), (0, 1, 2, 3, 0, 1, 2, 3)
    found = loss(rows.tolist(), labels)
    assert loss(rows.tolist(), [{0: 0, 1: 3, 2: 1, 3: 2}[v] for v in labels]) == pytest.approx(found, abs=1e-12)
    assert loss((rows * torch.rand(8, 1).add(0.1)).tolist(), labels) == pytest.approx(found, abs=1e-6)


def test_so_many_cells_of_each_class_of_each_data_set():
    torch.manual_seed(0)
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 3 + [-1] * 20 + [1] * 40)
    sets = torch.tensor([0] * 103 + [1] * 40)
    chosen = draw_cells(labels, sets, 10)
    assert len(chosen.unique()) == len(chosen)
    found = sorted(zip(sets[chosen].tolist(), labels[chosen].tolist(), strict=True))
    assert found == [(0, 0)] * 10 + [(0, 1)] * 10 + [(0, 2)] * 3 + [(1, 1)] * 10
    assert set(chosen.tolist()) != set(draw_cells(labels, sets, 10).tolist())
    assert len(draw_cells(torch.full((5,), -1), torch.zeros(5), 10)) == 0


def test_small_labels_are_drawn_as_often_as_large_ones():
    torch.manual_seed(0)
    labels = torch.zeros(2, 1000, dtype=torch.long)
    labels[:, :50] = 3
    labels[1, 50:100] = 7
    cells = balanced_cells(labels, 60)
    assert cells.shape == (2, 60)
    assert all(len(row.unique()) == 60 for row in cells), "no cell twice"
    shares = [(labels.gather(1, cells) == value).float().mean(1).tolist() for value in (0, 3, 7)]
    # Half each in the first map, a third each in the second; drawn without putting back.
    assert shares[1][0] == pytest.approx(0.5, abs=0.2)
    assert [share[1] for share in shares] == pytest.approx([1 / 3] * 3, abs=0.2)
    assert balanced_cells(labels[:, :9], 60).sort(1).values.tolist() == [list(range(9))] * 2
