"""Warnings for a volume node that is not like the volumes a model was trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.planning.compatibility import incompatibilities, warning_text

from ..mrml.grids import grid_of


def warnings(volume: Any, card: Card, channel: int = 0) -> list[str]:
    """How a scalar volume node differs from the volumes that ``card``'s model was trained on; [] if it does not.

    Args:
        channel: which of the model's channels the volume is for.
    """
    plan = replace(card.plan, channels=(card.plan.channels[channel],))
    array = slicer.util.arrayFromVolume(volume)
    problems = incompatibilities(plan, grid_of(volume).geometry(), [array])
    return [warning_text(problem, volume.GetName(), _) for problem in problems]
