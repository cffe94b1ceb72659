"""Signals inside the panel, without Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Calls every connected function with what is emitted, in the order they were connected."""

    def __init__(self) -> None:
        self._listeners: list[Callable[..., Any]] = []

    def connect(self, listener: Callable[..., Any]) -> None:
        """Call ``listener`` at every emission; a listener already there is not added again."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def disconnect(self, listener: Callable[..., Any]) -> None:
        """No longer call ``listener``; one that is not there is no mistake."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def emit(self, *values: Any) -> None:
        """Call the listeners; one that disconnects itself or others meanwhile does no harm."""
        for listener in list(self._listeners):
            if listener in self._listeners:
                listener(*values)
