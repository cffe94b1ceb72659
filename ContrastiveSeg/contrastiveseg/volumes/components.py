"""Connected components of a label map. Voxels that touch at a corner are connected (26 neighbors)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

#: What is not in the largest piece counts for nothing up to this share: specks that a brush left behind. In LA_half and
#: Hippocampus they are 0.2 % of a label at most; the cartilage of a kneecap is 3 % of a knee's.
_SPECKS = 0.01


def keep_largest_component(labels: np.ndarray, only: Collection[int] | None = None) -> np.ndarray:
    """A copy of ``labels`` (z, y, x) or (y, x) with only the largest component of each label, the rest background.

    Of several equally large ones the first in array order stays.

    Args:
        only: the labels to do this with; the others stay as they are. By default all.
    """
    kept = labels.copy()
    for _, box, pieces in _components(labels, only):
        largest = 1 + np.bincount(pieces.ravel())[1:].argmax()
        kept[box][(pieces > 0) & (pieces != largest)] = 0
    return kept


def in_one_piece(labels: np.ndarray) -> tuple[int, ...]:
    """The labels in ``labels`` (z, y, x) whose largest component is all of them, but for specks (1 % of the voxels)."""
    connected = []
    for label, _, pieces in _components(labels):
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.max() >= (1 - _SPECKS) * sizes.sum():
            connected.append(label)
    return tuple(connected)


@dataclass(frozen=True)
class Components:
    """The components of one label: their voxels, the largest first, and a voxel (z, y, x) in the middle of the largest
    two."""

    sizes: tuple[int, ...]
    middles: tuple[tuple[int, int, int], ...]


def pieces_of(labels: np.ndarray) -> dict[int, Components]:
    """The components of every label in ``labels`` (z, y, x)."""
    found = {}
    for label, box, pieces in _components(labels):
        sizes = np.bincount(pieces.ravel())[1:]
        order = np.argsort(-sizes, kind="stable")
        middles = tuple(_middle(pieces == number + 1, box) for number in order[:2])
        found[label] = Components(tuple(int(n) for n in sizes[order]), middles)
    return found


def _middle(mask: np.ndarray, box: tuple[slice, ...]) -> tuple[int, int, int]:
    """The voxel of ``mask``, cut out at ``box``, that is nearest its center."""
    voxels = np.argwhere(mask)
    z, y, x = voxels[((voxels - voxels.mean(0)) ** 2).sum(1).argmin()] + [part.start for part in box]
    return int(z), int(y), int(x)


def _components(
    labels: np.ndarray, only: Collection[int] | None = None
) -> Iterator[tuple[int, tuple[slice, ...], np.ndarray]]:
    """Each label, the box around it, and its components there, numbered from 1."""
    from scipy import ndimage  # not every segmentation asks for pieces, and it takes as long to load as numpy

    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None and (only is None or label in only):
            mask = (labels[box] == label).astype(np.uint8)
            # SimpleITK labels components 1.1-2 times as fast as scipy.
            yield label, box, sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask), True))
