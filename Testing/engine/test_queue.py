"""The queue of keys: filled progressively, first in first out, and never an anchor's own volume (CVRL T6, MixCL 1)."""

import math

import pytest
import torch

from contrastiveseg.contrast.queue import KeyQueue, instance_contrast


def keys(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def filled(*rows: tuple[float, ...], ids: tuple[int, ...], length: int = 8) -> KeyQueue:
    queue = KeyQueue(length, 2)
    queue.push(keys(*rows), torch.tensor(ids))
    return queue


def test_wraps_around():
    queue = KeyQueue(5, 1)
    for start in (0, 2, 4):
        queue.push(torch.tensor([[start], [start + 1.0]]), torch.tensor([start, start + 1]))
    assert queue.ids.tolist() == [5, 1, 2, 3, 4]
    assert queue.keys.flatten().tolist() == [5, 1, 2, 3, 4]
    queue.push(torch.arange(7.0).unsqueeze(1), torch.arange(7))
    assert sorted(queue.ids.tolist()) == [2, 3, 4, 5, 6]


def test_unfilled_places_and_own_keys_are_not_foreign():
    queue = filled((1, 0), (0, 1), ids=(3, 4), length=4)
    expected = [[False, True, False, False], [True, False, False, False], [True, True, False, False]]
    assert queue.foreign(torch.tensor([3, 4, 0])).tolist() == expected


def test_keys_keep_no_gradient_and_state_survives_a_resumption():
    queue, rows = KeyQueue(4, 2), torch.randn(3, 2, requires_grad=True)
    queue.push(rows * 2, torch.arange(3))
    assert not queue.keys.requires_grad
    again = KeyQueue(4, 2)
    again.load_state_dict(queue.state_dict())
    for one in (queue, again):
        one.push(keys((5, 5), (6, 6)), torch.tensor([8, 9]))
    assert torch.equal(queue.keys, again.keys)
    assert queue.ids.tolist() == again.ids.tolist() == [9, 1, 2, 8]


def loss(queue: KeyQueue, subjects: tuple[int, ...] = (0,), in_batch: bool = False) -> float:
    anchors = keys((1, 0), (0, 1))[: len(subjects)]
    return instance_contrast(anchors, anchors, torch.tensor(subjects), queue, 1.0, in_batch).item()


def test_hand_values_of_the_identity_loss():
    assert loss(filled((0, 1), (-1, 0), ids=(1, 2))) == pytest.approx(0.407606, abs=1e-6)
    assert loss(filled((0, 1), (-1, 0), ids=(0, 0))) == 0
    assert loss(filled((0, 1), (-1, 0), ids=(1, 2), length=2)) == pytest.approx(0.407606, abs=1e-6)
    assert loss(KeyQueue(8, 2)) == 0


def test_keys_of_the_batch():
    empty = KeyQueue(8, 2)
    assert loss(empty, (0, 1), in_batch=True) == pytest.approx(math.log(1 + math.exp(-1)), abs=1e-6)
    assert loss(empty, (0, 1)) == 0
    # Two crops of one volume are no negatives of each other.
    assert loss(empty, (3, 3), in_batch=True) == 0
