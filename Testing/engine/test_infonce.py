"""The one contrastive loss against its definition, in pieces, under autocast and without positives."""

import math

import pytest
import torch

from contrastiveseg.contrast import infonce as module
from contrastiveseg.contrast.infonce import infonce, unit


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return unit(torch.randn(*shape, generator=random, dtype=torch.float64))


def by_hand(anchors, keys, positive, compared, temperature):
    """The definition, pair by pair."""
    losses = []
    for a, anchor in enumerate(anchors):
        similar = [float(anchor @ key) / temperature for key in keys]
        denominator = sum(math.exp(s) for s, c in zip(similar, compared[a], strict=True) if c)
        found = [-math.log(math.exp(s) / denominator) for s, p in zip(similar, positive[a], strict=True) if p]
        if found:
            losses.append(sum(found) / len(found))
    return sum(losses) / len(losses)


def masks(anchors: int, keys: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    positive = torch.rand(anchors, keys, generator=random) < 0.3
    positive[1] = False
    return positive, positive | (torch.rand(anchors, keys, generator=random) < 0.5)


def test_equals_the_definition():
    anchors, keys = rows(5, 4), rows(7, 4, seed=2)
    positive, compared = masks(5, 7)
    expected = by_hand(anchors, keys, positive, compared, 0.2)
    assert infonce(anchors, keys, positive, compared, 0.2).item() == pytest.approx(expected, abs=1e-12)


def test_positives_that_count_as_one():
    anchors, keys = rows(5, 4), rows(7, 4, seed=2)
    positive, compared = masks(5, 7)
    losses = []
    for a in range(5):
        similar = [math.exp(float(anchors[a] @ key) / 0.2) for key in keys]
        attracted = [s for s, p in zip(similar, positive[a], strict=True) if p]
        repelled = [s for s, p, c in zip(similar, positive[a], compared[a], strict=True) if c and not p]
        if attracted:
            mean = sum(attracted) / len(attracted)
            losses.append(-math.log(mean / (mean + sum(repelled))))
    found = infonce(anchors, keys, positive, compared, 0.2, together=True)
    assert found.item() == pytest.approx(sum(losses) / len(losses), abs=1e-8)
    one = torch.nn.functional.one_hot(torch.arange(5), 7).bool()
    torch.testing.assert_close(
        infonce(anchors, keys, one, together=True), infonce(anchors, keys, one), atol=1e-8, rtol=0
    )
    alone = infonce(anchors.requires_grad_(), keys, one, one, together=True)
    assert alone.item() == pytest.approx(0, abs=1e-12)
    assert torch.isfinite(torch.autograd.grad(alone, anchors)[0]).all()


def test_the_number_of_the_only_positive_equals_its_mask():
    anchors, keys, index = rows(3, 5, 4), rows(3, 7, 4, seed=2), torch.tensor([[2, 0, -1, 6, 6]] * 3)
    mask = torch.nn.functional.one_hot(index.clamp_min(0), 7).bool() & (index >= 0).unsqueeze(-1)
    torch.testing.assert_close(infonce(anchors, keys, index), infonce(anchors, keys, mask))
    each = [infonce(a, k, index[0]) for a, k in zip(anchors, keys, strict=True)]
    torch.testing.assert_close(infonce(anchors, keys, index), torch.stack(each).mean())


def test_problems_share_a_mask():
    anchors, keys = rows(3, 5, 4), rows(3, 7, 4, seed=2)
    positive, compared = masks(5, 7)
    shared = infonce(anchors, keys, positive, compared)
    own = infonce(anchors, keys, positive.expand(3, 5, 7), compared.expand(3, 5, 7))
    torch.testing.assert_close(shared, own)
    torch.testing.assert_close(
        shared, torch.stack([infonce(a, k, positive, compared) for a, k in zip(anchors, keys, strict=True)]).mean()
    )


@pytest.mark.parametrize("chunk", [1, 2 * 7, 5 * 7, 2 * 5 * 7])
@pytest.mark.parametrize("by_index", [False, True])
def test_pieces_change_neither_loss_nor_gradient(monkeypatch, chunk, by_index):
    positive, compared = masks(5, 7)
    positive = torch.tensor([2, 0, -1, 6, 6]) if by_index else positive
    compared = None if by_index else compared
    results = []
    for size in (2**21, chunk):
        monkeypatch.setattr(module, "CHUNK", size)
        anchors, keys = rows(3, 5, 4).requires_grad_(), rows(3, 7, 4, seed=2).requires_grad_()
        loss = infonce(anchors, keys, positive, compared)
        results.append((loss.detach(), *torch.autograd.grad(loss, (anchors, keys))))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("kind", ["mask", "index", "together"])
def test_gradients_are_those_of_the_loss(kind):
    positive, compared = masks(5, 7)
    positive = torch.tensor([2, 0, -1, 6, 6]) if kind == "index" else positive
    leaves = (rows(2, 5, 4).requires_grad_(), rows(2, 7, 4, seed=2).requires_grad_())
    assert torch.autograd.gradcheck(
        lambda a, k: infonce(a, k, positive, compared if kind != "index" else None, 0.2, kind == "together"), leaves
    )
    keys_only = (leaves[0].detach(), leaves[1])
    assert torch.autograd.gradcheck(lambda a, k: infonce(a, k, positive, None, 0.2, kind == "together"), keys_only)


def test_pieces_bound_what_is_kept_for_the_backward_pass(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 64 * 16)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    anchors, keys = torch.randn(512, 4, requires_grad=True), torch.randn(64, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        infonce(unit(anchors), unit(keys), torch.zeros(512, dtype=torch.long)).backward()
    assert max(kept) <= 512 * 4


def test_no_positive_is_a_loss_of_exactly_zero():
    anchors = rows(3, 4).requires_grad_()
    for positive in (torch.zeros(3, 5, dtype=torch.bool), torch.full((3,), -1)):
        for compared in (None, torch.zeros(3, 5, dtype=torch.bool)):
            loss = infonce(anchors, rows(5, 4), positive, compared)
            gradient = torch.autograd.grad(loss, anchors)[0]
            assert loss.item() == 0
            assert torch.equal(gradient, torch.zeros_like(gradient))
    empty = infonce(anchors[:0], anchors[:0], torch.zeros(0, 0, dtype=torch.bool))
    assert empty.item() == 0
    empty.backward()


def test_one_key_alone_costs_nothing():
    assert infonce(rows(1, 4), rows(1, 4, seed=2), torch.tensor([0])).item() == pytest.approx(0, abs=1e-12)


def test_float32_even_under_autocast():
    anchors, keys = torch.randn(6, 8), torch.randn(9, 8)
    exact = infonce(unit(anchors), unit(keys), torch.arange(6))
    with torch.autocast("cpu", torch.bfloat16):
        inside = infonce(unit(anchors), unit(keys), torch.arange(6))
        assert unit(anchors.bfloat16()).dtype == torch.float32
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, exact)


def test_unit_rows():
    torch.testing.assert_close(unit(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))
    short = torch.zeros(2, 3, requires_grad=True)
    unit(short, 1e-6).sum().backward()
    assert torch.isfinite(short.grad).all()
