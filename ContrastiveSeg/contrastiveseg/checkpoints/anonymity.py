"""The cases of a checkpoint without what identifies a patient: running numbers, and hashes to know a case again by.

The hashes are salted, so that they match in no other checkpoint and in no table made beforehand. Who has a case, or
knows its name, can tell that it was learned from; nobody can read a name. The salt follows from the cases' content, so
that the same training gives the same checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence

from .card import TrainingCase

#: Names that are a running number already: they say nothing more, and help who looks for a case.
_RUNNING_NUMBER = re.compile(
    r"(case|patient|pat|subject|subj|sub|scan|volume|vol|image|img)[ _.-]?[0-9]{1,3}", re.IGNORECASE
)


#: The numbers given here, which begin anew in every checkpoint.
_OURS = re.compile(r"case [0-9]+")


def new_salt(digests: Iterable[str]) -> str:
    """32 hexadecimal digits that follow from the content of the cases."""
    return hashlib.sha256(" ".join(sorted(digests)).encode()).hexdigest()[:32]


def salted(salt: str, text: str) -> str:
    """The hash, 32 hexadecimal digits, of a case's name or of its content's SHA-256."""
    return hashlib.sha256(f"{salt} {text}".encode()).hexdigest()[:32]


def hashed(case: TrainingCase, salt: str) -> TrainingCase:
    """``case``, as its name and content are, with hashes of both; its name stays for :func:`numbered`."""
    return dataclasses.replace(case, digest=salted(salt, case.digest), name_hash=salted(salt, case.name))


def numbered(cases: Sequence[TrainingCase], keep_names: bool) -> tuple[TrainingCase, ...]:
    """``cases`` with running numbers in place of names, unless those are to be kept or are running numbers already."""
    return tuple(
        case if _may_stay(case.name, keep_names) else dataclasses.replace(case, name=f"case {number}")
        for number, case in enumerate(cases, start=1)
    )


def _may_stay(name: str, keep_names: bool) -> bool:
    return not _OURS.fullmatch(name) and (keep_names or _RUNNING_NUMBER.fullmatch(name) is not None)
