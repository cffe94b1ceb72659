"""Long names in narrow columns: without what all of them begin with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

#: Names of so many characters fit into a column.
_FITS = 16


def told_apart(names: Sequence[str]) -> list[str]:
    """``names``; where one does not fit, "…" stands for the words that all of them begin with."""
    start = len(list(takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))))
    while start and any(_inside_a_word(name, start) for name in names):
        start -= 1
    if start < 2 or max(map(len, names)) <= _FITS or any(not name[start:].strip() for name in names):
        return list(names)
    return ["…" + name[start:] for name in names]


def _inside_a_word(name: str, place: int) -> bool:
    """Whether the characters before and after ``place`` are both letters or both digits."""
    around = name[place - 1 : place + 1]
    return len(around) == 2 and (around.isalpha() or around.isdigit())
