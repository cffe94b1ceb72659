"""Files that belong to one living process, by the system's locks, which end with their process however that ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock(file: int) -> bool:
    """Lock an open file until it is closed; False if another process, or another opening of it, has it locked.

    Raises:
        OSError: its file system has no locks.
    """
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError as problem:
        if problem.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def is_locked(path: Path) -> bool:
    """Whether a process has ``path`` locked; also True where that cannot be told."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return True
    try:
        return not lock(file)
    except OSError:
        return True
    finally:
        os.close(file)


def lock_path(output: Path) -> Path:
    """The file that lies beside ``output`` while a process works on it."""
    return output.with_name(output.name + ".lock")


def check_unclaimed(output: Path) -> None:
    """Refuse an output that a process is writing.

    Raises:
        InputError: it is.
    """
    path = lock_path(output)
    if path.exists() and is_locked(path):
        raise _Claimed(output)


class _Claimed(InputError):
    def __init__(self, output: Path) -> None:
        super().__init__(
            f"Another process is running that writes {output}. Wait until it has ended, or choose another output."
        )


@contextmanager
def claimed(output: Path) -> Iterator[bool]:
    """Keep ``output`` to this process while inside; yields whether a process was killed while it had claimed it.

    Folders that are made for the lock and stay empty are removed with it.

    Raises:
        InputError: a process that lives has claimed ``output``.
    """
    path = lock_path(output)
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _locked(path, output)
    try:
        killed = bool(os.read(file, 1))
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        with suppress(OSError):  # on a full disk the lock holds all the same
            os.write(file, f"{os.getpid()}\n".encode())
        yield killed
    finally:
        if not fcntl:
            os.close(file)  # Windows removes no open file
        with suppress(OSError):
            path.unlink()
        if fcntl:
            os.close(file)
        for folder in made:
            with suppress(OSError):  # something was written there
                folder.rmdir()


def _locked(path: Path, output: Path) -> int:
    """An opening of ``path`` that is locked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            got = lock(file)
        except OSError:  # no locks here: then nothing is known of other processes
            return file
        if not got:
            os.close(file)
            raise _Claimed(output)
        # Who held the lock before may have removed the file in between; then the lock is on nothing.
        with suppress(OSError):
            if not fcntl or os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)
