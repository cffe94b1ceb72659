"""NIfTI-1 and NIfTI-2, single files and pairs: nibabel reads and makes headers, the voxels are read and checked here.

ITK reads a file that is cut short as if the rest were zeros, reads NaN as 0, keeps one of the two transforms, crashes
on colors with a slope, and does not report a full disk. nibabel's own reading of voxels stops before gzip's checksum.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from ..errors import InputError
from .byte_order import check_byte_order
from .gunzip import MAGIC, Gunzip
from .memory import check_memory
from .nifti_transforms import nifti_geometry, store_transforms
from .series import check_series
from .volume import Geometry

#: Deflate packs no more than about 1030 to 1: a file that declares more cannot hold its voxels.
MOST_PACKED = 1040
#: Fast, and on label maps within a few per cent of the size of the levels above it.
GZIP_LEVEL = 3
#: By the first number of the file.
HEADERS = {348: Nifti1Header, 540: Nifti2Header}
_BLOCK = 1 << 22
#: So many zeros may fill up a file behind its voxels.
PADDING = 4096
CUT_SHORT = "{} is cut short: its voxels are not all there. Copy it again from where it came."


def read_nifti(path: Path, channels: int) -> tuple[np.ndarray, Geometry]:
    """Voxels (C, z, y, x), scaled as the header says, and their grid.

    Args:
        path: a single file, or the ``.img`` of a pair whose ``.hdr`` lies beside it.
        channels: as many volumes of a 4D file are its channels.

    Raises:
        InputError: not a NIfTI, damaged or cut short, another series of volumes, a header that cannot be used.
    """
    stored = _described(path, channels)
    header, geometry = stored.header, stored.geometry
    count = math.prod(geometry.size) * stored.channels
    check_memory(path, count * stored.dtype.itemsize)
    voxels = np.empty((count,), stored.dtype)
    with _unpacked(path) as file:
        _skip(file, stored.offset)
        _fill(path, file, voxels.view(np.uint8).data)
    voxels = voxels.astype(stored.dtype.newbyteorder("="), copy=False)
    check_byte_order(path, voxels)
    voxels = _scaled(path, header, voxels)
    if stored.colors:
        return np.ascontiguousarray(np.moveaxis(voxels.reshape(*geometry.shape, -1), -1, 0)), geometry
    return voxels.reshape(-1, *geometry.shape), geometry


def read_nifti_geometry(path: Path, channels: int) -> tuple[Geometry, int]:
    """The grid and the number of channels, from the header.

    Raises:
        InputError: as :func:`read_nifti`, except for what depends on the voxels.
    """
    stored = _described(path, channels)
    return stored.geometry, stored.channels


def write_nifti(path: Path, array: np.ndarray, geometry: Geometry, compress: bool, description: str) -> None:
    """Write ``array``, (z, y, x) or (C, z, y, x), as a single-file NIfTI: version 1, or 2 where an axis is too long.

    Raises:
        OSError: the disk is full or the folder not writable.
    """
    header = (Nifti1Header if max(geometry.size) < 1 << 15 else Nifti2Header)(endianness="<")
    channels = array.shape[0] if array.ndim == 4 else 1
    header["dim"] = (3, *geometry.size, 1, 1, 1, 1) if channels == 1 else (5, *geometry.size, 1, channels, 1, 1)
    header["intent_code"] = 0 if channels == 1 else 1007  # none, or a vector a voxel
    header.set_data_dtype(array.dtype)
    store_transforms(header, geometry)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["descrip"] = description.encode()
    header["vox_offset"] = header.sizeof_hdr + 4
    voxels = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    with path.open("wb") as file:
        if compress:
            # No name and time inside, so that the same labels give the same bytes.
            with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as packed:
                packed.write(header.binaryblock + bytes(4))
                packed.write(voxels.data)
        else:
            file.write(header.binaryblock + bytes(4))
            file.write(voxels.data)


@dataclass(frozen=True)
class _Stored:
    """How a file stores its voxels: values of ``dtype`` from the byte ``offset`` on, the colors of a voxel together."""

    header: Nifti1Header
    geometry: Geometry
    dtype: np.dtype
    channels: int
    colors: bool
    offset: int


def _described(path: Path, channels: int) -> _Stored:
    """What the checked header says, of a file in which as many volumes are ``channels``."""
    described = path
    if path.name.lower().endswith(".img"):
        described = next((p for p in (path.with_suffix(e) for e in (".hdr", ".HDR")) if p.is_file()), path)
        if described == path:
            raise InputError(f"{path} is half of a NIfTI pair: {path.stem}.hdr is not beside it. Copy both.")
    header = _read_header(path, described)
    header_size = int(header["sizeof_hdr"])
    dimensions = [int(d) for d in header["dim"]]
    n, offset = dimensions[0], float(header["vox_offset"])
    if described == path and 0 < offset < header_size:
        raise InputError(f"{path} has a damaged NIfTI header: its voxels would begin inside it. Copy it again.")
    if not 1 <= n <= 7 or any(d < 1 for d in dimensions[1 : n + 1]) or not 0 <= offset < 1 << 40:
        raise InputError(
            f"{path} has a damaged NIfTI header (dimensions {tuple(dimensions[: max(n, 0) + 1])}). Copy it again."
        )
    dimensions[n + 1 :] = [1] * (7 - n)
    volumes = dimensions[4] * math.prod(dimensions[6:])
    check_series(path, n, volumes, channels if dimensions[5:] == [1, 1, 1] else 1)
    geometry = nifti_geometry(path, header)
    dtype, colors = _voxel_type(path, header)
    channels = volumes * dimensions[5] * (colors or 1)
    first = max(int(offset), header_size + 4) if described == path else int(offset)
    needed = first + math.prod(geometry.size) * channels * dtype.itemsize
    if path.stat().st_size * (MOST_PACKED if _is_packed(path) else 1) < needed:
        raise InputError(CUT_SHORT.format(path))
    return _Stored(header, geometry, dtype, channels, colors > 0, first)


def _read_header(path: Path, described: Path) -> Nifti1Header:
    """The header of the image ``path`` from the file ``described``: the image itself, or the other half of a pair."""
    with _unpacked(described) as file:
        block = file.read(540)
    known = next(
        ((kind, o) for kind in HEADERS for o in ("little", "big") if int.from_bytes(block[:4], o) == kind), None
    )
    if known is None and block[:2] == MAGIC:
        raise InputError(f"{described} is packed twice. Unpack it once (gunzip).")
    if known is None:
        raise InputError(f"{path} is not an image of the kind its name says, or is damaged. Copy it again.")
    if len(block) < known[0]:
        raise InputError(f"{described} is damaged or cut short: it ends inside its header. Copy it again.")
    header = HEADERS[known[0]](block[: known[0]], known[1], check=False)
    magic = (b"n+" if described == path else b"ni") + (b"1" if known[0] == 348 else b"2")
    if header["magic"].item() != magic:
        raise InputError(
            f"{path} is not a NIfTI: its header lacks the mark (an Analyze 7.5 file?). Such files do not tell left "
            "from right. Convert it to .nii.gz with the program that made it."
        )
    if known[0] == 540 and header["eol_check"].tolist() not in ([13, 10, 26, 10], [0, 0, 0, 0]):
        raise InputError(
            f"{described} was changed as if it were a text: its line ends differ. Copy it anew, as binary."
        )
    return header


def _voxel_type(path: Path, header: Nifti1Header) -> tuple[np.dtype, int]:
    """The stored numbers' type, and values a voxel in colors (0 if it holds none)."""
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        dtype = np.dtype("V0")
    if dtype.itemsize == 0:
        raise InputError(
            f"{path} has voxels of a type that is not read (NIfTI code {int(header['datatype'])}). Save it anew, with "
            "whole numbers of 16 bits or as floats."
        )
    return (np.dtype(np.uint8), len(dtype.fields)) if dtype.fields else (dtype, 0)


def _scaled(path: Path, header: Nifti1Header, voxels: np.ndarray) -> np.ndarray:
    """Stored numbers as what they stand for; a slope of 0 means that they are not scaled."""
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as problem:
        raise InputError(
            f"{path} has a scaling in its header that is not a number. Correct its scl_inter."
        ) from problem
    if np.iscomplexobj(voxels) or (slope in (None, 1.0) and intercept in (None, 0.0)):
        return voxels.astype(np.float64) if voxels.dtype == np.longdouble else voxels
    kind = np.float32 if np.can_cast(voxels.dtype, np.float32) else np.float64
    return voxels.astype(kind) * kind(slope) + kind(intercept)


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == MAGIC


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO]:
    """The content of a file that may be packed, whatever its name says; damage becomes an InputError."""
    try:
        packed = _is_packed(path)
        with path.open("rb") as file:
            yield io.BufferedReader(Gunzip(file)) if packed else file
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        if isinstance(problem, EOFError):
            raise InputError(CUT_SHORT.format(path)) from problem
        raise InputError(
            f"{path} is damaged: what it unpacks to has another checksum. Copy it again from where it came."
        ) from problem


def _skip(file: BinaryIO, count: int) -> None:
    """Go on by ``count`` bytes, or to the end."""
    while count and (passed := len(file.read(min(count, _BLOCK)))):
        count -= passed


def _fill(path: Path, file: BinaryIO, memory: memoryview) -> None:
    """Read voxels into ``memory``, and a packed file to its end, where its checksum is."""
    done = 0
    while done < len(memory):
        count = file.readinto(memory[done : done + _BLOCK])  # type: ignore[attr-defined]
        if not count:
            raise InputError(CUT_SHORT.format(path))
        done += count
    behind = 0
    try:
        while more := file.read(_BLOCK):
            behind += len(more)
            if behind > PADDING or more.strip(b"\0"):
                raise InputError(
                    f"{path} goes on behind the voxels that its header declares: its header was changed, or it was "
                    "copied as if it were a text. Copy it anew, as binary, or correct its header (dim)."
                )
    except gzip.BadGzipFile as problem:
        # What follows a sound end is not part of the volume.
        if "Not a gzipped file" not in str(problem):
            raise
