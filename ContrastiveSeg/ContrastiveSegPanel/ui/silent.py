"""Widgets that are set without telling anyone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def silent(widget: Any) -> Iterator[None]:
    """What is shown in ``widget`` meanwhile was not chosen by the user: it emits no signals."""
    was = widget.blockSignals(True)
    try:
        yield
    finally:
        widget.blockSignals(was)
