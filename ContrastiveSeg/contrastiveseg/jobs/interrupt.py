"""Ctrl+C, SIGTERM and a closed terminal ask what runs to stop and keep what it has; Ctrl+C again stops it at once."""

from __future__ import annotations

import signal
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

#: What asks to stop; Windows has the last in place of SIGHUP.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
#: Those of them of which a second one stops at once. A closed terminal may send its own several times.
_INSISTING = ("SIGINT", "SIGTERM")


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first interrupt while inside, and raise KeyboardInterrupt at the next.

    ``stop`` runs between two instructions of the main thread, so it must take no lock that the main thread holds.
    """
    interrupted = False
    insisting = {getattr(signal, name) for name in _INSISTING}

    def interrupt(number: int, frame: types.FrameType | None) -> None:
        nonlocal interrupted
        if interrupted and number in insisting:
            raise KeyboardInterrupt
        if interrupted:
            return
        interrupted = True
        stop()
        with suppress(OSError, RuntimeError):  # the terminal is gone, the log's disk full, or a line half-written
            print("Stopping; once more to stop at once.", file=sys.stderr)

    asking = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    # nohup has it ignored, so that the job outlives its terminal.
    asking = [number for number in asking if number in insisting or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in asking}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
