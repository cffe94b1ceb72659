"""How weights grow over a run."""

from __future__ import annotations

import math


def ramp(done: float, length: float) -> float:
    """exp(-5 (1 - min(t, T) / T)^2): from 0.0067 at ``done`` = 0 to 1 from ``length`` on (Laine and Aila; UA-MT, CPS).

    ``done`` and ``length`` are in one unit, steps or shares of the budget; a length of 0 means 1 throughout.
    """
    return math.exp(-5 * (1 - min(done, length) / length) ** 2) if length > 0 else 1.0
