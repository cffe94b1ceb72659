"""Crops of the preprocessed volumes in a cache, read from disk one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..volumes.labeling import NOT_LABELED
from .cached_case import FOREGROUND, IMAGE, LABELS, Box, CachedCase


class CachedVolumes:
    """The :class:`.sampling.PatchSource` over the preprocessed volumes in ``folder``.

    Cases whose ``values`` are None are unlabeled: their labels were never read. Memory does not grow with the cases.

    Args:
        classes: the label values that become class 1, 2, ... in crops; other values become background.
        data_sets: how many of ``cases`` come from each data set, in order; by default all from one.
    """

    def __init__(
        self, folder: Path, cases: Sequence[CachedCase], classes: Sequence[int] = (), data_sets: Sequence[int] = ()
    ) -> None:
        self.folder, self.cases, self.classes = folder, list(cases), tuple(classes)
        self._data_set = np.repeat(np.arange(max(len(data_sets), 1)), data_sets or [len(cases)])
        self._lookup = np.zeros(max(self.classes, default=0) + 1, np.int16)
        self._lookup[list(self.classes)] = np.arange(1, len(self.classes) + 1)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def labeled(self) -> tuple[int, ...]:
        return tuple(i for i, case in enumerate(self.cases) if case.values is not None)

    @property
    def unlabeled(self) -> tuple[int, ...]:
        return tuple(i for i, case in enumerate(self.cases) if case.values is None)

    def shape(self, case: int) -> tuple[int, int, int]:
        return self.cases[case].shape

    def box(self, case: int) -> Box:
        return self.cases[case].box

    def crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        image = self._open(case, IMAGE)
        return _crop(image, start, size, fill=float(image[:, 0, 0, 0].min())).astype(np.float32)

    def label_crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        if self.cases[case].values is None:
            return np.full(tuple(size), NOT_LABELED, np.int16)
        outside = 0 if self.cases[case].labeled == 1 else NOT_LABELED
        values = _crop(self._open(case, LABELS)[None], start, size, fill=outside)[0]
        classes = self._lookup[np.where((values >= 0) & (values < len(self._lookup)), values, 0)]
        return classes if outside == 0 else np.where(values < 0, np.int16(NOT_LABELED), classes)

    def data_set(self, case: int) -> int:
        return int(self._data_set[case])

    def foreground_voxels(self, case: int) -> np.ndarray:
        """(n, 4) rows class, z, y, x: voxels of the classes, at most 2000 each."""
        if self.cases[case].values is None:
            return np.empty((0, 4), np.int32)
        rows = np.array(self._open(case, FOREGROUND))
        rows[:, 0] = self._lookup[np.where(rows[:, 0] < len(self._lookup), rows[:, 0], 0)]
        return rows[rows[:, 0] > 0]

    def labeled_voxels(self, case: int) -> np.ndarray | None:
        """(n, 3) rows z, y, x: labeled voxels, at most 2000 of each label, where not all are; else None."""
        if self.cases[case].values is None or self.cases[case].labeled == 1:
            return None
        return np.array(self._open(case, FOREGROUND))[:, 1:]

    def missing(self, case: int) -> np.ndarray | None:
        """(classes,) boolean: which were not looked for in the volume; None where all were."""
        structures = self.cases[case].structures
        if structures is None or set(self.classes) <= set(structures):
            return None
        return np.array([False, *(value not in structures for value in self.classes)])

    def subset(self, indices: Sequence[int]) -> CachedVolumes:
        """The same source with some of its cases."""
        some = CachedVolumes(self.folder, [self.cases[i] for i in indices], self.classes)
        some._data_set = self._data_set[list(indices)]
        return some

    def _open(self, case: int, ending: str) -> np.ndarray:
        # Opened anew for each crop: the pages read from a map that stays open count as the process's memory.
        return np.load(self.folder / f"{self.cases[case].key}{ending}", mmap_mode="r")


def _crop(array: np.ndarray, start: Sequence[int], size: Sequence[int], fill: float) -> np.ndarray:
    """``array`` is (C, z, y, x); parts of the crop outside it are ``fill``."""
    inside = [
        slice(max(s, 0), max(min(s + n, full), 0)) for s, n, full in zip(start, size, array.shape[1:], strict=True)
    ]
    part = array[:, inside[0], inside[1], inside[2]]
    if part.shape[1:] == tuple(size):
        return np.array(part)
    crop = np.full((len(array), *size), fill, array.dtype)
    into = [slice(i.start - s, i.stop - s) for i, s in zip(inside, start, strict=True)]
    crop[:, into[0], into[1], into[2]] = part
    return crop
