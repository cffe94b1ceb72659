"""Unpacking in large blocks gives and refuses what Python's own reader of gzip does."""

import gzip
import io
import random
import zlib

import pytest

from contrastiveseg.volumes.gunzip import Gunzip

CHANCE = random.Random(0)
#: Some of it packs well, some not at all.
CONTENT = b"".join(CHANCE.randbytes(3000) + bytes(CHANCE.randrange(9000)) for _ in range(150))
PACKED = gzip.compress(CONTENT, 1)


def unpacked(packed, piece=-1):
    file = io.BufferedReader(Gunzip(io.BytesIO(packed)))
    return b"".join(iter(lambda: file.read(piece), b""))


def outcome(read):
    """What is read, or the kind of what it raises."""
    try:
        return read()
    except (EOFError, OSError, zlib.error) as problem:
        return type(problem)


@pytest.mark.parametrize("piece", [1000, 1 << 20, -1])
def test_the_content_comes_whole(piece):
    assert unpacked(PACKED, piece) == CONTENT


def test_parts_follow_each_other_with_padding_between_them():
    assert unpacked(PACKED + bytes(100_000) + gzip.compress(b"second") + bytes(3)) == CONTENT + b"second"
    assert unpacked(gzip.compress(b"") + gzip.compress(bytes(10**7)) + gzip.compress(b"last")) == bytes(10**7) + b"last"


@pytest.mark.parametrize("name", ["cut", "changed", "followed"])
def test_files_are_refused_as_by_the_standard_library(name):
    packed = gzip.compress(CHANCE.randbytes(50) + bytes(2000) + CHANCE.randbytes(50), 6)
    for place in range(len(packed)):
        file = {
            "cut": packed[:place],
            "changed": packed[:place] + bytes([packed[place] ^ 0x15]) + packed[place + 1 :],
            "followed": packed + b"\x1f" * (place % 3) + b"X" * place,
        }[name]
        theirs, ours = outcome(lambda f=file: gzip.decompress(f)), outcome(lambda f=file: unpacked(f))
        # An empty file holds nothing to theirs, and BadGzipFile is zlib.error to zlib.
        assert ours == theirs or (isinstance(theirs, type) and isinstance(ours, type)) or not file


def test_it_is_read_in_few_pieces():
    """Threads that read side by side wait for each other between them."""
    reads = []

    class Counted(io.BytesIO):
        def read(self, size=-1):
            reads.append(size)
            return super().read(size)

    into = bytearray(len(CONTENT))
    assert io.BufferedReader(Gunzip(Counted(PACKED))).readinto(into) == len(CONTENT)
    assert bytes(into) == CONTENT
    assert len(reads) <= len(PACKED) / 2**16 + 2
