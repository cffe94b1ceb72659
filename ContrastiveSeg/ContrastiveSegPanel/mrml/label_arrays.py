"""Label maps as arrays: which values they hold, and where."""

from collections.abc import Sequence

import numpy as np
import vtk

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.errors import InputError

from ..translation import _
from .grids import array_of

HIGHEST_VALUE = 32767


def checked_labels(image: vtk.vtkImageData, labels: Sequence[Label], what: str) -> np.ndarray:
    """The voxels (k, j, i) of a label map read from ``what``, as uint8 or int16; not copied where it is one already.

    Raises:
        InputError: its voxels are no whole numbers, or it has a value that no label has; or the labels' values are not
            1..32767, each once.
    """
    values = {label.value for label in labels}
    if len(values) < len(labels) or not all(0 < value <= HIGHEST_VALUE for value in values):
        raise InputError(
            _("Label values must be 1 to {highest}, each once; they are {values}.").format(
                highest=HIGHEST_VALUE, values=sorted(values)
            )
        )
    array = array_of(image)
    if array.dtype.kind not in "iu":
        raise InputError(
            _("{what} is no label map: its voxels are {kind} numbers.").format(what=what, kind=array.dtype)
        )
    unknown = [] if _within(array, values) else sorted(values_in(array) - values - {0})
    if unknown:
        listed = ", ".join(str(value) for value in unknown[:5])
        raise InputError(_("{what} has voxels of value {values}, which no label has.").format(what=what, values=listed))
    return array.astype(np.uint8 if max(values, default=0) <= 255 else np.int16, copy=False)


def values_in(array: np.ndarray) -> set[int]:
    """The different values; slice by slice, so that no second volume is made."""
    found: set[int] = set()
    for plane in array:
        # Three times as fast, where the counts are few.
        few = plane.dtype == np.uint8
        found.update((np.flatnonzero(np.bincount(plane.ravel())) if few else np.unique(plane)).tolist())
    return found


def box_of(array: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of non-zero voxels, along each axis; (0, -1) everywhere if there are none."""
    planes = np.array([plane.any() for plane in array])
    if not planes.any():
        return [(0, -1)] * 3
    flat = np.any(array != 0, axis=0)
    box = []
    for along in (planes, flat.any(axis=1), flat.any(axis=0)):
        inside = np.flatnonzero(along)
        box.append((int(inside[0]), int(inside[-1])))
    return box


def _within(array: np.ndarray, values: set[int]) -> bool:
    """Whether the lowest and the highest value are enough to know that there are no others than ``values`` and 0.

    It takes a tenth of the time that looking for all values takes.
    """
    return array.size == 0 or (array.min() >= 0 and set(range(1, int(array.max()) + 1)) <= values)
