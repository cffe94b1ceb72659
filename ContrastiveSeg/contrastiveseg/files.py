"""Reading files that may not be readable; writing so that nothing is half-written or overwritten unasked."""

from __future__ import annotations

import difflib
import errno
import glob
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import claims
from .errors import InputError

#: Written longest first, so that ``name.nii.gz`` loses both endings.
VOLUME_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".img", ".nrrd", ".nhdr", ".mha", ".mhd")
#: So alike is a name that may be meant, of 1.
_ALIKE = 0.8
#: Of bytes in a file's name, on all common file systems.
_LONGEST_NAME = 255
#: So much of a file's name begins the name of its temporary file.
_NAMED = 40
#: The lists of :func:`recording`.
_recordings: list[list[Path]] = []
#: The name of a temporary file: that of its file, what makes it unique, and the ending.
_TEMPORARY = re.compile(r"\.(.+)-[a-z0-9_]{8}(\.[^-]+)?", re.DOTALL)


def volume_suffix(path: Path) -> str:
    """The volume file ending of ``path`` ("" if it has none of ours)."""
    name = path.name.lower()
    return next((s for s in VOLUME_SUFFIXES if name.endswith(s)), "")


def stem(path: Path) -> str:
    """The case name: the file's name without its volume ending.

    An accented letter is one character in it (Unicode's form NFC), also where a Mac wrote the file's name with two.
    """
    return unicodedata.normalize("NFC", path.name[: len(path.name) - len(volume_suffix(path))])


def check_output(path: Path, overwrite: bool = False, hint: str = "") -> None:
    """Refuse an output that exists or cannot be made, before any work is done for it.

    Args:
        hint: what else to do where it exists.

    Raises:
        InputError: the file exists and ``overwrite`` is false, or is a folder; or its own folder is read-only, a link
            to one that is gone, or missing and cannot be made; or no file can have that name.
    """
    try:
        is_folder = path.is_dir()
    except OSError as problem:  # a name that is too long
        raise InputError(f"Cannot write {path.name[:40]}...: {problem.strerror}. Choose another name.") from problem
    # In a folder that is not there yet the system does not say it.
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise InputError(f"Cannot write {path.name[:40]}...: the name is too long. Choose another one.")
    if is_folder:
        raise InputError(f"{path} is a folder. Give the name of a file to write.")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already. Choose another output, or add --overwrite to replace it.{hint}")
    # Missing folders are made with the first file in them: work that fails leaves none behind.
    there = next(folder for folder in path.absolute().parents if folder.exists() or folder.is_symlink())
    check_link(there)
    if not there.is_dir():
        raise InputError(f"Cannot make the folder {path.parent}: {there} is a file.")
    if not os.access(there, os.W_OK):
        raise InputError(f"The folder {there} is read-only. Choose an output folder you may write to.")


def check_there(path: Path) -> None:
    """Refuse a file or folder to read that is not there.

    Raises:
        InputError: naming it, and the one beside it that may be meant.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist.{near(path)}")


def near(path: Path) -> str:
    """What to say behind a ``path`` that is not there: the one beside it that may be meant, or where it breaks off; ""
    for neither."""
    with suppress(OSError):
        there = next(folder for folder in path.absolute().parents if folder.exists())
        if there != path.absolute().parent:
            return f" Its folder is not there either: of the path, only {there} is."
        alike = difflib.get_close_matches(path.name, {*os.listdir(there)} - {path.name}, 1, _ALIKE)
        return f" Did you mean {path.with_name(alike[0])}?" if alike else ""
    return ""


def check_link(path: Path) -> None:
    """Refuse a link whose file is not there.

    Raises:
        InputError: naming the file.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"{path} is a link to {path.readlink()}, which is not there. Get the data (git annex get, datalad get), or "
            "connect its disk."
        )


def check_fetched(path: Path, start: bytes) -> None:
    """Refuse the text that Git LFS or git-annex keeps in place of a file that is not fetched.

    Args:
        start: the first bytes of the file.

    Raises:
        InputError: it is that text.
    """
    if start.startswith(b"version https://git-lfs") or (b"/annex/objects/" in start and b"\0" not in start):
        raise InputError(
            f"{path} is the small text that Git LFS or git-annex keeps in place of a file. Get the data first (git lfs "
            "pull, git annex get or datalad get)."
        )


def without_folders(text: str, files: Iterable[Path]) -> str:
    """``text`` with the names of ``files`` in place of their paths: folders may tell of whom a report should not."""
    for file in files:
        text = text.replace(str(file), file.name)
    return text


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Reading ``path``: what the system refuses (rights, a network drive that went) becomes an InputError.

    Raises:
        InputError: saying what the system says.
    """
    try:
        yield
    except OSError as problem:
        at = problem.filename or path
        raise InputError(
            f"{at} cannot be read: {problem.strerror or problem}. Check its rights and its disk."
        ) from problem


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path], overwrite: bool = False, hint: str = "") -> None:
    """:func:`check_output` for all that a job writes; nothing it reads may be replaced by it.

    What killed jobs have left half-written of the outputs is removed.

    Raises:
        InputError: as there, or an output is among the ``inputs`` or is named twice.
    """
    outputs = list(outputs)
    read, written = {os.path.realpath(path) for path in inputs}, set()
    for path in outputs:
        place = os.path.realpath(path)
        if place in read:
            raise InputError(f"{path} is to be read and to be written. Choose another output.")
        if place in written:
            raise InputError(f"{path} is to be written twice. Give every output a path of its own.")
        written.add(place)
        check_output(path, overwrite, hint)
    remove_leftovers(outputs)


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` with the same ending; on success it takes ``path``'s place at once.

    On failure the temporary file is removed and whatever stood at ``path`` is untouched. What a killed process leaves
    is removed by :func:`remove_leftovers`.

    Args:
        durable: wait until the content is on the disk, so that a power cut leaves the old file or the new one.

    Raises:
        InputError: the disk is full or the folder is not writable, whichever library says so.
    """
    temporary: Path | None = None
    handle: int | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:_NAMED]}-", suffix=_suffix(path), dir=path.parent)
        temporary = Path(name)
        if claims.fcntl:
            with suppress(OSError):  # no locks here
                claims.lock(handle)
        else:  # Windows renames no open file
            os.close(handle)
            handle = None
        yield temporary
        # mkstemp makes the file private; give it the rights any new file would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        if durable:
            _wait_for_disk(temporary)
        os.replace(temporary, path)
        for recorded in _recordings:
            recorded.append(path)
    except Exception as problem:
        if refused := _refused_by_the_system(path, problem):
            raise InputError(refused) from problem
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


@contextmanager
def recording() -> Iterator[list[Path]]:
    """The files that :func:`replacing` puts in their places, in any thread, while inside."""
    recorded: list[Path] = []
    _recordings.append(recorded)
    try:
        yield recorded
    finally:
        _recordings[:] = [other for other in _recordings if other is not recorded]


def _refused_by_the_system(path: Path, problem: Exception) -> str:
    """What to say where ``path`` could not be written for ``problem``; "" for a fault of ours."""
    number = _system_number(problem)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"No space left on the device while writing {path}. Free some and run again."
    if number == errno.EFBIG:
        return (
            f"{path} would be larger than a file may be there (4 GiB on a FAT32 disk, or the session's limit, ulimit "
            "-f). Choose an output on another disk."
        )
    if number in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"Cannot write {path}: {os.strerror(number)}. Choose an output you may write to."
    if isinstance(problem, OSError) and re.fullmatch(r"\d+ requested and \d+ written", str(problem)):
        return f"Only a part of {path} could be written; its disk is probably full. Free some space and run again."
    return ""


def _suffix(path: Path) -> str:
    """The ending of a temporary file, by which libraries know what to write."""
    return volume_suffix(path) or path.suffix


def _wait_for_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _system_number(problem: Exception) -> int | None:
    """The system's number of what went wrong; safetensors' own error quotes it, numpy's for arrays has none."""
    if isinstance(problem, OSError):
        return problem.errno
    quoted = re.search(r"\(os error (\d+)\)", str(problem))
    # Windows counts its errors in another way, which OSError knows of there; elsewhere the last argument is ignored.
    return OSError(int(quoted[1]), "", None, int(quoted[1])).errno if quoted else None


def leftovers(path: Path) -> list[Path]:
    """Temporary files that :func:`replacing` could not remove, since its process was killed: of ``path``, and of files
    beside it whose names begin with its name."""
    return sorted(path.parent.glob(f".{glob.escape(path.name[:_NAMED])}*"))


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove the temporary files of ``paths`` that killed processes left; one that is being written stays."""
    folders: dict[Path, set[tuple[str, str]]] = {}
    for path in paths:
        folders.setdefault(path.parent, set()).add((path.name[:_NAMED], _suffix(path)))
    for folder, written in folders.items():
        for file in folder.glob(".*"):
            named = _TEMPORARY.fullmatch(file.name)
            if named and (named[1], named[2] or "") in written:
                remove_half_written(file)


def remove_half_written(temporary: Path) -> None:
    """Remove a temporary file of :func:`replacing`, unless a process is writing it."""
    if not claims.is_locked(temporary):
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` by write-then-rename."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
