"""Writing the worker's answers without standing still where nobody reads them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

#: So many lines wait for a slow reader.
_WAITING = 10_000
#: In the end, the reader has so many seconds to take the next line.
_PATIENCE = 5.0


class Answers:
    """Lines written to ``stream``, in order, by a thread of their own.

    A thread that hears requests and also writes to a full pipe would not hear their end, and the worker would stay with
    its memory.

    Args:
        closed: set when there are no more requests.
        broken: called, from the writing thread, when the stream takes no more.
    """

    def __init__(self, stream: TextIO, closed: threading.Event, broken: Callable[[], None]) -> None:
        self._stream, self._closed, self._broken = stream, closed, broken
        self._lines: deque[str] = deque()
        self._changed = threading.Condition()
        self._written, self._ending, self._gone = 0, False, False
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def put(self, line: str, *, wait: bool) -> None:
        """Have ``line`` written. Where too many wait: wait for the reader while requests may come, or drop the line.

        Once the stream takes no more, all are dropped: what runs is to end by being cancelled, and keep what it has.
        """
        with self._changed:
            while wait and len(self._lines) >= _WAITING and not (self._closed.is_set() or self._gone):
                # Looked at again and again: a signal's handler, which may close, must not notify.
                self._changed.wait(0.2)
            if not self._gone and (wait or len(self._lines) < _WAITING):
                self._lines.append(line)
                self._changed.notify_all()

    def finish(self) -> bool:
        """Wait until all is written; False if nobody takes it."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        before = -1
        while self._writer.is_alive() and self._written != before:
            before = self._written
            self._writer.join(_PATIENCE)
        return not self._writer.is_alive()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._ending)
                if not self._lines:
                    return
                line = self._lines.popleft()
                self._changed.notify_all()
            try:
                self._stream.write(line)
                self._stream.flush()
            except OSError:
                self._gone = True
                self._broken()
                return
            self._written += 1
