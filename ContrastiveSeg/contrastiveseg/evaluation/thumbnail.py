"""A small picture of a segmentation, as a PNG made without a plotting library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from ..volumes.orientation import canonical_axes
from ..volumes.volume import Volume
from .overlay import COLORS, gray_window

#: Pixels of the longer side.
_SIZE = 192
#: For labels without a color: those of larger pictures but for white, which is lost on bright tissue.
_COLORS = [tuple(bytes.fromhex(color.removeprefix("#"))) for color in COLORS[:-1]]


def thumbnail_png(
    volume: Volume, labels: np.ndarray, voxel: Sequence[int], colors: Mapping[int, tuple[int, int, int]]
) -> bytes:
    """The axial slice through ``voxel`` with the structures' outlines, in the proportions of its mm; PNG, RGB.

    Radiological view: the patient's right is at the picture's left. Oblique volumes are shown along their nearest axes.

    Args:
        labels: (z, y, x) on the volume's grid. voxel: (z, y, x) in it. colors: label value -> RGB.
    """
    axes = canonical_axes(volume.geometry)
    index = _canonical_index(volume, voxel)
    image, outline = axes.apply(volume.array[0])[index].astype(np.float32), axes.apply(labels)[index]
    _, row_mm, column_mm = axes.spacing_zyx(volume.geometry)
    height, width = image.shape[0] * row_mm, image.shape[1] * column_mm
    scale = _SIZE / max(height, width)
    rows = _nearest(image.shape[0], max(1, round(height * scale)))
    columns = _nearest(image.shape[1], max(1, round(width * scale)))
    image, outline = image[np.ix_(rows, columns)], outline[np.ix_(rows, columns)]
    low, high = gray_window(image)
    gray = np.clip((image - low) / (high - low), 0, 1) * 255
    picture = np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)
    edge = _edges(outline)
    for value in np.unique(outline[edge]):
        color = colors.get(int(value)) or _COLORS[(int(value) - 1) % len(_COLORS)]
        picture[edge & (outline == value)] = color
    return _png(picture)


def _canonical_index(volume: Volume, voxel: Sequence[int]) -> int:
    """The axial slice, in canonical orientation, that holds the stored ``voxel``."""
    axes, shape = canonical_axes(volume.geometry), volume.geometry.shape
    stored = axes.permutation[0]
    return shape[stored] - 1 - voxel[stored] if axes.flips[0] else voxel[stored]


def _nearest(voxels: int, pixels: int) -> np.ndarray:
    return np.minimum(((np.arange(pixels) + 0.5) * voxels / pixels).astype(int), voxels - 1)


def _edges(outline: np.ndarray) -> np.ndarray:
    """Labeled pixels with a neighbor of another label."""
    padded = np.pad(outline, 1)
    neighbors = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (outline > 0) & np.any([neighbor != outline for neighbor in neighbors], axis=0)


def _png(picture: np.ndarray) -> bytes:
    """``picture`` (rows, columns, 3) uint8 as a PNG file (ISO/IEC 15948): color type 2, no filter."""
    rows, columns, _ = picture.shape
    lines = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(picture))
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
