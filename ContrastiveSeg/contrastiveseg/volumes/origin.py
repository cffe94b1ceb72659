"""The mark in the header of a written volume that says what it was made from: a hash, which tells nothing else.

It stands in NIfTI's ``descrip`` and in a field of NRRD's and MetaImage's text header.
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

#: The field in text headers, and the word before the hash.
FIELD = "ContrastiveSeg"
_MARK = re.compile(rf"{FIELD}[ :=]+([0-9a-f]{{32}})".encode())
#: All headers that we write are shorter, but for those of geometries kept beside the transforms, which follow the mark.
_HEADER = 4096


def origin_text(origin: str) -> str:
    """How ``origin``, 32 hexadecimal digits, stands in NIfTI's header."""
    return f"{FIELD} {origin}"


def read_origin(path: Path) -> str:
    """The mark of the volume at ``path``; "" where it has none, is damaged, or is not ours."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path) as packed:
                start = packed.read(_HEADER)
    except (OSError, EOFError, zlib.error):
        return ""
    found = _MARK.search(start)
    return found[1].decode() if found else ""
