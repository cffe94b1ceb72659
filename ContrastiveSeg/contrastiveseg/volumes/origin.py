"""The mark in the header of a written volume that says what it was made from: a hash, which tells nothing else.

Behind it a label map has the distance of its volume from the training, where the checkpoint knows it. The mark stands
in NIfTI's ``descrip`` and in a field of NRRD's and MetaImage's text header.
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

#: The field in text headers, and the word before the hash.
FIELD = "ContrastiveSeg"
_MARK = re.compile(rf"{FIELD}[ :=]+([0-9a-f]{{32}})(?: distance ([0-9]{{1,6}}\.[0-9]{{2}}))?".encode())
#: The largest distance that is written.
_FARTHEST = 99999.99
#: All headers that we write are shorter, but for those of geometries kept beside the transforms, which follow the mark.
_HEADER = 4096


def origin_text(origin: str) -> str:
    """How ``origin``, 32 hexadecimal digits, stands in NIfTI's header."""
    return f"{FIELD} {origin}"


def with_distance(origin: str, distance: float | None) -> str:
    """The mark ``origin`` with the distance from the training behind it, if that is known."""
    return origin if distance is None else f"{origin} distance {min(distance, _FARTHEST):.2f}"


def read_origin(path: Path) -> str:
    """The hash in the mark of the volume at ``path``; "" where it has none, is damaged, or is not ours."""
    mark = _mark(path)
    return mark[1].decode() if mark else ""


def read_distance(path: Path) -> float | None:
    """The distance in the mark of the label map at ``path``; None where it has none, or no mark."""
    mark = _mark(path)
    return float(mark[2]) if mark and mark[2] else None


def _mark(path: Path) -> re.Match[bytes] | None:
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path) as packed:
                start = packed.read(_HEADER)
    except (OSError, EOFError, zlib.error):
        return None
    return _MARK.search(start)
