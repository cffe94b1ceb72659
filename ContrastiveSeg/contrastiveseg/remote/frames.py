"""What goes over the connection: lines of JSON, and files, each as a line with its length and then its content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import IO, Any

from ..errors import InputError

_BLOCK = 2**20
#: A line longer than this is no line of ours.
_LONGEST = 64 * _BLOCK


class BrokenConnection(Exception):
    """The other side is gone, or says what is no message."""


def put(stream: IO[bytes], message: Any) -> None:
    """Write a line of JSON."""
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def take(stream: IO[bytes]) -> dict[str, Any]:
    """The next line.

    Raises:
        BrokenConnection: there is none, or none of ours.
    """
    line = stream.readline(_LONGEST)
    try:
        message = json.loads(line)
    except ValueError as problem:
        raise BrokenConnection(line.decode(errors="replace").strip()[:200]) from problem
    if not isinstance(message, dict) or not line.endswith(b"\n"):
        raise BrokenConnection("a message of another kind")
    return message


def put_file(stream: IO[bytes], path: Path, **header: Any) -> None:
    """Write the file at ``path``, announced by its length and ``header``.

    Raises:
        InputError: it becomes shorter meanwhile.
    """
    size = path.stat().st_size
    put(stream, {**header, "bytes": size})
    with path.open("rb") as file:
        left = size
        while left and (block := file.read(min(left, _BLOCK))):
            stream.write(block)
            left -= len(block)
    if left:
        raise InputError(f"{path} has become shorter while it was sent. Let nothing write to it meanwhile.")
    stream.flush()


def take_file(stream: IO[bytes], size: int, path: Path) -> str:
    """Read a file of ``size`` bytes to ``path``; returns its SHA-256.

    Raises:
        BrokenConnection: it ends early.
    """
    total = hashlib.sha256()
    with path.open("wb") as file:
        while size > 0:
            block = stream.read(min(size, _BLOCK))
            if not block:
                raise BrokenConnection("a file was cut short")
            file.write(block)
            total.update(block)
            size -= len(block)
    return total.hexdigest()
