"""Long lists in sentences: the first few, and that there are more."""

from __future__ import annotations

from collections.abc import Sequence


def first_few(texts: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """The first ``most`` of ``texts`` in a row, and "…" for the others."""
    return between.join(texts[:most]) + (" …" if len(texts) > most else "")
