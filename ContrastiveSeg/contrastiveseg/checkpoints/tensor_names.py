"""What the layouts of foreign files have in common: how our blocks are called, and what names and shapes tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import Tensor

#: A convolution and the norm behind it, as our blocks name them.
LAYERS = ("conv", "adn.N")


def dimensions_of(weight: Tensor) -> Literal[2, 3]:
    """Of a convolution."""
    return 2 if weight.ndim == 4 else 3


def parts_below(names: Iterable[str], start: str) -> int:
    """How many parts below ``start`` have tensors, the last number plus one."""
    parts = [n.removeprefix(f"{start}.").split(".")[0] for n in names if n.startswith(f"{start}.")]
    return 1 + max((int(n) for n in parts if n.isdecimal()), default=-1)
