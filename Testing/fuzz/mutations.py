"""Changes to the bytes of a valid file: of any file, of text, of JSON, of gzip's content, of a safetensors header.

Each takes a source of randomness and content, and returns other content; where it does not apply, the same. All follow
from the random numbers alone, so that a case can be repeated.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
import random
import re
import struct
from collections.abc import Callable
from typing import Any

Mutation = Callable[[random.Random, bytes], bytes]

_WHOLE = (0, 1, -1, 2, 3, 7, 255, 256, -128, 32767, 32768, 65535, 65536, 2**31 - 1, -(2**31), 2**32, 2**63 - 1, 10**30)
_FLOATS = (0.0, -0.0, 0.5, 1e-3, -1.0, 1e-45, 1e-30, 1e38, -3.5e38, 1e308, math.nan, math.inf, -math.inf)
#: How headers hold their numbers.
_FORMATS = ("b", "<h", ">h", "<i", ">i", "<q", ">q", "<f", ">f", "<d", ">d")
_WORDS = (
    *(b"", b" ", b"0", b"-1", b"1e400", b"nan", b"inf", b"999999999999", b"1.5", b"None", b"True", b"none", b"\0"),
    *(b"\xff\xfe", b"\xc3\x28", b"\r\n", b"\t", b"%", b"%s%s%n", b"../../etc/passwd", b"/dev/zero", b"LIST", b"LOCAL"),
    *(b"gzip", b"raw", b"ascii", b"hex", b"bzip2", b"(1,0,0)", b"<b>", b"\x1b[2J", b"'", b'"', b"9" * 400),
)
_TEXTS = ("", " ", ".", "..", "a/b", "\\", "\0", "x" * 5000, "é", "\ud800", "<b>x</b>", "\x1b[2J", "1", "background")
_FIRST = 400


def any_of(*kinds: Mutation) -> Mutation:
    """One of ``kinds``, and now and then a few in a row."""

    def mutate(chance: random.Random, content: bytes) -> bytes:
        for _ in range(1 if chance.random() < 0.7 else chance.randint(2, 4)):
            content = chance.choice(kinds)(chance, content)
        return content

    return mutate


def cut_short(chance: random.Random, content: bytes) -> bytes:
    """A true beginning of the content."""
    if not content:
        return content
    return content[: chance.choice((len(content) - 1, len(content) // 2, chance.randrange(len(content))))]


def flip(chance: random.Random, content: bytes) -> bytes:
    """One bit."""
    if not content:
        return content
    changed, at = bytearray(content), chance.randrange(len(content))
    changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def number(chance: random.Random, content: bytes) -> bytes:
    """A number of a binary header, at a place where one of its length may begin; most often among the first."""
    form = chance.choice(_FORMATS)
    size = struct.calcsize(form)
    last = (_FIRST if chance.random() < 0.8 else len(content)) // size
    at = size * chance.randrange(max(1, last))
    if at + size > len(content):
        return content
    return content[:at] + _packed(form, chance) + content[at + size :]


def _packed(form: str, chance: random.Random) -> bytes:
    if form[-1] in "fd":
        value = chance.choice(_FLOATS)
        return struct.pack(form, value if form[-1] == "d" or abs(value) < 3e38 else math.copysign(math.inf, value))
    bits = 8 * struct.calcsize(form)
    value = chance.choice(_WHOLE) if chance.random() < 0.7 else chance.getrandbits(bits)
    return struct.pack(form.upper(), value % 2**bits)


def block(chance: random.Random, content: bytes) -> bytes:
    """A run of bytes that is missing, doubled, zero, noise, or elsewhere."""
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice((1, 2, 8, 64, 512)))
    part = content[start:end]
    elsewhere = chance.randrange(len(content) + 1)
    new = chance.choice((b"", part * 2, bytes(len(part)), chance.randbytes(len(part)), content[elsewhere:][:64]))
    return content[:start] + new + content[end:]


def appended(chance: random.Random, content: bytes) -> bytes:
    """Something behind the end."""
    return content + chance.choice((b"\0", b"\n", chance.randbytes(16), content[:300]))


def text(chance: random.Random, content: bytes) -> bytes:
    """A number, a word or a line of the text at the beginning."""
    kind = chance.randrange(3)
    if kind == 2:
        return _line(chance, content)
    pattern = rb"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?" if kind else rb"[A-Za-z_]+"
    found = list(re.finditer(pattern, content[:2000]))
    if not found:
        return content
    match = chance.choice(found)
    if kind and chance.random() < 0.6:
        new = str(chance.choice((*_WHOLE, *_FLOATS))).encode()
    else:
        new = chance.choice((*_WORDS, chance.choice(found)[0]))
    return content[: match.start()] + new + content[match.end() :]


def _line(chance: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    at, other = chance.randrange(len(lines)), chance.randrange(min(len(lines), 40))
    kind = chance.randrange(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[other])
    elif kind == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[other] += chance.choice(_WORDS)
    return b"\n".join(lines)


def as_json(chance: random.Random, content: bytes) -> bytes:
    """A value, a name or an entry of a JSON text."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):  # changed before
        return content
    if chance.random() < 0.03:
        depth = chance.choice((50, 5000, 100_000))
        return b"[" * depth + (b"]" * depth if chance.random() < 0.5 else b"")
    if chance.random() < 0.05:
        encoding = chance.choice(("utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1"))
        return json.dumps(data, ensure_ascii=False).encode(encoding, "replace")
    return json.dumps(changed(chance, data)).encode("utf-8", "surrogatepass")


def changed(chance: random.Random, data: Any) -> Any:
    """A copy of parsed JSON with one change in it."""
    data = copy.deepcopy(data)
    places = [(None, None), *_places(data)]
    holder, key = chance.choice(places)
    if holder is None:
        return _value(chance, data, places)
    kind = chance.randrange(5)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        names = [k for _, k in places if isinstance(k, str)]
        holder[chance.choice((*_TEXTS, *names))] = holder.pop(key)
    elif kind == 1:
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[key] = _value(chance, holder[key], places)
    return data


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Every container in ``data`` with every key in it."""
    found: list[tuple[Any, Any]] = []
    waiting = [data]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, (dict, list)):
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            found += [(holder, key) for key in keys]
            waiting += [holder[key] for key in keys]
    return found


def _value(chance: random.Random, before: Any, places: list[tuple[Any, Any]]) -> Any:
    """Another value: of the same type more often than not."""
    if chance.random() < 0.5 and isinstance(before, (int, float)) and not isinstance(before, bool):
        return chance.choice((*_WHOLE, *_FLOATS, before + 1, before * 2, -before, str(before)))
    if chance.random() < 0.5 and isinstance(before, str):
        return chance.choice((*_TEXTS, before + "x", before.upper(), before[:-1], [before]))
    holder, key = chance.choice(places)
    other = copy.deepcopy(holder[key]) if holder is not None else None
    return chance.choice(
        (None, True, False, [], {}, [[]], {"": None}, [before], {"x": before}, other, *_WHOLE, *_TEXTS)
    )


def inside_gzip(mutation: Mutation) -> Mutation:
    """``mutation`` of what a gzip file holds, packed again."""

    def mutate(chance: random.Random, content: bytes) -> bytes:
        try:
            unpacked = gzip.decompress(content)
        except (OSError, EOFError, ValueError, gzip.zlib.error):  # changed before
            return content
        return gzip.compress(mutation(chance, unpacked), 1, mtime=0)

    return mutate


def inside_safetensors(key: str) -> Mutation:
    """The header of a safetensors file, or the JSON that its metadata hold under ``key``."""

    def mutate(chance: random.Random, content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        try:
            header = json.loads(content[8 : 8 + length])
            inner = json.loads(header["__metadata__"][key])
        except (ValueError, KeyError, TypeError, RecursionError):  # changed before
            return content
        if chance.random() < 0.8:
            new = as_json(chance, json.dumps(inner).encode())
            header["__metadata__"][key] = new.decode("utf-8", "replace")
        else:
            header = changed(chance, header)
        packed = json.dumps(header).encode()
        packed += b" " * (-len(packed) % 8)
        return struct.pack("<Q", len(packed)) + packed + content[8 + length :]

    return mutate


#: Of files whose format says nothing to us.
BINARY = any_of(flip, number, number, number, block, appended, cut_short)
#: Of text headers with voxels behind them, and of plain text.
TEXT = any_of(text, text, text, text, flip, block, appended, cut_short)
JSON = any_of(as_json, as_json, as_json, as_json, as_json, text, flip, block, cut_short)
