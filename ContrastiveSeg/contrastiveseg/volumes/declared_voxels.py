"""What the text headers of NRRD and MetaImage say of their voxels.

Formats: https://teem.sourceforge.net/nrrd/format.html, https://itk.org/Wiki/MetaIO/Documentation
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

#: One a slice; more are no volume.
_MOST_FILES = 10_000
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
#: What an NRRD calls the spaces whose axes are the patient's; ITK takes any other for the last of them.
_OF_PATIENT = re.compile(r"(right-anterior|left-anterior|left-posterior)-superior(-time)?|(ra|la|lp)st?", re.IGNORECASE)
#: Fields of a MetaImage that hold numbers of which MetaIO reads what is in front of a comma.
_META_NUMBERS = (
    *("ElementSpacing", "ElementSize", "Offset", "Position", "Origin"),
    *("TransformMatrix", "Rotation", "Orientation", "CenterOfRotation"),
)


@dataclass(frozen=True)
class DeclaredVoxels:
    """What a header says of its voxels.

    Attributes:
        count: numbers in all. itemsize: bytes of each.
        encoding: "raw", "packed" (zlib, gzip), "text", "hex" or "other".
        start: of the voxels in the header's own file. data: names of the files that hold them instead, if any do.
        files: as many of them as the sizes ask for.
        skipped: bytes before the voxels of each, None where the header tells it in another way.
        packed: bytes that are unpacked, None for all; parts: whether several packed parts may follow one another.
        units: of lengths.
        sized, placed: whether it says how large its voxels are, and how they lie in the patient.
        numbers: lengths and directions as they stand there, where ITK does not check them.
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
    placed: bool = True
    numbers: tuple[str, ...] = ()


def of_metaimage(start: bytes) -> DeclaredVoxels:
    """From the beginning of a MetaImage file.

    Raises:
        ValueError, KeyError: it is none, or a field is missing or holds something else.
    """
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
    return DeclaredVoxels(
        *(count, itemsize, encoding, found.end(), data, files, told, packed, False, (unit,), sized),
        numbers=tuple(fields[name] for name in _META_NUMBERS if name in fields),
    )


def of_nrrd(start: bytes) -> DeclaredVoxels:
    """From the beginning of an NRRD file; raises as :func:`of_metaimage`."""
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
    # A vector's own axis has no spacing; of two or three axes in space each has one.
    known = sum(map(math.isfinite, spacings))
    sized = "space directions" in fields or known >= min(3, len(sizes))
    start_of_voxels = found.end() if found else 0
    told = None if lines or skipped < 0 or (skipped and encoding == "packed") else skipped
    placed = len(sizes) < 3 or _OF_PATIENT.fullmatch(fields.get("space", "")) is not None
    return DeclaredVoxels(
        *(math.prod(sizes), itemsize, encoding, start_of_voxels, data, len(data), told),
        units=tuple(units),
        sized=sized,
        placed=placed,
    )


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
