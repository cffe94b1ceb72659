"""What the labeled cases of a training look like to the network in the end, for its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .. import events
from ..checkpoints.card import Card
from ..checkpoints.familiarity import Familiarity
from ..data.cached_volumes import CachedVolumes
from ..errors import InputError
from ..networks.segmenter import Segmenter
from ..segmentation.predictor import Predictor
from .run import Run
from .scoring import stopping

#: Tiles of a case that are looked at, and the fewest cases, if there are as many.
_TILES, _FEWEST = 8, 4
#: Steps of the training for each tile: a step is three passes or more over two crops, so this is some 4 % of its time.
_STEPS_A_TILE = 4
#: By how much cases of one kind differ in a channel, about (Testing/benchmarks/distance.py).
_USUAL = 0.015
#: With fewer cases than this it takes more to be far: how much they differ is hardly known.
_FEW, _WIDER = 4, 1.25


def familiarity_of(network: Segmenter, card: Card, source: CachedVolumes, steps: int, run: Run) -> Familiarity | None:
    """That of the labeled cases of ``source``, after a training of so many ``steps``; None where it cannot be told.

    Of many cases some are looked at, evenly spread over the list, so that it takes little beside the training.

    Raises:
        Cancelled: ``run`` was.
    """
    labeled = source.labeled
    count = min(len(labeled), max(_FEWEST, steps // (_STEPS_A_TILE * _TILES)))
    cases = [labeled[int((n + 0.5) * len(labeled) / count)] for n in range(count)]
    predictor = Predictor(card, network, run.device, run.dtype)
    progress = events.ProgressMeter(run.emit, count, "cases")
    seen = []
    try:
        for done, case in enumerate(cases, start=1):
            image = torch.from_numpy(source.crop(case, (0, 0, 0), source.shape(case)))
            seen.append(predictor.features(image, _TILES, stopping(run)))
            progress(done)
    except InputError as problem:  # the checkpoint is finished without it
        run.emit(events.warning(f"{problem} So the checkpoint cannot tell volumes unlike its training's."))
        return None
    return summarized(seen) if all(seen) else None


def summarized(cases: Sequence[Sequence[Sequence[float]]]) -> Familiarity:
    """The familiarity of ``cases``, each with the features (2C,) of its levels.

    How much the cases differ counts together with one case of the usual deviation, so that one case alone will do.
    """
    count, center, spread = len(cases), [], []
    for level in zip(*cases, strict=True):
        features = np.array(level)
        middle = features.mean(0)
        squares = np.mean((features - middle) ** 2, 1).sum() + _USUAL**2
        # A further case differs from their mean by its own deviation and by that of the mean.
        expected = np.sqrt(squares / count * (1 + 1 / count)) * (_WIDER if count < _FEW else 1)
        center.append(tuple(round(float(value), 4) for value in middle))
        spread.append(float(f"{expected:.4g}"))
    return Familiarity(count, tuple(center), tuple(spread))
