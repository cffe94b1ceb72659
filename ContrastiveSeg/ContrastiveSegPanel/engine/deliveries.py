"""Handing events on from the event loop, so that a flood of them never freezes Slicer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contrastiveseg.events import Metric, Progress

from ..timer import single_shot


@dataclass
class _Pending:
    recipient: Any
    content: Any


class Deliveries:
    """Events wait here, and are given in their order, at most 20 times a second, then in a row.

    Of progress only the newest is given; nothing else is left out.

    Args:
        give: called with a recipient, or None, and what it gets.
    """

    _FLUSH_MS = 50
    #: Seconds to hand on events before the rest waits for its turn.
    _TURN = 0.02

    def __init__(self, give: Callable[[Any, Any], None]) -> None:
        self._give = give
        self._pending: deque[_Pending] = deque()
        #: By recipient, the progress that waits and may be replaced.
        self._progress: dict[int, _Pending] = {}
        self._timer = single_shot(self._deliver)

    def add(self, recipient: Any, content: Any) -> None:
        """Let ``content`` wait for its delivery."""
        newest = self._progress.get(id(recipient))
        if isinstance(content, Progress) and newest is not None:
            newest.content = content
            return
        pending = _Pending(recipient, content)
        if isinstance(content, Progress):
            self._progress[id(recipient)] = pending
        elif recipient is not None and not isinstance(content, Metric):
            # Progress of another stage, or after an end, must not move before it.
            self._progress.pop(id(recipient), None)
        self._pending.append(pending)

    def deliver_soon(self, at_once: bool = False) -> None:
        """Hand events on now, unless that was done just before; an end (``at_once``) does not wait."""
        if at_once or not self._timer.isActive():
            self._deliver()

    def deliver_later(self) -> None:
        """Hand events on in the next turn of the event loop."""
        self._timer.start(0)

    def deliver_all(self) -> None:
        """Hand all on now, those too that come meanwhile."""
        self._timer.stop()
        while self._pending:
            self._deliver_one()

    def _deliver(self) -> None:
        if not self._pending:
            return
        until = time.monotonic() + self._TURN
        while self._pending and time.monotonic() < until:
            self._deliver_one()
        self._timer.start(0 if self._pending else self._FLUSH_MS)

    def _deliver_one(self) -> None:
        pending = self._pending.popleft()
        if self._progress.get(id(pending.recipient)) is pending:
            del self._progress[id(pending.recipient)]
        self._give(pending.recipient, pending.content)
