"""What a training's cases look like to the network that learned from them, and how far another volume is from that."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: From here on a volume is told to be unlike those of the training (Testing/benchmarks/distance.py).
FAR = 2.0


@dataclass(frozen=True)
class Familiarity:
    """Features of a training's labeled cases: for each map of the network's pyramid the mean and the deviation of each
    channel over a case, averaged over the cases.

    A volume's distance is that of its features from this mean, in units in which the training cases are 1 from the mean
    of the others: the root mean square over channels, then over maps.

    Attributes:
        cases: how many there are.
        center: (2C,) of each map, the mean over the cases.
        spread: of each map, how far a further case of this kind is expected from it, above 0.
    """

    cases: int
    center: tuple[tuple[float, ...], ...]
    spread: tuple[float, ...]

    def distance(self, levels: Sequence[Sequence[float]]) -> float | None:
        """That of a volume with the features ``levels``; None where they are not those of this network."""
        if [len(level) for level in levels] != [len(level) for level in self.center]:
            return None
        ratios = [
            math.dist(level, center) / math.sqrt(len(center)) / spread
            for level, center, spread in zip(levels, self.center, self.spread, strict=True)
        ]
        distance = math.hypot(*ratios) / math.sqrt(len(ratios))
        return distance if math.isfinite(distance) else None


def far_text(distance: float, volume: str, _: Callable[[str], str] = str) -> str:
    """That the volume of that name is far from the training, as a sentence.

    Args:
        _: translates a sentence before its values are filled in.
    """
    text = _(
        "{volume} looks unlike the volumes that the model was trained on: it is {distance:.1f} times as far from them "
        "as they are from one another."
    )
    return text.format(volume=volume, distance=distance)
