"""What a user paints in a segmentation, told apart from what was put into it: strokes of segments and of background."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.errors import InputError

from ..translation import _
from .grids import array_of, grid_of, read_image, volume_holding, write_image
from .merging import merged
from .segments import segments_of

#: The value of background in files of strokes.
BACKGROUND = 255


class Strokes:
    """The strokes in one segmentation over one volume.

    Whatever differs from the last look was painted, or erased: erased voxels are strokes of background. What
    :meth:`accept` was told of, such as a preview that was taken over, is none.

    Args:
        is_background: whether what is painted under a name is background.

    Attributes:
        overlaps: sentences on segments that overlap, as of the last look.
    """

    def __init__(self, is_background: Callable[[str], bool]) -> None:
        self._is_background = is_background
        self._of: Any = None
        self._values: dict[str, int] = {}
        self._seen = self._painted = np.zeros((0, 0, 0), np.uint8)
        self.overlaps: list[str] = []

    def look(self, segmentation: Any, volume: Any) -> None:
        """Take note of what was painted and erased since the last look.

        Raises:
            InputError: the volume has no voxels, or there are more segments than values.
        """
        now = self._now(segmentation, volume)
        changed = now != self._seen
        self._painted[changed] = np.where(now[changed] == 0, BACKGROUND, now[changed])
        self._seen = now

    def accept(self, segmentation: Any, volume: Any) -> None:
        """What differs now was not painted by the user.

        Raises:
            InputError: as :meth:`look`.
        """
        self._seen = self._now(segmentation, volume)

    def labels(self, segmentation: Any) -> list[Label]:
        """The painted segments with their values in the strokes; none where only background was painted."""
        # Of a whole volume it would take seconds.
        painted = np.unique(self._painted[self._painted > 0])
        return [
            Label(self._values[s.id], s.name, s.color, s.terminology)
            for s in segments_of(segmentation)
            if self._values.get(s.id) in painted and self._values[s.id] != BACKGROUND
        ]

    def write(self, path: Path) -> None:
        """Write the strokes as a label map on the volume's grid.

        Raises:
            InputError: the file cannot be written.
        """
        write_image(volume_holding(self._painted, self._grid.ijk_to_ras), path)

    def write_over(self, label_map: Path, path: Path) -> None:
        """Write the label map of a preview with the strokes on top, so that taking it loses nothing painted.

        Raises:
            InputError: a file cannot be read or written, or the label map has another size.
        """
        below = array_of(read_image(label_map).GetImageData())
        if below.shape != self._painted.shape:
            raise InputError(_("The volume was changed since the preview. Preview it again."))
        # What a segment was previewed as that is gone by now is left out.
        there = np.zeros(BACKGROUND + 1, np.uint8)
        there[list(self._values.values())] = list(self._values.values())
        over = np.where(self._painted > 0, self._painted, there[below])
        over[over == BACKGROUND] = 0
        write_image(volume_holding(over, self._grid.ijk_to_ras), path)

    def forget(self) -> None:
        """The scene closes, or another segmentation is painted in."""
        self._of = None

    def _now(self, segmentation: Any, volume: Any) -> np.ndarray:
        """What is in the segmentation (k, j, i), on the volume's grid; begins anew with another of either."""
        grid = grid_of(volume)
        named = [(s.id, self._is_background(s.name)) for s in segments_of(segmentation)]
        behind = tuple(sorted(identifier for identifier, background in named if background))
        of = (segmentation.GetID(), volume.GetID(), grid.shape, grid.ijk_to_ras.tobytes(), behind)
        if of != self._of:
            self._of, self._values, self._grid = of, {}, grid
            self._seen, self._painted = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
        self._forget_removed({identifier for identifier, _background in named})
        for identifier, background in named:
            self._values.setdefault(identifier, BACKGROUND if background else self._free_value())
        present = {identifier: self._values[identifier] for identifier, _background in named}
        now, self.overlaps = merged(segmentation, volume, grid, present)
        return now

    def _forget_removed(self, there: set[str]) -> None:
        """Voxels of a segment that was removed were not erased."""
        gone = [identifier for identifier in self._values if identifier not in there]
        values = [self._values.pop(identifier) for identifier in gone]
        if not values:
            return
        for array in (self._seen, self._painted):
            array[np.isin(array, [value for value in values if value != BACKGROUND])] = 0

    def _free_value(self) -> int:
        free = set(range(1, BACKGROUND)).difference(self._values.values())
        if not free:
            raise InputError(_("There are more than {count} segments.").format(count=BACKGROUND - 1))
        return min(free)
