"""Voxel arrays with their grid in patient space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """The voxel grid in patient space, in ITK's convention (LPS, millimeters, axes x, y, z)."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, float, float, float, float, float, float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (z, y, x)."""
        return (self.size[2], self.size[1], self.size[0])

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """Voxel spacing in mm in array order (z, y, x)."""
        return (self.spacing[2], self.spacing[1], self.spacing[0])

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in milliliters."""
        return self.spacing[0] * self.spacing[1] * self.spacing[2] / 1000.0

    def position(self, index: Sequence[int]) -> tuple[float, float, float]:
        """(x, y, z) in mm of the center of voxel ``index`` (z, y, x)."""
        steps = np.array(index[::-1]) * self.spacing
        x, y, z = (float(v) for v in np.reshape(self.direction, (3, 3)) @ steps + self.origin)
        return (x, y, z)


@dataclass(frozen=True)
class Volume:
    """Image intensities: ``array`` is (C, z, y, x) in the file's own type, on ``geometry``."""

    array: np.ndarray
    geometry: Geometry
    name: str = ""


@dataclass(frozen=True)
class LabelMap:
    """Integer labels: ``array`` is (z, y, x), 0 is background, on ``geometry``."""

    array: np.ndarray
    geometry: Geometry
    name: str = ""
