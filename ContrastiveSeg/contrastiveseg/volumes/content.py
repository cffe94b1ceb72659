"""What identifies a volume, whatever its name and place: a hash of its files' content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

_OF_FILE_MANAGERS = ("thumbs.db", "desktop.ini")


def content_digest(paths: Sequence[Path]) -> str:
    """SHA-256 over the content of files, of the files in folders (DICOM series), and of those behind them
    (:func:`files_behind`)."""
    total = hashlib.sha256()
    for file in _files(paths):
        with open(file, "rb") as opened:
            while block := opened.read(2**20):
                total.update(block)
    return total.hexdigest()


def bytes_on_disk(paths: Sequence[Path]) -> int:
    """How large the files are that :func:`content_digest` reads; 0 where one cannot be found."""
    try:
        return sum(file.stat().st_size for file in _files(paths))
    except OSError:  # who reads them says what is wrong
        return 0


def state_on_disk(paths: Sequence[Path]) -> tuple[tuple[str, int, int, int], ...]:
    """Size, time of change and number of the files that :func:`content_digest` reads: other ones tell that the content
    may be another; () where one cannot be found."""
    try:
        states = [(str(file), file.stat()) for file in _files(paths)]
    except OSError:  # who reads them says what is wrong
        return ()
    return tuple((name, state.st_size, state.st_mtime_ns, state.st_ino) for name, state in states)


@contextmanager
def unchanged(paths: Sequence[Path]) -> Iterator[None]:
    """Reading ``paths`` and their hash, which must be of the same bytes.

    Raises:
        InputError: a file was replaced or written to meanwhile.
    """
    before = state_on_disk(paths)
    yield
    if state_on_disk(paths) != before:
        raise InputError(f"{paths[0]} was changed while it was read. Run again when nothing writes to it any more.")


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(p for p in path.iterdir() if _is_of_series(p)) if path.is_dir() else files_behind(path)


def _is_of_series(file: Path) -> bool:
    """Not what lies below the folder, and what file managers put into it: they come and go, and the series stays."""
    return file.is_file() and not file.name.startswith(".") and file.name.lower() not in _OF_FILE_MANAGERS


def files_behind(path: Path) -> list[Path]:
    """``path`` and the files that it does not go without: the voxels that a header names, the header of a .img."""
    headers = [path.with_suffix(ending) for ending in (".hdr", ".HDR")] if path.suffix.lower() == ".img" else []
    return [path, *_voxels_of(path), *[header for header in headers if header.is_file()]]


def _voxels_of(path: Path) -> list[Path]:
    """The files that a MetaImage or NRRD header names for its voxels: without them, changed ones would go unnoticed."""
    if path.suffix.lower() not in (".mhd", ".nhdr"):
        return []
    from .text_headers import files_of_voxels  # it loads nibabel, which few files need

    return files_of_voxels(path)
