"""Whether voxels are stored in the other byte order than their header says, where that is certain.

Headers are edited by hand, and some writers swap the voxels and not the header, or the header alone. Values are then
noise, or all but 0. It is not certain of whole numbers of 16 bits below 256: swapped, they are multiples of 256, as
pictures of 8 bits are that were scaled to 16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError

#: So many runs of so many voxels are looked at.
_RUNS, _LENGTH = 16, 1 << 14
#: The first byte of numbers of 16 bits as they are in images: so many values about 0, while the other has so many.
_FEW, _MANY = 32, 64
#: Floats outside of these powers of 10 are none of an image, and those within are.
_EXTREME, _USUAL = (-30, 30), (-10, 10)


def check_byte_order(path: Path, voxels: np.ndarray) -> None:
    """Refuse ``voxels``, of any shape, as they are stored and x fastest, that make an image in the other byte order
    alone.

    Raises:
        InputError: they do.
    """
    if not 1 < voxels.dtype.itemsize <= 8 or voxels.dtype.kind not in "iuf" or not voxels.size:
        return
    flat = voxels.reshape(-1)
    starts = np.linspace(0, max(0, flat.size - _LENGTH), _RUNS).astype(int)
    stored = np.stack([flat[start : start + _LENGTH] for start in starts])
    swapped = stored.byteswap()
    if _floats_are_swapped(stored, swapped) if stored.dtype.kind == "f" else _numbers_are_swapped(stored, swapped):
        raise InputError(
            f"{path} has its voxels in the other byte order than its header says (little and big endian): as they are, "
            "its values are no image. Correct the header, or save it anew with the program that made it."
        )


def _floats_are_swapped(stored: np.ndarray, swapped: np.ndarray) -> bool:
    painted = stored != 0
    return (
        bool(painted.any())
        and float(_within(stored[painted], _EXTREME).mean()) < 0.9
        and float(_within(swapped[painted], _USUAL).mean()) > 0.999
    )


def _within(values: np.ndarray, powers: tuple[int, int]) -> np.ndarray:
    low, high = (10.0**power for power in powers)
    with np.errstate(all="ignore"):  # among the wrong ones are some that are no numbers
        sizes = np.abs(values.astype(np.float64))
    return (sizes >= low) & (sizes <= high)


def _numbers_are_swapped(stored: np.ndarray, swapped: np.ndarray) -> bool:
    """Neighbors differ far less in the other order, by what the first byte is worth above the last."""
    if stored.dtype.itemsize == 2:
        first, last = np.unique(swapped.view(np.uint16) >> 8), np.unique(swapped.view(np.uint16) & 255)
        near_0 = (first < _FEW) | (first >= 256 - _FEW)
        if not (2 <= len(first) <= _FEW and near_0.all() and len(last) >= _MANY):
            return False
    steps, others = (float(np.abs(np.diff(values.astype(np.float64))).mean()) for values in (stored, swapped))
    return 0 < others * 2.0 ** (8 * (stored.dtype.itemsize - 1) - 4) < steps
