"""Which slices of a volume to label, where labeling all of it would take too long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def slice_profile(entropy: np.ndarray, region: np.ndarray, axis: int) -> np.ndarray:
    """How much a label of each slice across ``axis`` is worth, summing to 1.

    Half of it is the slice's share of the uncertainty of ``region`` (z, y, x), half is spread evenly over the slices
    that ``region`` reaches: the small ends of a structure hold little uncertainty, but its middle does not show them.

    Args:
        entropy: (z, y, x), 0 to 1. region: boolean, in and around the predicted structures; not empty.
    """
    others = tuple(other for other in range(3) if other != axis)
    uncertain, reached = np.where(region, entropy, 0).sum(others), region.any(others).astype(float)
    even = reached / reached.sum()
    return (uncertain / uncertain.sum() + even) / 2 if uncertain.sum() > 0 else even


def spread_slices(profile: np.ndarray, count: int, labeled: Sequence[int] = (), phase: float = 0.5) -> tuple[int, ...]:
    """At most ``count`` slices, ascending, one from each equal part of the ``profile``.

    Where the profile is even they are evenly spread. Slices that are ``labeled`` already are not among them, and those
    near one count less, the less the nearer. ``phase`` is where in its part a slice lies, from 0 to 1: with another one
    in each volume, a few slices of each show all of a structure (:func:`phase_of`).
    """
    if len(labeled):
        nearest = np.abs(np.arange(len(profile))[:, None] - np.asarray(labeled)).min(1)
        usual = np.count_nonzero(profile) / (count + len(labeled))
        profile = profile * np.minimum(nearest / max(usual, 1), 1)
    if not profile.any():
        return ()
    shares = (np.arange(count) + phase) / count
    last = int(np.flatnonzero(profile)[-1])
    found = np.searchsorted(np.cumsum(profile) / profile.sum(), shares, side="right")
    return tuple(int(i) for i in np.unique(np.minimum(found, last)))


def phase_of(volume: int) -> float:
    """The phase for the volume of a number from 0: 0.5, and then by the golden ratio, far from those before it."""
    return (0.5 + volume * (5**0.5 - 1) / 2) % 1
