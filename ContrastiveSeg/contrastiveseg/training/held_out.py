"""What a fine-tuning is worth: scores on held-out cases, the baseline, and leave-one-out."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .. import events
from ..checkpoints.open import build_segmenter
from ..errors import Cancelled, InputError
from ..results import HeldOutCase, LeaveOneOut
from .scoring import score_cases
from .segmenter_training import SegmenterTraining, TrainedSegmenter

_SELECTED = (
    "The weights kept are those that did best on the held-out cases, so these scores are a little too good. "
    "--validation leave-one-out selects none."
)


class HeldOutEvaluation(NamedTuple):
    """Fields of :class:`.results.FinetuneResult`: scores of the new checkpoint and of the one it started from."""

    held_out: tuple[HeldOutCase, ...]
    before: tuple[HeldOutCase, ...] | None


def evaluate_held_out(
    training: SegmenterTraining,
    held: Sequence[int],
    outcome: TrainedSegmenter,
    leave_one_out_result: LeaveOneOut | None,
) -> HeldOutEvaluation:
    """Score ``outcome`` on the ``held`` cases, log it, and note it in the checkpoint, with what is familiar to it."""
    scores = training.score(held, outcome)
    for case in scores:
        training.run.emit(events.log(_scores_text(case)))
    if scores and outcome.trained.kept == "best":
        training.run.emit(events.log(_SELECTED))
    scores_noted = {"held_out_dice": mean_dice(scores)} if scores else {}
    if leave_one_out_result:
        scores_noted["leave_one_out_dice"] = leave_one_out_result.dice
    training.save(held, outcome.trained, scores_noted, training.familiarity(held, outcome))
    baseline = baseline_scores(training, held)
    if baseline:
        training.run.emit(
            events.log(f"Held-out Dice {mean_dice(baseline):.3f} before and {mean_dice(scores):.3f} after.")
        )
    return HeldOutEvaluation(tuple(scores), tuple(baseline) if baseline is not None else None)


def baseline_scores(training: SegmenterTraining, held: Sequence[int]) -> list[HeldOutCase] | None:
    """The scores of the checkpoint that training starts from; None if it lacks a label of the task, by name."""
    base, names = training.start.card, {label.name: label.value for label in training.task.labels}
    if not held or not base or not training.start.weights or not names.keys() <= {x.name for x in base.labels}:
        return None
    training.run.emit(events.StageStarted(events.Stage.SCORE_CHECKPOINT))
    # Its other labels count as background, as they are in these label maps.
    labels = tuple(dataclasses.replace(label, value=names.get(label.name, 0)) for label in base.labels)
    one_piece = tuple(names[x.name] for x in base.labels if x.value in base.one_piece and x.name in names)
    network = build_segmenter(base, training.start.weights, Path(training.job.checkpoint or ""))
    files = [training.task.files[i] for i in held]
    return score_cases(network, dataclasses.replace(base, labels=labels, one_piece=one_piece), files, training.run)


def leave_one_out(training: SegmenterTraining) -> LeaveOneOut:
    """Train once without each case and score it there; no weights are selected by its score.

    Raises:
        InputError: there is only one labeled case.
        Cancelled: stopped.
    """
    files = training.task.files
    if len(files) < 2:
        raise InputError("Leave-one-out needs at least 2 labeled cases. Label another, or use --validation none.")
    repeated = training.without_output()
    scores: list[HeldOutCase] = []
    for left_out, case in enumerate(files):
        training.run.emit(events.StageStarted(events.Stage.LEAVE_OUT, case.name))
        outcome = repeated.train([left_out], select=False)
        if outcome.trained.cancelled:
            raise Cancelled("Stopped during leave-one-out; nothing was written.")
        scores += repeated.score([left_out], outcome)
    return LeaveOneOut(mean_dice(scores), tuple(scores))


def mean_dice(scores: Sequence[HeldOutCase]) -> float:
    """Over the cases where it is defined; 0 if there is none."""
    return statistics.fmean([s.dice for s in scores if s.dice is not None] or [0.0])


def _scores_text(case: HeldOutCase) -> str:
    by_label = ", ".join(f"{name} {dice:.3f}" for name, dice in case.labels.items())
    if case.dice is None:
        return f"Held out {case.name}: nothing to find, and nothing found."
    where = "" if case.labeled == 1 else f" on the {case.labeled:.1%} of its voxels that are labeled"
    return f"Held out {case.name}: Dice {case.dice:.3f}{where}" + (f" ({by_label})." if by_label else ".")
