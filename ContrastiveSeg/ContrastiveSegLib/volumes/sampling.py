"""Where crops come from: preprocessed volumes of any number, read piece by piece."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class PatchSource(Protocol):
    """Preprocessed volumes to cut crops from; only what a crop needs is read."""

    def __len__(self) -> int:
        """Number of volumes."""

    def shape(self, case: int) -> tuple[int, int, int]:
        """(z, y, x) of a volume at the plan's spacing."""

    def box(self, case: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Foreground (body) box: (start, stop) in voxels on z, y, x."""

    def crop(self, case: int, start: tuple[int, int, int], size: tuple[int, int, int]) -> np.ndarray:
        """Image crop (C, z, y, x) float32; outside the volume it is filled with the volume's minimum."""

    def label_crop(self, case: int, start: tuple[int, int, int], size: tuple[int, int, int]) -> np.ndarray:
        """Label crop (z, y, x) uint8; 0 outside the volume."""
