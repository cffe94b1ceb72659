"""NRRD and MetaImage: their text headers, checked against the files before ITK reads them.

ITK makes room for as many voxels as a header declares, opens whatever file it names, and takes what unpacks of damaged
voxels without a word. Formats: https://teem.sourceforge.net/nrrd/format.html, https://itk.org/Wiki/MetaIO/Documentation
"""

from __future__ import annotations

import os
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..printable import shortened
from .declared_voxels import DeclaredVoxels, of_metaimage, of_nrrd
from .nifti import CUT_SHORT, MOST_PACKED, PADDING

#: Headers are a few kB, with a table of segments some 100.
_LONGEST_HEADER = 1 << 20
_BLOCK = 1 << 20
#: zlib's sign for data packed by either.
_ZLIB_OR_GZIP = 47
#: In headers, lengths other than millimeters, which ITK takes for them.
_OTHER_UNITS = re.compile(
    r"[u\xb5\u03bc\ufffdnck]?m|microns?|(micro|nano|centi)?met(er|re)s?|in|inch(es)?", re.IGNORECASE
)
_NO_SIZE = "its header does not say how large its voxels are; 1 mm is taken"
_NO_PLACE = "its header does not say how it lies in the patient (space)"


@dataclass(frozen=True)
class TextHeader:
    """What a header was checked for: the bytes of its voxels, and what it leaves open of their place (or "")."""

    voxel_bytes: int
    unsaid: str


def check_text_header(path: Path) -> TextHeader:
    """Check the header of an NRRD or MetaImage file against what is there.

    Raises:
        InputError: lengths in another unit than mm or with a decimal comma, not such a file, damaged or cut short,
            voxels in a file outside its folder or in no plain file, in one that is named twice, or in files that are
            listed in the order of letters and not of their numbers, packed voxels that do not unpack to those declared,
            a file that goes on behind them, or a field that is given twice.
    """
    voxels = _described(path)
    if other := next((unit for unit in voxels.units if _OTHER_UNITS.fullmatch(unit)), None):
        raise InputError(
            f"{path} gives its lengths in {other}, not in mm, which most programs overlook. Write them in mm, or "
            "convert it anew with the program that made it."
        )
    if wrong := next((text for text in voxels.numbers if not _are_numbers(text)), None):
        raise InputError(
            f"{path} has {shortened(wrong)!r} in its header, where numbers are wanted, of which most programs read a "
            "part. Write them with a point (1.5, not 1,5)."
        )
    data = [_beside(path, name) for name in voxels.data]
    if len(data) != voxels.files:  # MetaIO reads what there is
        raise InputError(
            f"{path} names {len(data)} files of voxels, and its sizes ask for {voxels.files}. Correct its header."
        )
    _check_order(path, voxels.data)
    needed = voxels.count * voxels.itemsize
    for source in data or [path]:
        begin = 0 if data else voxels.start
        _check_voxels(source, begin, needed // max(1, len(data)), voxels)
    unsaid = ("" if voxels.sized else _NO_SIZE, "" if voxels.placed else _NO_PLACE)
    return TextHeader(needed, "; ".join(filter(None, unsaid)))


def _check_order(path: Path, names: Sequence[str]) -> None:
    """Refuse a list of files for the slices in which one is given twice, or that a program sorted by letters."""
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise InputError(f"{path} names {shortened(twice)} twice for its voxels. Name each file once.")
    if [*names] == sorted(names) != sorted(names, key=_by_numbers):
        raise InputError(
            f"{path} lists its files of voxels in the order of letters ({shortened(names[1])} behind "
            f"{shortened(names[0])}), not of their numbers, so that its slices would be mixed. List them in the order "
            "of the slices."
        )


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """For sorting: the numbers in a name count as such (s2 before s10)."""
    return [(int(digits or 0), letters) for digits, letters in re.findall(r"(\d{0,9})(\D*)", name)]


def _are_numbers(text: str) -> bool:
    try:
        [float(word) for word in text.split()]
    except ValueError:
        return False
    return True


def files_of_voxels(path: Path) -> list[Path]:
    """The files beside the header ``path`` that it names for its voxels; none where they are in its own file, or where
    :func:`check_text_header` refuses what it says of them."""
    try:
        return [_beside(path, name) for name in _described(path).data]
    except (InputError, OSError):
        return []


def _described(path: Path) -> DeclaredVoxels:
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    damaged = f"{path} is not an image of the kind its name says, or is damaged or cut short"
    try:
        voxels = of_metaimage(start) if path.suffix.lower() in (".mha", ".mhd") else of_nrrd(start)
    except (ValueError, KeyError, IndexError) as problem:
        raise InputError(f"{damaged} ({shortened(problem)}). Copy it again.") from problem
    if voxels.count < 1:
        raise InputError(f"{damaged}. Copy it again.")
    return voxels


def _check_voxels(path: Path, start: int, needed: int, voxels: DeclaredVoxels) -> None:
    """Refuse the file ``path`` unless it holds ``needed`` bytes of ``voxels`` from ``start`` on, and no more."""
    stored = path.stat().st_size - start - (voxels.skipped or 0)
    numbers = needed // voxels.itemsize
    # As text, a number takes a digit and a separator.
    least = {"raw": needed, "packed": needed // MOST_PACKED, "text": 2 * numbers - 1, "hex": 2 * needed, "other": 1}
    if stored < least[voxels.encoding]:
        raise InputError(CUT_SHORT.format(path))
    if voxels.skipped is None:
        return
    behind = 0
    if voxels.encoding == "packed":
        unpacked = _unpacked_bytes(path, start + voxels.skipped, needed, voxels)
        if unpacked < needed:
            raise InputError(CUT_SHORT.format(path))
        behind = unpacked - needed
    elif voxels.encoding == "raw" and stored > needed:
        behind = stored - needed
        with path.open("rb") as file:
            file.seek(-min(behind, PADDING), os.SEEK_END)
            behind += PADDING if file.read().strip(b"\0") else 0
    if behind > PADDING:
        raise InputError(
            f"{path} goes on behind the voxels that its header declares: its header was changed, or it was copied as "
            "if it were a text. Copy it anew, as binary, or correct its header (the sizes)."
        )


def _beside(path: Path, name: str) -> Path:
    """The file ``name`` of voxels, in the folder of the header ``path`` or below it."""
    folder = os.path.abspath(path.parent)
    target = os.path.abspath(os.path.join(folder, name))
    if os.path.commonpath([folder, target]) != folder:
        raise InputError(
            f"{path} takes its voxels from {name}, outside its folder. Copy that file beside the header, and name it "
            "there without a path."
        )
    if not os.path.isfile(target):
        state = "which is no plain file. Give one" if os.path.exists(target) else "which is not there. Copy both files"
        raise InputError(f"{path} takes its voxels from {name}, {state}.")
    return Path(target)


def _unpacked_bytes(path: Path, start: int, needed: int, voxels: DeclaredVoxels) -> int:
    """How many bytes the zlib or gzip data of ``path`` have from ``start`` on, unpacked.

    0 where they end too early; those far behind the ``needed`` ones are not counted.

    Raises:
        InputError: they do not unpack, or their checksum differs.
    """
    done, unpack, block = 0, zlib.decompressobj(_ZLIB_OR_GZIP), b""
    left = path.stat().st_size if voxels.packed is None else voxels.packed
    try:
        with path.open("rb") as file:
            file.seek(start)
            while done <= needed + PADDING:
                if not block:
                    block = file.read(max(0, min(_BLOCK, left)))  # a header may say less than nothing
                    left -= len(block)
                if not block or (unpack.eof and (done == needed or not voxels.parts)):
                    break
                if unpack.eof:  # gzip may have several parts
                    unpack = zlib.decompressobj(_ZLIB_OR_GZIP)
                done += len(unpack.decompress(block, _BLOCK))
                block = unpack.unconsumed_tail or unpack.unused_data
            done += 0 if unpack.eof or block else len(unpack.flush())
    except zlib.error as problem:
        raise InputError(
            f"{path} is damaged: its packed voxels do not unpack. Copy it again from where it came."
        ) from problem
    return done if unpack.eof or done > needed + PADDING else 0
