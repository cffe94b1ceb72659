"""How much of a volume its label map labels: all of it, the painted slices, or the painted voxels alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..descriptions import LabeledPart
from .painted_slices import painted_slices
from .volume import LabelMap

#: In label maps and crops: the voxel has no label. It is neither a structure nor background.
NOT_LABELED = -1


@dataclass(frozen=True)
class Labeling:
    """What the label map of a case says, and what it leaves open.

    Attributes:
        part: what of the volume is labeled; None where nobody said. "all": what is not painted is background. "slices":
            slices with paint are labeled throughout. "painted": only painted voxels are labeled.
        structures: names or values of those that were looked for; None for all. One that is not among them may lie
            where the map says background.
        ignore: the value of voxels without a label. background: a painted value that means background.
    """

    part: LabeledPart | None = None
    structures: tuple[str, ...] | None = None
    ignore: int | None = None
    background: int | None = None

    def apply(self, label_map: LabelMap) -> LabelMap:
        """``label_map`` with NOT_LABELED where it says nothing, int32; itself where it says something everywhere."""
        stored = label_map.array
        ignored = np.zeros(stored.shape, bool) if self.ignore is None else stored == self.ignore
        painted = (stored > 0) & ~ignored
        labeled = ~ignored
        if self.part == "painted":
            labeled = painted
        elif self.part == "slices":
            labeled &= _throughout(painted)
        array = stored
        if self.background is not None:
            array = np.where(stored == self.background, 0, stored)
        if not labeled.all():
            array = np.where(labeled, array.astype(np.int32), np.int32(NOT_LABELED))
        return LabelMap(array, label_map.geometry, label_map.name)


def folded(name: str) -> str:
    """The name of a structure as names are compared: capitals are small letters, and underscores blanks."""
    return " ".join(name.casefold().replace("_", " ").split())


def _throughout(painted: np.ndarray) -> np.ndarray:
    """Boolean, like ``painted`` (z, y, x): every voxel of a slice with paint."""
    found = painted_slices(painted)
    labeled = np.zeros(painted.shape, bool)
    if found is not None:
        labeled[(slice(None),) * found.axis + (list(found.indices),)] = True
    return labeled
