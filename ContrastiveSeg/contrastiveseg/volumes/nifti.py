"""NIfTI-1 where ITK is not enough.

ITK reads a truncated file as if the rest were zeros, reads NaN as 0, replaces a spacing of 0 by 1, does not report a
full disk, and rounds an oblique direction again with every writing. So files are checked here before ITK reads them,
and written here.
Field names and offsets: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import InputError
from .volume import Geometry

HEADER_BYTES = 348
DATA_OFFSET = 352
DATA_TYPES = {"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64, "int8": 256, "uint16": 512}
GZIP_MAGIC = b"\x1f\x8b"
#: Fast, and on label maps within a few per cent of the size of the levels above it.
GZIP_LEVEL = 3


def check_nifti(path: Path) -> None:
    """Refuse what ITK reads without an error: a truncated file, a spacing of 0 or not a number.

    Raises:
        InputError: saying which of them it is.
    """
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as problem:
        raise InputError(f"{path} is damaged or cut short. Copy it again from where it came.") from problem
    if len(header) < HEADER_BYTES:
        raise InputError(f"{path} is damaged or cut short: it ends inside its header. Copy it again.")
    order = next((o for o in "<>" if struct.unpack_from(o + "i", header)[0] == HEADER_BYTES), "")
    if not order or header[344:347] != b"n+1":
        return  # not a single-file NIfTI-1: ITK decides
    dimensions = struct.unpack_from(order + "8h", header, 40)
    spacing = struct.unpack_from(order + "8f", header, 76)
    bits = struct.unpack_from(order + "h", header, 72)[0]
    offset = struct.unpack_from(order + "f", header, 108)[0]
    n = dimensions[0]
    if not 1 <= n <= 7 or any(d < 1 for d in dimensions[1 : n + 1]) or not math.isfinite(offset):
        raise InputError(f"{path} has a damaged NIfTI header (dimensions {dimensions[: max(n, 0) + 1]}).")
    if any(not math.isfinite(s) or s == 0 for s in spacing[1 : min(n, 3) + 1]):
        values = " x ".join(f"{s:g}" for s in spacing[1 : min(n, 3) + 1])
        raise InputError(f"{path} has a voxel spacing of {values} mm in its header. Correct the header (pixdim).")
    needed = int(offset) + math.prod(dimensions[1 : n + 1]) * bits // 8
    if _stored_bytes(path, compressed, needed) < needed:
        raise InputError(f"{path} is cut short: its voxels are not all there. Copy it again from where it came.")


def _stored_bytes(path: Path, compressed: bool, needed: int) -> int:
    if not compressed:
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-4, 2)
        # gzip ends with its uncompressed size modulo 2^32; only where that disagrees is the file unpacked to be sure.
        if struct.unpack("<I", file.read(4))[0] == needed % 2**32:
            return needed
    total = 0
    try:
        with gzip.open(path, "rb") as unpacked:
            while block := unpacked.read(1 << 22):
                total += len(block)
    except (OSError, EOFError, zlib.error):
        pass
    return total


def broken_voxels(path: Path) -> int:
    """How many voxels of a checked float NIfTI are NaN or infinite; ITK would read them as 0. 0 for integer files."""
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
    with gzip.open(path, "rb") if compressed else path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        order = "<" if struct.unpack_from("<i", header)[0] == HEADER_BYTES else ">"
        code = struct.unpack_from(order + "h", header, 70)[0]
        kind = {DATA_TYPES["float32"]: "f4", DATA_TYPES["float64"]: "f8"}.get(code)
        if kind is None or header[344:347] != b"n+1":
            return 0
        dimensions = struct.unpack_from(order + "8h", header, 40)
        left = math.prod(dimensions[1 : dimensions[0] + 1])
        file.seek(int(struct.unpack_from(order + "f", header, 108)[0]))
        item, broken = np.dtype(order + kind), 0
        while left > 0:
            block = np.frombuffer(file.read(min(left, 1 << 20) * item.itemsize), item)
            broken += block.size - int(np.count_nonzero(np.isfinite(block)))
            left -= min(left, 1 << 20)
    return broken


def write_nifti(path: Path, array: np.ndarray, geometry: Geometry, compress: bool) -> None:
    """Write ``array``, (z, y, x) or (C, z, y, x), as a single-file NIfTI-1.

    Raises:
        OSError: the disk is full or the folder not writable.
    """
    header = _header(array, geometry)
    voxels = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    with path.open("wb") as file:
        if compress:
            # No name and time inside, so that the same labels give the same bytes.
            with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as packed:
                packed.write(header)
                packed.write(voxels.data)
        else:
            file.write(header)
            file.write(voxels.data)


def _header(array: np.ndarray, geometry: Geometry) -> bytes:
    header = bytearray(DATA_OFFSET)
    channels = array.shape[0] if array.ndim == 4 else 1
    dimensions = (3, *geometry.size, 1, 1, 1, 1) if channels == 1 else (5, *geometry.size, 1, channels, 1, 1)
    affine = _affine(geometry)
    struct.pack_into("<i", header, 0, HEADER_BYTES)
    struct.pack_into("<8h", header, 40, *dimensions)
    struct.pack_into("<h", header, 68, 0 if channels == 1 else 1007)  # intent: none, or a vector a voxel
    struct.pack_into("<2h", header, 70, DATA_TYPES[array.dtype.name], array.dtype.itemsize * 8)
    quaternion, handedness = _quaternion(affine[:, :3])
    struct.pack_into("<8f", header, 76, handedness, *geometry.spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, DATA_OFFSET, 1, 0)  # offset, slope, intercept
    header[123] = 2 | 8  # millimeters, seconds
    struct.pack_into("<2h", header, 252, 1, 1)  # qform and sform: scanner coordinates
    struct.pack_into("<3f", header, 256, *quaternion)
    struct.pack_into("<3f", header, 268, *affine[:, 3])
    struct.pack_into("<12f", header, 280, *affine.ravel())
    header[344:348] = b"n+1\0"
    return bytes(header)


def _affine(geometry: Geometry) -> np.ndarray:
    """The sform (3, 4), float32, in NIfTI's RAS axes, that ITK reads back as exactly this direction if one does.

    ITK divides each column by its length, in double precision, so the float32 column that a direction came from is not
    known. Half of all oblique directions would change in the last bits with each writing. The float32 neighbors of the
    column's largest entry are tried; the right one makes the other two entries float32 numbers as well.
    """
    to_ras = np.array([-1.0, -1.0, 1.0])
    steps = np.arange(-64, 65, dtype=np.int32)
    affine = np.empty((3, 4), np.float32)
    affine[:, 3] = to_ras * geometry.origin
    for axis, unit in enumerate(np.reshape(geometry.direction, (3, 3)).T):
        largest = int(np.argmax(np.abs(unit)))
        start = np.float32(geometry.spacing[axis] * unit[largest])
        lead = (start.view(np.int32) + steps).view(np.float32).astype(np.float64)
        columns = (lead[:, None] * (unit / unit[largest])).astype(np.float32).astype(np.float64)
        lengths = np.sqrt(columns[:, :1] ** 2 + columns[:, 1:2] ** 2 + columns[:, 2:] ** 2)
        errors = np.abs(columns / lengths - unit).max(axis=1)
        affine[:, axis] = to_ras * columns[np.lexsort((np.abs(steps), errors))[0]]
    return affine


def _quaternion(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """(b, c, d) and the handedness (qfac) of a (3, 3) sform, for readers that prefer the qform."""
    left, _, right = np.linalg.svd(matrix.astype(np.float64) / np.linalg.norm(matrix, axis=0))
    rotation = left @ right
    handedness = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation[:, 2] *= handedness
    # Eigenvector form (Bar-Itzhack 2000): stable at half turns, where the textbook formula divides by nothing.
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    quaternion = np.linalg.eigh(symmetric)[1][:, -1]
    return quaternion[:3] * (1.0 if quaternion[3] >= 0 else -1.0), handedness
