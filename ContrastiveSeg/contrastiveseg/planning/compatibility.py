"""Whether a volume is like those a plan was made for: the check, and its wording in panel and terminal.

A volume that differs is never refused; the user is warned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..volumes.orientation import canonical_axes, oriented_axes
from ..volumes.volume import Geometry
from .normalize import looks_like_ct
from .plan import Modality, Plan, millimeters

#: About as many voxels of a channel decide its modality.
_VOXELS = 200_000
#: Voxels more than so many times coarser, or finer, than the plan's are incompatible.
_COARSE, _FINE = 2.0, 4.0
#: Degrees between the volume's axes and the patient's.
_MAX_TILT = 20.0
#: Share of the plan's patch that a volume should cover along each axis.
_COVER = 0.5


@dataclass(frozen=True)
class Incompatibility:
    """One way in which a volume differs from the training data.

    Attributes:
        code: what differs.
        value: what the volume has: its number of channels, a channel's modality, the voxel spacing in mm (z, y, x),
            the angle between its axes and the patient's in degrees, or its extent in mm (z, y, x).
        expected: what the plan has; for "tilt" the largest accepted angle, for "field_of_view" the extent of the patch.
        channel: index of the channel with another modality.
        intensities: lowest and highest value of that channel, where they are known.
    """

    code: Literal["channels", "modality", "spacing", "tilt", "field_of_view"]
    value: Any
    expected: Any
    channel: int | None = None
    intensities: tuple[float, float] | None = None


def incompatibilities(plan: Plan, geometry: Geometry, channels: Sequence[np.ndarray]) -> list[Incompatibility]:
    """How a volume with these ``channels``, arrays (z, y, x) on ``geometry``, differs from those ``plan`` was made for.

    Of large arrays a sample of the voxels is read.
    """
    if len(channels) != len(plan.channels):
        problems = [Incompatibility("channels", len(channels), len(plan.channels))]
    else:
        problems = [p for index, array in enumerate(channels) if (p := _modality(plan, index, array))]
    axes = oriented_axes(geometry, plan.conventions.orientation)
    spacing = axes.spacing_zyx(geometry)
    # In 2D the slices keep their own distance.
    used = [axis for axis in range(3) if plan.dimensions == 3 or axis != plan.slice_axis]
    trained_on = plan.volume_spacing or plan.spacing
    ratios = [spacing[axis] / trained_on[axis] for axis in used]
    if max(ratios) > _COARSE or min(ratios) < 1 / _FINE:
        problems.append(Incompatibility("spacing", spacing, trained_on))
    upright = canonical_axes(geometry).permutation
    cosines = [abs(geometry.direction[3 * patient + 2 - upright[2 - patient]]) for patient in range(3)]
    tilt = math.degrees(math.acos(min(1.0, *cosines)))
    if tilt > _MAX_TILT:
        problems.append(Incompatibility("tilt", tilt, _MAX_TILT))
    extent = tuple(geometry.shape[axes.permutation[axis]] * spacing[axis] for axis in range(3))
    patch = tuple(plan.patch[axis] * plan.spacing[axis] for axis in range(3))
    if any(extent[axis] < _COVER * patch[axis] for axis in used):
        problems.append(Incompatibility("field_of_view", extent, patch))
    return problems


def modality_mismatch(expected: Modality, found: Modality, channel: int = 0) -> Incompatibility | None:
    """The incompatibility of a channel that looks like ``found`` with a plan for ``expected``, if there is one."""
    return None if expected in ("any", "other", found) else Incompatibility("modality", found, expected, channel)


def warning_text(problem: Incompatibility, volume: str, _: Callable[[str], str] = str) -> str:
    """``problem`` of the volume of that name as a sentence.

    Args:
        _: translates a sentence before its values are filled in.
    """
    value, expected = problem.value, problem.expected
    low, high = problem.intensities or (0.0, 0.0)
    if problem.code == "channels":
        text = _("{volume} has {value} channel(s); the model takes {expected}.")
    elif problem.code == "modality":
        if value == "CT":
            text = _("{volume} looks like CT; the model was trained on {expected}.")
        elif problem.intensities:
            text = _(
                "The model was trained on {expected}; the values of {volume} ({low:g} to {high:g}) do not look like it."
            )
        else:
            text = _("The model was trained on {expected}; {volume} does not look like it.")
    elif problem.code == "spacing":
        value, expected = millimeters(value), millimeters(expected)
        text = _("Voxels of {volume} are {value} mm; the model was trained on {expected} mm.")
    elif problem.code == "tilt":
        text = _("{volume} lies {value:.0f}° oblique to the patient's axes; the model sees it as if it were straight.")
    else:
        value, expected = millimeters(value), millimeters(expected)
        text = _(
            "{volume} covers {value} mm, along an axis less than half of the {expected} mm that the model sees at once."
        )
    return text.format(volume=volume, value=value, expected=expected, low=low, high=high)


def _modality(plan: Plan, index: int, array: np.ndarray) -> Incompatibility | None:
    expected = plan.channels[index].modality
    if expected in ("any", "other"):
        return None
    step = max(1, math.ceil((array.size / _VOXELS) ** (1 / 3)))
    voxels = array[::step, ::step, ::step]
    mismatch = modality_mismatch(expected, "CT" if looks_like_ct(voxels) else "MR", index)
    return mismatch and replace(mismatch, intensities=(float(voxels.min()), float(voxels.max())))
