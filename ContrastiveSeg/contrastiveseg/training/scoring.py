"""Scores on held-out cases: quick ones during training, full ones on the cases' own grids at its end."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .. import events
from ..checkpoints.card import Card
from ..data.cached_volumes import CachedVolumes
from ..errors import Cancelled
from ..evaluation.metrics import measure
from ..methods.method import SegmentationMethod
from ..networks.segmenter import Segmenter
from ..results import HeldOutCase
from ..segmentation.predictor import Predictor
from ..segmentation.sliding_window import OnTile
from ..segmentation.strongest import classes_of
from ..volumes.dataset import CaseFiles
from ..volumes.named_labels import read_case_labels
from ..volumes.reading import read_channels
from .run import Run


def working_dice(
    method: SegmentationMethod, card: Card, state: Mapping[str, Tensor], source: CachedVolumes, run: Run
) -> float:
    """Mean Dice of the weights ``state`` over cases and labels of ``source``; ``method`` gets its own weights back.

    Only voxels with a label count, and of each case only the structures that were looked for.

    Raises:
        Cancelled: ``run`` was.
    """
    own = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    method.load_state_dict(state)
    predictor, tell = Predictor(card, method.segmenter, run.device, run.dtype), _telling(run)
    scores = []
    try:
        for case in range(len(source)):
            shape = source.shape(case)
            image = torch.from_numpy(source.crop(case, (0, 0, 0), shape))
            predicted = classes_of(predictor.logits(image, on_tile=stopping(run), tell=tell)).cpu().numpy()
            truth, missing = source.label_crop(case, (0, 0, 0), shape), source.missing(case)
            if missing is not None:
                predicted[missing[predicted]] = 0
            labeled = truth >= 0
            scores += dice_by_class(predicted[labeled], truth[labeled], len(card.labels) + 1)
    finally:
        method.load_state_dict(own)
    return statistics.fmean(scores) if scores else 0.0


def dice_by_class(predicted: np.ndarray, truth: np.ndarray, classes: int) -> list[float]:
    """Dice of each foreground class that occurs in ``predicted`` or ``truth``."""
    both = np.bincount(truth[predicted == truth], minlength=classes)[1:]
    total = (np.bincount(predicted.reshape(-1), minlength=classes) + np.bincount(truth.reshape(-1), minlength=classes))[
        1:
    ]
    return [float(2 * b / t) for b, t in zip(both, total, strict=True) if t]


def score_cases(network: Segmenter, card: Card, files: Sequence[CaseFiles], run: Run) -> list[HeldOutCase]:
    """Segment ``files`` as a user would and measure them against their labels, on what is labeled.

    Raises:
        Cancelled: ``run`` was.
    """
    predictor, tell = Predictor(card, network, run.device, run.dtype), _telling(run)
    names = {label.value: label.name for label in card.labels if label.value}
    progress = events.ProgressMeter(run.emit, len(files), "cases")
    scores = []
    for done, case in enumerate(files):
        volume = read_channels(case.images, len(card.plan.channels))
        predicted = predictor.predict(volume, on_tile=stopping(run), tell=tell).labels
        truth = read_case_labels(case, volume.geometry)
        looked_for = case.labeling.structures
        measured = measure(
            predicted, truth, {v: n for v, n in names.items() if looked_for is None or str(v) in looked_for}
        )
        dice = {m.name: m.dice for m in measured if m.dice is not None}
        distances = [m.hd95_mm for m in measured if m.status != "absent"]
        worst = None if None in distances or not distances else max(d for d in distances if d is not None)
        mean, labeled = statistics.fmean(dice.values()) if dice else None, float((truth.array >= 0).mean())
        scores.append(HeldOutCase(case.name, mean, dice, worst, labeled))
        progress(done + 1)
    return scores


def stopping(run: Run) -> OnTile:
    """A callback that ends a cancelled run between two tiles."""

    def on_tile(tile: int, tiles: int) -> None:
        if run.cancelled():
            raise Cancelled("Stopped while scoring.")

    return on_tile


def _telling(run: Run) -> Callable[[str], None]:
    """Warns of the same thing once, however many cases it is said of."""
    return functools.cache(lambda text: run.emit(events.warning(text)))
