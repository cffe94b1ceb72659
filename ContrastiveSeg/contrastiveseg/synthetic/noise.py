"""Smooth random fields, from which subjects get their variation."""

from __future__ import annotations

import numpy as np


def smooth_noise(random: np.random.Generator, shape: tuple[int, ...], knots: int) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1 with ``knots`` random values along each axis."""
    coefficients = random.standard_normal((knots,) * 3).astype(np.float32)
    for axis, n in enumerate(shape):
        # A separable Gaussian basis: three small matrix products instead of a filter over the volume.
        distance = np.linspace(0, knots - 1, n)[:, None] - np.arange(knots)[None]
        basis = np.exp(-1.5 * distance**2).astype(np.float32)
        basis /= np.sqrt((basis**2).sum(1, keepdims=True))
        coefficients = np.moveaxis(np.tensordot(basis, coefficients, (1, axis)), 0, axis)
    return coefficients
