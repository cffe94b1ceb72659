"""Whether a volume is of the kind a model was trained on: what to tell the user before it runs, never a refusal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.planning.normalize import looks_like_ct
from contrastiveseg.planning.plan import Plan
from contrastiveseg.volumes.orientation import canonical_axes
from contrastiveseg.volumes.volume import Geometry

#: Voxels that are looked at to tell CT from other volumes: enough, and at once.
_VOXELS = 200_000
#: Voxels this many times coarser or finer than the model's.
_COARSE, _FINE = 2.0, 4.0
#: Degrees between the volume's axes and the patient's.
_TILT = 20.0
#: Share of the model's patch that a volume should cover along each axis.
_COVER = 0.5


def warnings(volume: Any, card: Card, channel: int = 0) -> list[str]:
    """What sets a scalar volume node apart from the volumes that ``card``'s model was trained on; [] if nothing does.

    Args:
        channel: which of the model's channels the volume is taken for.
    """
    geometry = geometry_of(volume)
    return [
        *_modality(volume, card.plan.channels[channel].modality),
        *_spacing(volume, geometry, card.plan),
        *_orientation(volume, geometry),
        *_field_of_view(volume, geometry, card.plan),
    ]


def geometry_of(volume: Any) -> Geometry:
    """The volume's own grid, before any parent transform, which the engine does not see."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASDirectionMatrix(matrix)
    signs = (-1, -1, 1)  # RAS to LPS
    direction = tuple(signs[r] * matrix.GetElement(r, c) for r in range(3) for c in range(3))
    origin = tuple(s * o for s, o in zip(signs, volume.GetOrigin(), strict=True))
    return Geometry(volume.GetImageData().GetDimensions(), volume.GetSpacing(), origin, direction)


def _modality(volume: Any, expected: str) -> list[str]:
    if expected == "any":
        return []
    array = slicer.util.arrayFromVolume(volume)
    step = max(1, math.ceil((array.size / _VOXELS) ** (1 / 3)))
    is_ct = looks_like_ct(array[::step, ::step, ::step])
    if expected == "CT" and not is_ct:
        low, high = volume.GetImageData().GetScalarRange()
        return [
            _("The model was trained on CT; the values of {name} ({low:g} to {high:g}) do not look like it.").format(
                name=volume.GetName(), low=low, high=high
            )
        ]
    if expected != "CT" and is_ct:
        return [
            _("{name} looks like CT; the model was trained on {expected}.").format(
                name=volume.GetName(), expected=expected
            )
        ]
    return []


def _spacing(volume: Any, geometry: Geometry, plan: Plan) -> list[str]:
    here = canonical_axes(geometry).spacing_zyx(geometry)
    # In 2D the slices keep their own distance.
    axes = [a for a in range(3) if plan.dimensions == 3 or a != plan.slice_axis]
    ratios = [here[a] / plan.spacing[a] for a in axes]
    if max(ratios) <= _COARSE and min(ratios) >= 1 / _FINE:
        return []
    return [
        _("Voxels of {name} are {here} mm; the model was trained on {there} mm.").format(
            name=volume.GetName(), here=millimeters(here), there=millimeters(plan.spacing)
        )
    ]


def _orientation(volume: Any, geometry: Geometry) -> list[str]:
    axes = canonical_axes(geometry)
    cosines = [abs(geometry.direction[3 * patient + 2 - axes.permutation[2 - patient]]) for patient in range(3)]
    tilt = math.degrees(math.acos(min(1.0, *cosines)))
    if tilt <= _TILT:
        return []
    return [
        _("{name} lies {tilt:.0f}° oblique to the patient's axes; the model sees it as if it were straight.").format(
            name=volume.GetName(), tilt=tilt
        )
    ]


def _field_of_view(volume: Any, geometry: Geometry, plan: Plan) -> list[str]:
    turned = canonical_axes(geometry)
    spacing = turned.spacing_zyx(geometry)
    extent = tuple(geometry.shape[turned.permutation[a]] * spacing[a] for a in range(3))
    seen = tuple(plan.patch[a] * plan.spacing[a] for a in range(3))
    axes = [a for a in range(3) if plan.dimensions == 3 or a != plan.slice_axis]
    if all(extent[a] >= _COVER * seen[a] for a in axes):
        return []
    return [
        _("{name} covers {extent} mm; the model looks at {seen} mm at a time.").format(
            name=volume.GetName(), extent=millimeters(extent), seen=millimeters(seen)
        )
    ]


def millimeters(zyx: Sequence[float]) -> str:
    """Lengths along z, y and x as people write them: x first."""
    return " x ".join(f"{length:.3g}" for length in reversed(zyx))
