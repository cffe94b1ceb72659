"""The thread beside the one that computes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from contrastiveseg.training.thread_beside import thread_beside


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_torch_computes_alone_in_it_and_as_before_elsewhere(three_threads):
    with thread_beside() as beside:
        assert beside.submit(torch.get_num_threads).result() == 1
        # Computing there begins no team, which would put the one of this thread to sleep.
        beside.submit(lambda: torch.ones(1_000_000).exp().sum()).result()
        assert beside.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 3


def test_threads_that_begin_later_compute_as_before(three_threads):
    with thread_beside():
        pass
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 3
