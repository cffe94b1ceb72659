"""NRRD and MetaImage: their text headers, checked against the files before ITK reads them.

ITK makes room for as many voxels as a header declares, opens whatever file it names, and takes what unpacks of damaged
voxels without a word. Formats: https://teem.sourceforge.net/nrrd/format.html, https://itk.org/Wiki/MetaIO/Documentation
"""

from __future__ import annotations

import math
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..printable import shortened
from .nifti import MOST_PACKED

#: Headers are a few kB, with a table of segments some 100.
_LONGEST_HEADER = 1 << 20
_BLOCK = 1 << 20
#: One a slice; more are no volume.
_MOST_FILES = 10_000
#: zlib's sign for data packed by either.
_ZLIB_OR_GZIP = 47
#: So many zeros may fill up a file behind its voxels.
_PADDING = 4096
_CUT_SHORT = "{} is cut short: its voxels are not all there. Copy it again from where it came."
_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_NRRD_BYTES = {"char": 1, "int8": 1, "short": 2, "int16": 2, "int": 4, "int32": 4, "long long": 8, "longlong": 8}
_NRRD_BYTES |= {"int64": 8, "float": 4, "double": 8}
_NRRD_ENCODINGS = {
    "raw": "raw",
    "gzip": "packed",
    "gz": "packed",
    "text": "text",
    "txt": "text",
    "ascii": "text",
    "hex": "hex",
}
#: Kinds of an NRRD's axes that lie in space, or may.
_OF_SPACE = ("domain", "space", "none", "???")
#: In headers, lengths other than millimeters, which ITK takes for them.
_OTHER_UNITS = re.compile(
    r"[u\xb5\u03bc\ufffdnck]?m|microns?|(micro|nano|centi)?met(er|re)s?|in|inch(es)?", re.IGNORECASE
)
_NO_SIZE = "its header does not say how large its voxels are; 1 mm is taken"


@dataclass(frozen=True)
class TextHeader:
    """What a header was checked for: the bytes of its voxels, and what it leaves open of their place (or "")."""

    voxel_bytes: int
    unsaid: str


@dataclass(frozen=True)
class _Voxels:
    """What a header says of its voxels.

    Attributes:
        count: numbers in all. itemsize: bytes of each.
        encoding: "raw", "packed" (zlib, gzip), "text", "hex" or "other".
        start: of the voxels in the header's own file. data: names of the files that hold them instead, if any do.
        files: as many of them as the sizes ask for.
        skipped: bytes before the voxels of each, None where the header tells it in another way.
        packed: bytes that are unpacked, None for all; parts: whether several packed parts may follow one another.
        units: of lengths. sized: whether it says how large they are.
    """

    count: int
    itemsize: int
    encoding: str
    start: int
    data: tuple[str, ...]
    files: int
    skipped: int | None = 0
    packed: int | None = None
    parts: bool = True
    units: tuple[str, ...] = ()
    sized: bool = True


def check_text_header(path: Path) -> TextHeader:
    """Check the header of an NRRD or MetaImage file against what is there.

    Raises:
        InputError: lengths in another unit than mm, not such a file, damaged or cut short, voxels in a file outside its
            folder or in no plain file, packed voxels that do not unpack to those declared, a file that goes on behind
            them, or a field that is given twice.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    damaged = f"{path} is not an image of the kind its name says, or is damaged or cut short"
    try:
        voxels = _of_metaimage(start) if path.suffix.lower() in (".mha", ".mhd") else _of_nrrd(start)
    except (ValueError, KeyError, IndexError) as problem:
        raise InputError(f"{damaged} ({shortened(problem)}). Copy it again.") from problem
    if voxels.count < 1:
        raise InputError(f"{damaged}. Copy it again.")
    if other := next((unit for unit in voxels.units if _OTHER_UNITS.fullmatch(unit)), None):
        raise InputError(
            f"{path} gives its lengths in {other}, not in mm, which most programs overlook. Write them in mm, or "
            "convert it anew with the program that made it."
        )
    data = [_beside(path, name) for name in voxels.data]
    if len(data) != voxels.files:  # MetaIO reads what there is
        raise InputError(
            f"{path} names {len(data)} files of voxels, and its sizes ask for {voxels.files}. Correct its header."
        )
    needed = voxels.count * voxels.itemsize
    for source in data or [path]:
        begin = 0 if data else voxels.start
        _check_voxels(source, begin, needed // max(1, len(data)), voxels)
    return TextHeader(needed, "" if voxels.sized else _NO_SIZE)


def _check_voxels(path: Path, start: int, needed: int, voxels: _Voxels) -> None:
    """Refuse the file ``path`` unless it holds ``needed`` bytes of ``voxels`` from ``start`` on, and no more."""
    stored = path.stat().st_size - start - (voxels.skipped or 0)
    numbers = needed // voxels.itemsize
    # As text, a number takes a digit and a separator.
    least = {"raw": needed, "packed": needed // MOST_PACKED, "text": 2 * numbers - 1, "hex": 2 * needed, "other": 1}
    if stored < least[voxels.encoding]:
        raise InputError(_CUT_SHORT.format(path))
    if voxels.skipped is None:
        return
    behind = 0
    if voxels.encoding == "packed":
        unpacked = _unpacked_bytes(path, start + voxels.skipped, needed, voxels)
        if unpacked < needed:
            raise InputError(_CUT_SHORT.format(path))
        behind = unpacked - needed
    elif voxels.encoding == "raw" and stored > needed:
        behind = stored - needed
        with path.open("rb") as file:
            file.seek(-min(behind, _PADDING), os.SEEK_END)
            behind += _PADDING if file.read().strip(b"\0") else 0
    if behind > _PADDING:
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
        state = "which is no plain file" if os.path.exists(target) else "which is not there. Copy both files"
        raise InputError(f"{path} takes its voxels from {name}, {state}.")
    return Path(target)


def _of_metaimage(start: bytes) -> _Voxels:
    found = re.search(rb"^ElementDataFile\s*[=:]([^\n]*)\n?", start, re.MULTILINE)
    if found is None:
        raise ValueError("no ElementDataFile")
    fields = _fields(start[: found.start()], r"\s*([^=:]+?)\s*[=:](.*)")
    sizes = [int(n) for n in fields["DimSize"].split()]
    if len(sizes) != int(fields["NDims"]) or min(sizes) < 1:
        raise ValueError("sizes")
    count = math.prod(sizes) * int(fields.get("ElementNumberOfChannels", 1))
    itemsize = _META_BYTES[fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY").removeprefix("U")]
    encoding = "raw" if fields.get("BinaryData", "True")[:1] in "Tt1" else "text"
    if fields.get("CompressedData", "False")[:1] in "Tt1":
        encoding = "packed"
    data = _data_files(found[1], start[found.end() :])
    packed = int(fields.get("CompressedDataSize", 0)) or None
    if encoding == "packed" and not data and packed is None:  # MetaIO takes the length of the file with its header
        raise ValueError("no CompressedDataSize")
    given = os.fsdecode(found[1]).strip()
    files = len(data)
    if data and data != (given,):  # a file a slice, unless it is said how many axes a file has
        listed = re.fullmatch(r"LIST +(\d+)D?", given)
        files = math.prod(sizes[int(listed[1]) if listed else -1 :])
    # -1: whatever is there before the voxels. MetaIO counts the bytes from the beginning of the header's own file.
    skipped = int(fields.get("HeaderSize", 0))
    if skipped < -1 or (skipped > 0 and not data):
        raise ValueError("a header of another length than its own")
    sized = "ElementSpacing" in fields or "ElementSize" in fields
    unit = fields.get("DistanceUnits", "mm")
    told = max(skipped, 0) if skipped >= 0 or encoding == "packed" else None
    return _Voxels(count, itemsize, encoding, found.end(), data, files, told, packed, False, (unit,), sized)


def _of_nrrd(start: bytes) -> _Voxels:
    found = re.search(rb"\r?\n\r?\n", start)
    head = start[: found.start()] if found else start
    if not head.startswith(b"NRRD000"):
        raise ValueError("no NRRD")
    fields = {key.lower(): value for key, value in _fields(head, r"([^#:]+):(?!=)(.*)").items()}
    sizes = [int(n) for n in fields["sizes"].split()]
    if len(sizes) != int(fields["dimension"]) or min(sizes) < 1:
        raise ValueError("sizes")
    directions = fields.get("space directions", "").count("(")
    if len(sizes) == 3 and 0 < directions < 3 and not {*fields.get("kinds", "").split()} - {*_OF_SPACE}:
        raise ValueError("an axis without a direction, of which ITK would guess the length")
    kind = re.sub(r"^(unsigned |signed )|^u(?=char|short|int|longlong)", "", fields["type"].lower())
    itemsize = _NRRD_BYTES[kind if kind in _NRRD_BYTES else re.sub(r"( int|_t)$", "", kind)]
    encoding = _NRRD_ENCODINGS.get(fields["encoding"].lower(), "other")
    line = re.search(rb"^data ?file:([^\n]*)\n?", head, re.MULTILINE | re.IGNORECASE)
    data = _data_files(line[1], head[line.end() :]) if line else ()
    if not data and found is None:
        raise ValueError("a header without end")
    lines, skipped = (int(fields.get(f"{of} skip", fields.get(f"{of}skip", 0))) for of in ("line", "byte"))
    units = re.findall(r'"([^"]*)"', fields.get("space units", "") + fields.get("units", ""))
    spacings = [float(word) for word in fields.get("spacings", "").split()]
    sized = "space directions" in fields or any(map(math.isfinite, spacings))
    start_of_voxels = found.end() if found else 0
    told = None if lines or skipped < 0 or (skipped and encoding == "packed") else skipped
    count = math.prod(sizes)
    return _Voxels(count, itemsize, encoding, start_of_voxels, data, len(data), told, units=tuple(units), sized=sized)


def _fields(head: bytes, form: str) -> dict[str, str]:
    """The lines of a header by their keys; ``form`` matches a key and a value."""
    fields: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").splitlines():
        if match := re.match(form, line):
            key, value = match[1], match[2].strip()
            if fields.setdefault(key, value) != value and key != "Comment":
                raise ValueError(f"two values of {key}")
    return fields


def _data_files(given: bytes, following: bytes) -> tuple[str, ...]:
    """The files that ``given`` names, by itself, by a pattern with the first and last number and their step
    ("slice%03d.raw 1 40 1"), or listed in the ``following`` lines; none for the header's own."""
    name = os.fsdecode(given).strip()
    if name.split(" ")[0] == "LIST":
        listed = tuple(line.strip() for line in os.fsdecode(following).splitlines() if line.strip())
    elif pattern := re.fullmatch(r"([^%]*)%(0?\d{0,2})[du]([^%\s]*)\s+(\d+)\s+(\d+)(?:\s+(\d+).*)?", name):
        before, width, after, *numbers = pattern.groups()
        first, last, step = int(numbers[0]), int(numbers[1]), int(numbers[2] or 1)
        listed = tuple(f"{before}{n:{width}d}{after}" for n in range(first, min(last, first + _MOST_FILES) + 1, step))
    elif "%" in name:
        raise ValueError("a pattern that is none")
    else:
        return () if name.upper() == "LOCAL" else (name,)
    if not 0 < len(listed) <= _MOST_FILES:
        raise ValueError("no files, or too many")
    return listed


def _unpacked_bytes(path: Path, start: int, needed: int, voxels: _Voxels) -> int:
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
            while done <= needed + _PADDING:
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
    return done if unpack.eof or done > needed + _PADDING else 0
