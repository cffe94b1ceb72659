"""Python's search for garbage where there is none: in large libraries, while they load and when their process ends."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unsearched() -> Iterator[None]:
    """Inside nothing is searched, as while libraries load: torch alone makes so many objects that it takes 0.2 s."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def not_searched_at_exit() -> None:
    """Spare this process the last search, which goes through all libraries once more; the system takes its memory."""
    atexit.register(gc.freeze)
