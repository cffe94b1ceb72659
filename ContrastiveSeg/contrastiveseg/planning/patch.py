"""The size of the training patch: what network and method require of it, and the largest that fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PatchRule:
    """What a network and a method ask of the training patch.

    Attributes:
        multiple: the patch is a multiple of it, one factor a network axis.
        least: the fewest such multiples an axis.
        max_coverage: the most of a volume's extent that the patch may cover on an axis, as far as ``least`` allows.
    """

    multiple: tuple[int, ...]
    least: int = 1
    max_coverage: float = 1.0


def fit_patch(shape: Sequence[int], rule: PatchRule, voxels: int) -> tuple[int, ...]:
    """The patch of at most ``voxels`` that covers most of a volume of ``shape`` and keeps to ``rule``.

    Starts from ``max_coverage`` of the volume's size, rounded down to a multiple unless that loses more than a quarter,
    and shrinks the axis that is longest in voxels until it fits.
    """
    patch = []
    for n, d in zip(shape, rule.multiple, strict=True):
        # No axis of a patch has more than all its voxels; far more than that would be shrunk for minutes.
        extent = min(n * rule.max_coverage, max(voxels, rule.least * d))
        down = int(extent // d) * d
        patch.append(max(rule.least * d, down if down >= 0.75 * extent else math.ceil(extent / d) * d))
    while math.prod(patch) > voxels:
        spare = [n - d if n > rule.least * d else 0 for n, d in zip(patch, rule.multiple, strict=True)]
        if not any(spare):
            break
        longest = spare.index(max(spare))
        patch[longest] -= rule.multiple[longest]
    return tuple(patch)
