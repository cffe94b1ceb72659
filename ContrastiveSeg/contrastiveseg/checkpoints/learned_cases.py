"""Which of some cases a checkpoint has learned the labels of: scores on them say nothing about new cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..volumes.pairing import matching_case
from .card import Card


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

    A name may end like a label file's (:func:`.volumes.pairing.matching_case`). Without a card there are none.
    """
    learned = card.provenance.labeled_cases if card else ()
    digests, names = {case.digest for case in learned}, {case.name for case in learned}
    same_files, same_name = [], []
    for name, digest in cases:
        if digest in digests:
            same_files.append(name)
        elif matching_case(name, names):
            same_name.append(name)
    return LearnedCases(tuple(same_files), tuple(same_name))


def first_names(names: Sequence[str], most: int = 5) -> str:
    """Up to ``most`` of ``names`` for a message."""
    return f"{', '.join(names[:most])}{', ...' if len(names) > most else ''}"
