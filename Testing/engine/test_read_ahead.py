"""The next input is read while this one is worked on: in order, one ahead, and failures come where they belong."""

from __future__ import annotations

import threading

import pytest

from contrastiveseg.segmentation.read_ahead import read_ahead


def test_everything_is_read_once_and_comes_in_order() -> None:
    read: list[int] = []

    def square(item: int) -> int:
        read.append(item)
        return item**2

    assert [(item, take()) for item, take in read_ahead([3, 1, 2], square)] == [(3, 9), (1, 1), (2, 4)]
    assert sorted(read) == [1, 2, 3]


def test_the_next_is_read_meanwhile_and_no_more_than_that() -> None:
    begun = {item: threading.Event() for item in range(4)}

    def read(item: int) -> int:
        begun[item].set()
        return item

    source = read_ahead(range(4), read)
    item, _ = next(source)
    assert item == 0
    assert begun[1].wait(30)
    assert not begun[2].is_set()
    source.close()


def test_what_fails_is_tried_again_in_its_turn() -> None:
    tries: list[int] = []

    def read(item: int) -> int:
        tries.append(item)
        if item == 1:
            raise MemoryError("no room")
        return item

    source = read_ahead(range(3), read)
    assert next(source)[1]() == 0
    _, failing = next(source)
    with pytest.raises(MemoryError, match="no room"):
        failing()
    assert next(source)[1]() == 2
    assert tries.count(1) == 2


def test_what_did_not_fit_beside_another_is_read_alone() -> None:
    first = threading.Event()

    def read(item: int) -> int:
        if item == 1 and not first.is_set():
            first.set()
            raise MemoryError("no room")
        return item

    source = read_ahead([0, 1], read)
    assert [take() for _, take in source] == [0, 1]
    assert first.is_set()
