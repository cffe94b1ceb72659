"""Opening a fine-tuned checkpoint: the network its card names, with the file's weights, ready to predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..errors import InputError
from ..networks.registry import build
from ..networks.segmenter import Segmenter
from .card import Card, check_segments
from .format import load


def open_segmenter(path: Path) -> tuple[Card, Segmenter]:
    """The card and the network of a fine-tuned checkpoint, on the CPU.

    Raises:
        InputError: the checkpoint cannot be read, was only pre-trained, or its weights do not fit its card.
    """
    card, weights = load(path)
    check_segments(card, path)
    return card, build_segmenter(card, weights, path)


def build_segmenter(card: Card, weights: Mapping[str, Tensor], path: Path) -> Segmenter:
    """The network of ``card`` with ``weights``, both read from the fine-tuned checkpoint ``path``.

    Raises:
        InputError: the weights do not fit.
    """
    network = Segmenter(build(card.network), len(card.labels) + 1)
    try:
        network.load_state_dict(weights)
    except RuntimeError as problem:
        raise InputError(f"{path}: the weights do not fit the network its card names. Copy it again.") from problem
    return network
