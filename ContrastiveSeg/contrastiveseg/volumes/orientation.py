"""Turning arrays to the canonical orientation and back, without resampling.

Canonical is LPS: x runs to the patient's left, y to the back, z to the head. Networks get every volume in this
orientation, however it was stored; imported ones may want another. Oblique volumes are turned by their nearest axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .volume import Geometry

#: The two ends of the patient's axes x, y and z.
_ENDS = ("LR", "PA", "SI")


@dataclass(frozen=True)
class Axes:
    """Which stored array axis (z, y, x) lies along each canonical one, and whether it runs backwards.

    Attributes:
        permutation: stored axis for canonical z, y, x.
        flips: whether that stored axis runs against the canonical direction.
    """

    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """``array`` (..., z, y, x) as stored, turned to canonical: a view."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.permutation))
        return turned[self._steps()]

    def undo(self, array: np.ndarray) -> np.ndarray:
        """``array`` (..., z, y, x) in canonical orientation, turned back to how it was stored: a view."""
        lead = array.ndim - 3
        inverse = np.argsort(self.permutation)
        return array[self._steps()].transpose(*range(lead), *(lead + int(axis) for axis in inverse))

    def spacing_zyx(self, geometry: Geometry) -> tuple[float, float, float]:
        """Voxel spacing in mm along canonical z, y, x."""
        z, y, x = (geometry.spacing_zyx[axis] for axis in self.permutation)
        return (z, y, x)

    def shape_zyx(self, geometry: Geometry) -> tuple[int, int, int]:
        """Voxels along canonical z, y, x."""
        z, y, x = (geometry.shape[axis] for axis in self.permutation)
        return (z, y, x)

    def _steps(self) -> tuple[Any, ...]:
        return (..., *(slice(None, None, -1) if flip else slice(None) for flip in self.flips))


def canonical_axes(geometry: Geometry) -> Axes:
    """How arrays on ``geometry`` turn to canonical; the same choice of nearest axes as ITK's DICOMOrient to "LPS"."""
    cosines = np.reshape(geometry.direction, (3, 3))  # rows: patient L, P, S; columns: stored x, y, z
    remaining = np.abs(cosines)
    permutation, flips = [0, 0, 0], [False, False, False]
    for _ in range(3):
        patient, stored = np.unravel_index(int(np.argmax(remaining)), (3, 3))
        permutation[2 - int(patient)] = 2 - int(stored)
        flips[2 - int(patient)] = bool(cosines[patient, stored] < 0)
        remaining[patient, :] = remaining[:, stored] = -1.0
    return Axes((permutation[0], permutation[1], permutation[2]), (flips[0], flips[1], flips[2]))


def orientation_of(geometry: Geometry) -> str:
    """The ends of the patient that the stored x, y and z run to, by their nearest axes, as "LPS"."""
    axes = canonical_axes(geometry)
    ends = {2 - axes.permutation[2 - axis]: _ENDS[axis][int(axes.flips[2 - axis])] for axis in range(3)}
    return "".join(ends[stored] for stored in range(3))


def oriented_axes(geometry: Geometry, orientation: str) -> Axes:
    """How arrays on ``geometry`` turn to ``orientation``, as :class:`..planning.plan.Conventions` has it."""
    if orientation == "stored":
        return Axes((0, 1, 2), (False, False, False))
    canonical = canonical_axes(geometry)
    patient = [next(axis for axis, ends in enumerate(_ENDS) if letter in ends) for letter in reversed(orientation)]
    z, y, x = (canonical.permutation[2 - axis] for axis in patient)
    flips = [
        canonical.flips[2 - axis] != (letter == _ENDS[axis][1])
        for axis, letter in zip(patient, reversed(orientation), strict=True)
    ]
    return Axes((z, y, x), (flips[0], flips[1], flips[2]))
