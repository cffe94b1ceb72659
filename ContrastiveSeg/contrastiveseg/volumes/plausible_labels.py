"""Whether a file given as a label map is an image, or the other way round, as it is where the two were mixed up."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..errors import InputError

#: So many different labels are not looked at any closer.
_FEW = 32
#: In a label map most labeled voxels have their neighbor's label; in an image of gray values, few have its value.
_LEAST_ALIKE = 0.5
#: Of a large image about as many voxels are looked at.
_LOOKED_AT = 200_000


def check_no_image(path: Path, labels: np.ndarray) -> None:
    """Refuse many different labels that change from voxel to voxel.

    Args:
        labels: (z, y, x), whole numbers of 0 or above.

    Raises:
        InputError: they look like the gray values of an image.
    """
    distinct = int(np.count_nonzero(np.bincount(labels.ravel())[1:]))
    if distinct <= _FEW:
        return
    inside = labels[..., :-1] > 0
    alike = np.count_nonzero(inside & (labels[..., :-1] == labels[..., 1:]))
    if alike < _LEAST_ALIKE * np.count_nonzero(inside):
        raise InputError(
            f"{path} holds {distinct} different labels (at most 255 can be learned) that change from voxel to voxel: "
            "it looks like an image. Give the label map."
        )


def looks_like_labels(image: np.ndarray) -> bool:
    """Whether a channel (z, y, x) holds a few whole numbers, in areas of one each, as a label map does.

    An image of one value holds nothing, and is none.
    """
    if image.shape[-1] < 2:
        return False
    step = max(1, math.ceil((image.size / _LOOKED_AT) ** 0.5))
    rows = image[::step, ::step]
    values = np.unique(rows)
    if not 2 <= len(values) <= _FEW or values[0] < 0 or (values != np.floor(values)).any():
        return False
    return float((rows[..., :-1] == rows[..., 1:]).mean()) >= _LEAST_ALIKE
