"""Reading a checkpoint's card from its header, with the standard library alone (the panel has no torch)."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import os
import struct
from pathlib import Path

from ..errors import InputError
from ..files import check_fetched, near, readable
from ..serialization import from_json
from .card import SCHEMA, Card, check_card
from .starters import PREFIX, starters

SUFFIX = ".safetensors"
#: The card's key in the safetensors metadata.
CARD_KEY = "contrastiveseg"
_MAX_HEADER = 100 * 2**20


def read_card(path: Path) -> Card:
    """The card alone; the weights are not read.

    Raises:
        InputError: not a file, a pickle, truncated, too long, not one of our checkpoints, written by a newer version,
            or with a card that contradicts itself.
    """
    with readable(path):
        header, _ = read_header(path)
    text = header["__metadata__"].get(CARD_KEY)
    if text is None:
        raise InputError(
            f"{path} is a safetensors file but carries no ContrastiveSeg card, so it does not say which network or "
            "preprocessing it belongs to. Use a checkpoint written by contrastiveseg."
        )
    try:
        data = json.loads(text)
    except (TypeError, ValueError, RecursionError) as problem:
        raise InputError(f"{path}: the card cannot be read; the file is damaged or not ours.") from problem
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, int):
        raise InputError(f"{path}: the card has no schema number; the file is damaged or not ours.")
    if schema > SCHEMA:
        raise InputError(
            f"{path} was written by a newer ContrastiveSeg (schema {schema}, this one reads up to {SCHEMA}). Update."
        )
    where = f"{path.name}: card"
    card = from_json(Card, data, where)
    check_card(card, where)
    return card


def check_name(output: Path) -> None:
    """Refuse a checkpoint to write that has not the ending of one.

    Raises:
        InputError: saying so.
    """
    if output.suffix != SUFFIX:
        raise InputError(f"A checkpoint's name ends in {SUFFIX}; {output.name} does not.")


def checkpoint_digest(path: Path) -> str:
    """:func:`digest` of a checkpoint. A file whose :func:`stamp` is as it was is not read again.

    Raises:
        InputError: there is none.
    """
    with readable(path):
        return _digest(os.path.realpath(path), stamp(path))


def stamp(path: Path) -> tuple[int, int]:
    """What changes with a checkpoint's file: when it was written, and its bytes.

    Raises:
        InputError: there is none.
    """
    check_checkpoint(path)
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@functools.lru_cache(maxsize=8)
def _digest(path: str, stamp: tuple[int, int]) -> str:
    return digest(Path(path))


def digest(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            total.update(block)
    return total.hexdigest()


def check_checkpoint(path: Path) -> None:
    """Refuse a checkpoint that is not there.

    Raises:
        InputError: naming what may be meant: a file beside it, or a starter.
    """
    if path.exists() and not path.is_file():
        raise InputError(
            f"There is no checkpoint at {path}: it is no plain file. Give the {SUFFIX} file itself; for a "
            "trained nnU-Net or a MONAI bundle make one first: contrastiveseg import --from LAYOUT ..."
        )
    if not path.is_file():
        raise InputError(f"There is no checkpoint at {path}.{_starter_meant(path) or near(path)}")


def _starter_meant(path: Path) -> str:
    """How the starters are named, where ``path`` is no more than a name like one of theirs; else ""."""
    like_one = difflib.get_close_matches(path.name.removesuffix(SUFFIX), (*starters(), "starter"), 1)
    if path.parent != Path() or not like_one:
        return ""
    return f" Those that ship are named {' and '.join(PREFIX + name for name in starters())}."


def read_header(path: Path) -> tuple[dict, int]:
    """The header of a safetensors file and its length in bytes; the weights follow it.

    Raises:
        InputError: as :func:`read_card`.
    """
    check_checkpoint(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(1024)
        check_fetched(path, start)
        start = start[:8]
        file.seek(len(start))
        # A header's length may begin with the same bytes, but its upper half is always zero.
        if start[4:].strip(b"\0") and (start[:2] == b"PK" or start[:1] == b"\x80"):
            raise InputError(
                f"{path} is a pickled PyTorch file. Such files can run code when opened and are never loaded here. If "
                "it holds tensors alone, make a checkpoint of it first: contrastiveseg import --from LAYOUT ..."
            )
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_MAX_HEADER, max(size - 8, 0)):
            raise InputError(f"{path} is not a checkpoint, or is truncated ({size} bytes). Copy it again.")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as problem:
            raise InputError(f"{path} is not a checkpoint: its header cannot be read.") from problem
    try:
        header.setdefault("__metadata__", {}).get(CARD_KEY)
        end = 8 + length + max((v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"), default=0)
    except (AttributeError, KeyError, IndexError, TypeError) as problem:
        raise InputError(f"{path} is not a checkpoint: its header cannot be read.") from problem
    if size < end:
        raise InputError(f"{path} is truncated: {size} bytes of {end}. Copy it again.")
    if size > end:
        raise InputError(f"{path} is damaged: {size - end} bytes follow that do not belong to it. Copy it again.")
    return header, length
