"""Organ-like shapes as implicit functions, in normalized atlas coordinates (x, y, z)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Triple = tuple[float, float, float]
Level = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Shape:
    """An implicit function and the box (center, half size) outside which it is positive."""

    level: Level
    center: Triple
    half: Triple


def ellipsoid(
    center: Triple, radii: Triple, power: float = 2.0, bend: tuple[float, float] = (0.0, 0.0), tilt: float = 0.0
) -> Shape:
    """A superellipsoid; ``bend`` shifts its ends (top and bottom) along x and y, ``tilt`` (radians) turns it in xz."""
    cos, sin = np.cos(tilt), np.sin(tilt)

    def level(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        dx, dy, dz = x - center[0], y - center[1], z - center[2]
        u, v, w = cos * dx - sin * dz, dy, (sin * dx + cos * dz) / radii[2]
        u, v = (u - bend[0] * w * w) / radii[0], (v - bend[1] * w * w) / radii[1]
        if power == 2.0:
            return u * u + v * v + w * w - 1
        return np.abs(u) ** power + np.abs(v) ** power + np.abs(w) ** power - 1

    across, along = radii[0] + abs(bend[0]), radii[2]
    half = (
        across * abs(cos) + along * abs(sin),
        radii[1] + abs(bend[1]),
        across * abs(sin) + along * abs(cos),
    )
    return Shape(level, center, half)


def tube(points: tuple[Triple, ...], radius: float) -> Shape:
    """All points nearer than ``radius`` to the polyline through ``points``."""
    corners = np.asarray(points, np.float32)

    def level(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        nearest = np.full(np.broadcast(x, y, z).shape, np.inf, np.float32)
        for start, stop in pairwise(corners):
            d = stop - start
            px, py, pz = x - start[0], y - start[1], z - start[2]
            t = np.clip((px * d[0] + py * d[1] + pz * d[2]) / float(d @ d), 0, 1)
            np.minimum(nearest, (px - t * d[0]) ** 2 + (py - t * d[1]) ** 2 + (pz - t * d[2]) ** 2, out=nearest)
        return nearest - radius**2

    low, high = corners.min(0) - radius, corners.max(0) + radius
    middle, half = (low + high) / 2, (high - low) / 2
    return Shape(level, (middle[0], middle[1], middle[2]), (half[0], half[1], half[2]))


def ribs(center: Triple, radii: Triple, thickness: float, count: int) -> Shape:
    """Oblique bands of an elliptical shell open at the top and bottom."""

    def level(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        shell = np.sqrt(((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2)
        band = np.cos((z - 0.5 * y) * np.pi * count / radii[2])
        return np.maximum(np.abs(shell - 1) - thickness, 0.45 - band)

    return Shape(level, center, (radii[0] * (1 + thickness), radii[1] * (1 + thickness), radii[2]))
