"""Single files of a zip archive from strangers: bounded, and under names of our own."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ..errors import InputError

#: The most bytes of weights in an archive; more would fill the disk or the memory.
MOST_WEIGHTS = 16 * 2**30


def names_in(path: Path) -> list[PurePosixPath]:
    """The names in the archive at ``path``; none where it is no archive, or cannot be opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [PurePosixPath(name) for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return []


def members(archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of ``archive`` by name."""
    return {PurePosixPath(info.filename): info for info in archive.infolist() if not info.is_dir()}


def opened(path: Path) -> zipfile.ZipFile:
    """The archive at ``path``.

    Raises:
        InputError: it is none.
    """
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as problem:
        raise InputError(f"{path} cannot be opened as an archive ({problem}). Copy it again.") from problem


def unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, most: int, place: Path) -> None:
    """Write a ``member`` of at most so many bytes to ``target``; ``place`` is the archive's path.

    Raises:
        InputError: it is larger, or damaged.
    """
    if member.file_size > most:
        raise InputError(f"{place}: {member.filename} would take {member.file_size / 2**30:.1f} GiB; that is too much.")
    try:
        # A member never gives more than the size that its entry names.
        with archive.open(member) as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file, 2**20)
    except (OSError, RuntimeError, NotImplementedError, EOFError, zlib.error, zipfile.BadZipFile) as problem:
        raise InputError(f"{place}: {member.filename} cannot be unpacked ({problem}). Copy it again.") from problem
