"""What was painted in a volume: strokes of structures and of background; all other voxels say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..volumes.orientation import Axes
from ..volumes.plausible_labels import check_no_image
from ..volumes.reading import read_labels
from ..volumes.segments import segments_of
from ..volumes.volume import Geometry

#: Segments of this name, in any letters, mean background.
BACKGROUND_NAME = "background"
#: Of each class so many voxels are learned from at most, evenly spread: more are no better, and slower.
MOST_VOXELS = 4000


@dataclass(frozen=True)
class Strokes:
    """Painted voxels in the orientation of the network.

    Attributes:
        voxels: (N, 3), z, y, x. classes: (N,): 0 background, n the n-th of ``values``.
        values: the structures' values in the file, ascending. grid: voxels (z, y, x) of the volume.
    """

    voxels: np.ndarray
    classes: np.ndarray
    values: tuple[int, ...]
    grid: tuple[int, int, int]

    @property
    def background(self) -> bool:
        """Whether background was painted."""
        return bool((self.classes == 0).any())


def read_strokes(path: Path, geometry: Geometry, axes: Axes, background: int | None) -> Strokes:
    """The strokes in a label map or a segmentation of Slicer, on the grid ``geometry`` of the volume.

    Args:
        axes: how arrays on ``geometry`` turn to the network's orientation.
        background: the value of painted background; a segment named background needs none.

    Raises:
        InputError: as :func:`..volumes.reading.read_labels`; nothing but background is painted; the file is an image.
    """
    labels = read_labels(path, geometry).array
    check_no_image(path, labels)
    named = {s.value for s in segments_of(path) if s.name.strip().casefold() == BACKGROUND_NAME}
    behind = named | ({background} if background is not None else set())
    turned = axes.apply(labels)
    counts = np.bincount(labels.ravel())
    values = tuple(int(v) for v in np.flatnonzero(counts) if v and v not in behind)
    if not values:
        raise InputError(
            f"No structure is painted in {path}"
            + (
                ", only background. Paint a few strokes inside the structure too."
                if counts[1:].any()
                else ". Paint a few strokes in each structure first."
            )
        )
    painted = np.argwhere(turned > 0)
    lookup = np.zeros(len(counts), np.intp)
    lookup[list(values)] = np.arange(1, len(values) + 1)
    classes = lookup[turned[tuple(painted.T)]]
    chosen = np.concatenate([_spread(np.flatnonzero(classes == c)) for c in range(len(values) + 1)])
    return Strokes(painted[chosen], classes[chosen], values, axes.shape_zyx(geometry))


def _spread(indices: np.ndarray) -> np.ndarray:
    return indices[np.linspace(0, len(indices) - 1, min(len(indices), MOST_VOXELS)).astype(int)]
