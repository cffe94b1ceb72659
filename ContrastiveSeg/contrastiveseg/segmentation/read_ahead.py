"""Reading the next input of a batch while this one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")


def read_ahead(items: Sequence[Item], read: Callable[[Item], Read]) -> Iterator[tuple[Item, Callable[[], Read]]]:
    """Each of ``items`` in order, with a function to be called once that gives or raises what ``read`` does of it.

    The next one is read in a thread meanwhile, and no more than that one. What fails there is read again by the
    function, with the memory that has become free since.
    """
    pool = ThreadPoolExecutor(1)
    try:
        begun: Future[Read] | None = None
        for index, item in enumerate(items):
            mine = begun

            def wait(item: Item = item, mine: Future[Read] | None = mine) -> Read:
                if mine is None or mine.exception() is not None:
                    return read(item)
                return mine.result()

            if mine is not None:
                mine.exception()  # the thread has one thing to read at a time
            begun = pool.submit(read, items[index + 1]) if index + 1 < len(items) else None
            yield item, wait
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
