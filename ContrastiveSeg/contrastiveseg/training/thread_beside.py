"""A thread that works beside the one that computes, and does not slow it down."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch


def thread_beside() -> ThreadPoolExecutor:
    """A pool of one thread, in which torch computes with that thread alone.

    As it is, torch gives every thread a team of its own, as large as the first one's. With more threads than cores,
    those of a team sleep between two operations instead of waiting for the next, even while the other team has nothing
    to do: of a small network's training step on two cores that is a third (Testing/benchmarks/thread_scaling.py).
    """
    pool, before = ThreadPoolExecutor(1), torch.get_num_threads()
    pool.submit(_compute_alone).result()
    torch.set_num_threads(before)  # for threads that begin later
    return pool


def _compute_alone() -> None:
    torch.get_num_threads()  # a thread's first call sets its number to the one that all share
    torch.set_num_threads(1)
