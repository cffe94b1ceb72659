"""Ctrl+C and SIGTERM: the first asks what runs to stop and keep what it has, the second stops at once."""

from __future__ import annotations

import signal
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first interrupt while inside, and raise KeyboardInterrupt at the next.

    ``stop`` runs between two instructions of the main thread, so it must take no lock that the main thread holds.
    """
    interrupted = False

    def interrupt(number: int, frame: types.FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        stop()
        print("Stopping; once more to stop at once.", file=sys.stderr)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
