"""Writing the last result of a batch while the next one is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Written = TypeVar("Written")


class WriteBehind(Generic[Written]):
    """Writes what it is given in a thread, one at a time and in order; no more than one waits to be written.

    Args:
        write: called in the thread.
        told: called by :meth:`finish`, in the thread that calls it, with an item and what its writing raised, if
            anything.
    """

    def __init__(self, write: Callable[[Written], None], told: Callable[[Written, BaseException | None], None]) -> None:
        self._write, self._told = write, told
        self._pool = ThreadPoolExecutor(1)
        self._begun: tuple[Written, Future[None]] | None = None

    def put(self, item: Written) -> None:
        """Begin to write ``item``, after the one before it."""
        self.finish()
        self._begun = item, self._pool.submit(self._write, item)

    def finish(self) -> None:
        """Wait for what is being written, and tell of it."""
        if self._begun is not None:
            (item, future), self._begun = self._begun, None
            self._told(item, future.exception())

    def __enter__(self) -> WriteBehind[Written]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown()
