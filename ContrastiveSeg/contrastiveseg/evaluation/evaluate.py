"""Scoring a folder of predictions against a folder of references, and summing up."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, stdev

import numpy as np

from .. import files
from ..errors import Cancelled, InputError, together
from ..events import CancelCheck, Emit, ProgressMeter, Stage, StageStarted, log, never, silent, warning
from ..volumes.labeling import Labeling
from ..volumes.named_labels import check_same_numbers
from ..volumes.pairing import matching_case
from ..volumes.plausible_labels import check_no_image
from ..volumes.reading import read_labels
from ..volumes.segments import segments_of
from ..volumes.volume import Geometry, LabelMap
from .metrics import METRICS, LabelScores, measure
from .references import Compared, Reference, compared

#: So many values are listed in a warning.
_LISTED = 10


@dataclass(frozen=True)
class EvaluatedCase:
    """One case: a score for every label, and label values in the files that were not declared.

    ``labeled`` is the share of the reference's voxels that have a label; the scores are on those.
    """

    case: str
    scores: tuple[LabelScores, ...]
    undeclared_in_prediction: tuple[int, ...] = ()
    undeclared_in_reference: tuple[int, ...] = ()
    labeled: float = 1.0


@dataclass(frozen=True)
class Statistic:
    """Over the ``n`` cases where a metric is defined; all None when there is none. ``sd`` (n - 1) needs two cases."""

    n: int
    mean: float | None
    sd: float | None
    median: float | None


@dataclass(frozen=True)
class LabelSummary:
    """One label over all cases scored.

    Attributes:
        statistics: field of :data:`.metrics.METRICS` -> statistic.
        n_empty_prediction: cases where the prediction lacks a label the reference has: Dice 0, no distances.
        n_empty_reference: the other way round.
        n_absent: cases where neither has it; they count in nothing else.
    """

    label: int | None
    name: str
    statistics: Mapping[str, Statistic]
    n_empty_prediction: int
    n_empty_reference: int
    n_absent: int


@dataclass(frozen=True)
class Evaluation:
    """Scores of all cases, a summary a label, and what could not be paired.

    Attributes:
        overall: mean over the labels first, within each case; then over cases. The counts are sums over labels.
        missing: references without a prediction. They are in no mean: a summary with any is not of all references.
        unreferenced: predictions without a reference.
        refused: case -> why its files could not be compared. They are in no mean either.
    """

    labels: Mapping[int, str]
    cases: tuple[EvaluatedCase, ...]
    summary: tuple[LabelSummary, ...]
    overall: LabelSummary
    missing: tuple[str, ...] = ()
    unreferenced: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def evaluate(
    predictions: Path,
    references: Path,
    labels: Mapping[int, str] | None = None,
    emit: Emit = silent,
    cancelled: CancelCheck = never,
    labeling: Labeling = Labeling(),  # noqa: B008
    names: Mapping[int, str] | None = None,
) -> Evaluation:
    """Score ``predictions`` against ``references``: two files, or a folder and what :func:`.references.references_in`
    takes, paired by case name.

    ``_seg``, ``_label`` and the like may follow a case's name on either side. What an entry of a list says of its case
    comes before ``labeling``; a structure that was not looked for in it has no score there.

    Args:
        labels: value -> name of what to score; by default every value that occurs in a reference.
        labeling: what of their volumes the references label.
        names: value -> name of the values that occur; those of segments in the references' files come before them.

    Raises:
        InputError: nothing to pair, a reference that cannot be read as labels, or not one pair that can be compared;
            or files that give segments of one name different values.
        Cancelled: ``cancelled`` said so between two cases.
    """
    given = compared(predictions, references)
    pairs = given.pairs
    _tell_pairs(given, emit)
    emit(StageStarted(Stage.PLAN))
    check_same_numbers(given.files)
    if labels is None:
        references_by_case = {case: reference for case, (_, reference) in pairs.items()}
        labels = _labels_in(references_by_case, labeling, names or {}, emit, cancelled)
    emit(StageStarted(Stage.EVALUATE))
    progress = ProgressMeter(emit, len(pairs), "cases")
    cases: list[EvaluatedCase] = []
    refused: dict[str, str] = {}
    for done, (case, (prediction, reference)) in enumerate(pairs.items()):
        _stop_if(cancelled)
        progress(done)
        try:
            scores = _evaluate_case(case, prediction, reference, labels, labeling, emit)
        except InputError as problem:
            if len(pairs) == 1:
                raise
            refused[case] = files.without_folders(str(problem), (prediction, reference.file))
            emit(warning(f"{case}: {problem}"))
            continue
        _tell_unscored(scores, emit)
        cases.append(scores)
    progress(len(pairs))
    if not cases:
        raise InputError(f"None of the {len(pairs)} cases could be compared. {next(iter(refused.values()))}")
    return Evaluation(
        labels=dict(labels),
        cases=tuple(cases),
        summary=tuple(_summarize(value, name, cases) for value, name in labels.items()),
        overall=_overall(cases),
        missing=given.missing,
        unreferenced=given.unreferenced,
        refused=refused,
    )


def _tell_pairs(given: Compared, emit: Emit) -> None:
    """Warn of references without a prediction, and of a case whose two files are one."""
    for case in given.missing:
        if (other := matching_case(case, given.pairs)) is not None:
            emit(
                warning(
                    f"{case} is not compared: {other} is taken for the reference of this case. If that is its image, "
                    "give a folder of label maps alone."
                )
            )
        else:
            emit(warning(f"{case}: no prediction for this reference; it is in no mean."))
    for case, pair in given.pairs.items():
        if os.path.realpath(pair[0]) == os.path.realpath(pair[1].file):
            emit(warning(f"{case}: prediction and reference are the same file, so its scores say nothing."))
            return


def _tell_unscored(scores: EvaluatedCase, emit: Emit) -> None:
    """Tell of what is in the files of a case, and in none of its scores."""
    for side, values in (
        ("prediction", scores.undeclared_in_prediction),
        ("reference", scores.undeclared_in_reference),
    ):
        if values:
            listed = ", ".join(map(str, values[:_LISTED])) + (", ..." if len(values) > _LISTED else "")
            emit(warning(f"{scores.case}: the {side} holds {listed}, which is not among the labels."))
    if scores.labeled < 1:
        share = f"{scores.labeled:.1%}"
        emit(log(f"{scores.case}: scored on the {share} of its voxels that are labeled, without distances."))


def _labels_in(
    references: Mapping[str, Reference],
    labeling: Labeling,
    names: Mapping[int, str],
    emit: Emit,
    cancelled: CancelCheck,
) -> dict[int, str]:
    """The values in ``references``, by case, with their names; without names, two that share none are warned of."""
    held: dict[str, list[int]] = {}
    named = dict(names)
    refused: list[InputError] = []
    for case, reference in references.items():
        _stop_if(cancelled)
        try:
            held[case] = _values(reference.labeled(labeling).apply(_read(reference.file)).array)
            named |= {segment.value: segment.name for segment in segments_of(reference.file)}
        except InputError as problem:
            refused.append(problem)
    if refused:
        raise together(refused)
    labeled = [(case, own) for case, own in held.items() if own]
    if not labeled:
        raise InputError(
            "The references hold no label at all, only background. Give the label maps that people made, and their "
            "predictions as the other folder."
        )
    (first, common), *others = labeled
    apart = next((other for other in others if not {*common} & {*other[1]}), None)
    if apart and not {*common, *apart[1]} <= {*named}:
        here, there = (", ".join(map(str, own[:_LISTED])) for own in (common, apart[1]))
        emit(
            warning(
                f"The references hold different numbers: {here} in {first}, {there} in {apart[0]}. Each is scored as "
                "another structure. If they are one, give it the same number in all label maps."
            )
        )
    return {
        value: named.get(value, f"label {value}") for value in sorted({value for _, own in labeled for value in own})
    }


def _evaluate_case(
    case: str, prediction: Path, reference: Reference, labels: Mapping[int, str], labeling: Labeling, emit: Emit
) -> EvaluatedCase:
    truth, predicted = _read(reference.file), _read(prediction)
    if truth.geometry.doubt != predicted.geometry.doubt:
        for side, geometry in (("prediction", predicted.geometry), ("reference", truth.geometry)):
            if geometry.doubt:
                emit(warning(f"{case}: of the {side}: {geometry.doubt}."))
    if truth.geometry.size != predicted.geometry.size:  # Slicer may have cropped one to its segments
        if segments_of(reference.file):
            truth = _read(reference.file, predicted.geometry)
        elif segments_of(prediction):
            predicted = _read(prediction, truth.geometry)
    truth = reference.labeled(labeling).apply(truth)
    return EvaluatedCase(
        case=case,
        scores=tuple(measure(predicted, truth, reference.looked_for(labels))),
        undeclared_in_prediction=tuple(v for v in _values(predicted.array) if v not in labels),
        undeclared_in_reference=tuple(v for v in _values(truth.array) if v not in labels),
        labeled=float((truth.array >= 0).mean()),
    )


def _read(path: Path, grid: Geometry | None = None) -> LabelMap:
    label_map = read_labels(path, grid)
    check_no_image(path, label_map.array)
    return label_map


def _values(array: np.ndarray) -> list[int]:
    """The labels in ``array`` without background, and without what has no label."""
    return [int(v) for v in np.flatnonzero(np.bincount(np.maximum(array, 0).ravel())) if v]


def _stop_if(cancelled: CancelCheck) -> None:
    if cancelled():
        raise Cancelled("Evaluation was cancelled.")


def _summarize(value: int, name: str, cases: Sequence[EvaluatedCase]) -> LabelSummary:
    scores = [s for case in cases for s in case.scores if s.label == value]
    statistics = {metric: _statistic([getattr(s, metric) for s in scores]) for metric in METRICS}
    return _summary(value, name, statistics, scores)


def _overall(cases: Sequence[EvaluatedCase]) -> LabelSummary:
    scores = [s for case in cases for s in case.scores]
    statistics = {
        metric: _statistic([_statistic([getattr(s, metric) for s in case.scores]).mean for case in cases])
        for metric in METRICS
    }
    return _summary(None, "all labels", statistics, scores)


def _summary(
    label: int | None, name: str, statistics: Mapping[str, Statistic], scores: Sequence[LabelScores]
) -> LabelSummary:
    return LabelSummary(
        label=label,
        name=name,
        statistics=statistics,
        n_empty_prediction=sum(s.status == "empty prediction" for s in scores),
        n_empty_reference=sum(s.status == "empty reference" for s in scores),
        n_absent=sum(s.status == "absent" for s in scores),
    )


def _statistic(values: Sequence[float | None]) -> Statistic:
    defined = [v for v in values if v is not None and math.isfinite(v)]
    if not defined:
        return Statistic(0, None, None, None)
    spread = stdev(defined) if len(defined) > 1 else None
    return Statistic(len(defined), fmean(defined), spread, median(defined))
