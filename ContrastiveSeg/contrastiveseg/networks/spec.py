"""Names a network; light to import, so that a checkpoint's card can be read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class NetworkSpec:
    """Names a backbone and its arguments; with it a checkpoint rebuilds exactly the network it was trained with.

    ``name`` is one of :func:`.registry.available_backbones`; ``arguments`` are the keyword arguments of that function
    (JSON types only).
    """

    name: str
    dimensions: Literal[2, 3]
    in_channels: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
