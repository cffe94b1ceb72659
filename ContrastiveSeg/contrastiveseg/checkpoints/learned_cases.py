"""Which of some cases a checkpoint has learned the labels of: scores on them say nothing about new cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..volumes.pairing import matching_case
from .anonymity import salted
from .card import Card, TrainingCase


@dataclass(frozen=True)
class LearnedCases:
    """Names of cases whose labels were used in training.

    Attributes:
        same_files: the image files are those of the training.
        same_name: a training case has that name; the files differ or were not compared.
    """

    same_files: tuple[str, ...]
    same_name: tuple[str, ...]


def learned_cases(card: Card | None, cases: Iterable[tuple[str, str | None]]) -> LearnedCases:
    """Those of ``cases``, each (name, SHA-256 of its image files or None), that ``card`` lists with a used label.

    They are known by their hashes, or in a card of the first versions by name. A name may end like a label file's
    (:func:`.volumes.pairing.matching_case`). Without a card there are none.
    """
    learned = card.provenance.labeled_cases if card else ()
    salt = card.provenance.salt if card else ""
    digests, names = {case.digest for case in learned}, _Names(learned, salt)
    same_files, same_name = [], []
    for name, digest in cases:
        if digest and (salted(salt, digest) if salt else digest) in digests:
            same_files.append(name)
        elif matching_case(name, names):
            same_name.append(name)
    return LearnedCases(tuple(same_files), tuple(same_name))


def learned_from_others(card: Card, names: Iterable[str]) -> tuple[str, ...]:
    """What ``card`` calls the cases whose labels it has learned and that are none of ``names``.

    In a card of the first versions upper and lower case are the same.
    """
    salt = card.provenance.salt
    there = {salted(salt, name) if salt else name.casefold() for name in names}
    return tuple(
        case.name
        for case in card.provenance.labeled_cases
        if (case.name_hash if salt else case.name.casefold()) not in there
    )


class _Names:
    """The names of cases that may be stored as hashes."""

    def __init__(self, cases: Sequence[TrainingCase], salt: str) -> None:
        self.salt, self.known = salt, {case.name_hash if salt else case.name for case in cases}

    def __contains__(self, name: object) -> bool:
        return (salted(self.salt, str(name)) if self.salt else name) in self.known


def first_names(names: Sequence[str], most: int = 5) -> str:
    """Up to ``most`` of ``names`` for a message, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
