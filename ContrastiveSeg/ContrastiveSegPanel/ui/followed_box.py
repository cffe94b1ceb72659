"""Combo boxes whose entry counts by whomever it was chosen: the user, or a script that sets the box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .silent import silent


def follow(box: Any, on_choice: Callable[[int], object]) -> None:
    """Call ``on_choice`` with the index when an entry is chosen, also one that was shown already.

    For a user's choice of another entry it is called twice.
    """
    box.connect("activated(int)", on_choice)
    box.connect("currentIndexChanged(int)", on_choice)


def index_of(words: Sequence[str], word: str) -> int:
    """The place of ``word`` among the ``words`` of a box; the first, where a saved scene says another one."""
    return words.index(word) if word in words else 0


def show_entry(box: Any, index: int) -> None:
    """Let ``box`` show an entry that nobody has chosen now."""
    with silent(box):
        box.setCurrentIndex(index)
