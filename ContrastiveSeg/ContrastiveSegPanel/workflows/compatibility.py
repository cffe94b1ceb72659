"""Warnings for a volume node that is not like the volumes a model was trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.planning.compatibility import incompatibilities, warning_text
from contrastiveseg.volumes.volume import Geometry


def warnings(volume: Any, card: Card, channel: int = 0) -> list[str]:
    """How a scalar volume node differs from the volumes that ``card``'s model was trained on; [] if it does not.

    Args:
        channel: which of the model's channels the volume is for.
    """
    plan = replace(card.plan, channels=(card.plan.channels[channel],))
    array = slicer.util.arrayFromVolume(volume)
    problems = incompatibilities(plan, geometry_of(volume), [array])
    return [warning_text(problem, volume.GetName(), _) for problem in problems]


def geometry_of(volume: Any) -> Geometry:
    """The volume's own grid, before any parent transform, which the engine does not see."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASDirectionMatrix(matrix)
    signs = (-1, -1, 1)  # RAS to LPS
    direction = tuple(signs[r] * matrix.GetElement(r, c) for r in range(3) for c in range(3))
    origin = tuple(s * o for s, o in zip(signs, volume.GetOrigin(), strict=True))
    return Geometry(volume.GetImageData().GetDimensions(), volume.GetSpacing(), origin, direction)
