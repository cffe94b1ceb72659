"""The connected-component rule: what was in one piece in every training case is segmented in one piece.

:func:`one_piece_labels` decides from the labeled cases of a fine-tuning, the card's ``one_piece`` keeps the decision,
and :func:`without_islands` applies it to a prediction. Benchmark: Testing/benchmarks/pieces_dice.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import get_args

import numpy as np

from ..data.cached_case import CachedCase
from ..descriptions import Pieces
from ..errors import InputError
from ..volumes.components import keep_largest_component

#: With fewer cases that have a label, nothing is concluded.
_MIN_CASES = 3


def one_piece_labels(cases: Sequence[CachedCase]) -> tuple[int, ...]:
    """The labels that are in one piece in each of the three or more ``cases`` that have them, but for specks.

    Cases of which only a part is labeled say nothing of it.
    """
    cases = [case for case in cases if case.labeled == 1]
    present = Counter(value for case in cases for value in case.values or ())
    one_piece = Counter(value for case in cases for value in case.one_piece)
    return tuple(value for value in sorted(present) if present[value] == one_piece[value] >= _MIN_CASES)


def without_islands(labels: np.ndarray, pieces: Pieces, one_piece: Collection[int]) -> np.ndarray:
    """``labels`` (z, y, x) with only the largest component of the labels ``one_piece``; a copy if any is changed.

    Args:
        pieces: "all" keeps every component, "largest" only the largest of every label, "auto" follows ``one_piece``.

    Raises:
        InputError: ``pieces`` is none of these.
    """
    if pieces not in get_args(Pieces):
        raise InputError(f"pieces is one of {', '.join(get_args(Pieces))}, not {pieces!r}.")
    if pieces == "all" or (pieces == "auto" and not one_piece):
        return labels
    return keep_largest_component(labels, None if pieces == "largest" else one_piece)
