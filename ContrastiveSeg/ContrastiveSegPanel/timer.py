"""Calling something once, a little later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


def single_shot(on_timeout: Callable[[], object]) -> Any:
    """A QTimer that calls ``on_timeout`` once after each start."""
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.connect("timeout()", on_timeout)
    return timer
