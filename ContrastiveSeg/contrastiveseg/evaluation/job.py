"""The evaluate job: folders in, tables out."""

from __future__ import annotations

from pathlib import Path

from .. import events
from ..checkpoints.header import read_card
from ..checkpoints.learned_cases import first_names, learned_cases
from ..descriptions import EvaluateJob
from ..errors import InputError
from ..files import check_outputs, write_text
from ..results import EvaluateResult, Failure
from ..volumes.dataset_json import described_by
from ..volumes.declared_labels import DeclaredLabels, declared_labels
from ..volumes.labeling import Labeling
from ..volumes.named_labels import check_same_numbers
from .evaluate import evaluate
from .references import compared
from .tables import to_csv, to_json, to_lines, to_rows


def run_evaluation(
    job: EvaluateJob, emit: events.Emit = events.silent, cancelled: events.CancelCheck = events.never
) -> EvaluateResult:
    """Run ``job``; returns the paths written, the mean Dice, the rows of the table and what could not be paired.

    Raises:
        InputError: as :func:`.evaluate.evaluate` and :func:`.files.check_outputs`, or the checkpoint cannot be read.
    """
    outputs = [Path(p) for p in (job.output, job.csv) if p]
    files = compared(Path(job.predictions), Path(job.references)).files
    given = (Path(job.predictions), Path(job.references))
    inputs = [*files, *given, *described_by(given), *([Path(job.checkpoint)] if job.checkpoint else [])]
    check_outputs(outputs, inputs, job.overwrite)
    card = read_card(Path(job.checkpoint)) if job.checkpoint else None
    declared = _declared(job.references, emit)
    # nnU-Net writes one beside its predictions.
    predicted = _declared(job.predictions, events.silent)
    learned_names = {label.value: label.name for label in (card.labels if card else ())}
    check_same_numbers(
        files,
        {
            "the references' dataset.json": declared.names,
            "the predictions' dataset.json": predicted.names,
            job.checkpoint or "": learned_names,
        },
    )
    evaluation = evaluate(
        Path(job.predictions),
        Path(job.references),
        emit=emit,
        cancelled=cancelled,
        labeling=Labeling(job.labeled_part, None, declared.ignore, declared.background),
        names=declared.names | learned_names,
    )
    write_text(outputs[0], to_json(evaluation))
    if job.csv:
        write_text(outputs[1], to_csv(evaluation))
    for line in to_lines(evaluation):
        emit(events.log(line))
    if learned := learned_cases(card, [(case.case, None) for case in evaluation.cases]).same_name:
        text = (
            f"The checkpoint has learned from labels of cases named {first_names(learned)}: their scores prove nothing."
        )
        emit(events.warning(text))
    dice = evaluation.overall.statistics["dice"].mean
    failures = [Failure(name, "no prediction") for name in evaluation.missing]
    failures += [Failure(name, why) for name, why in evaluation.refused.items()]
    rows = tuple(to_rows(evaluation))
    return EvaluateResult(job.output, job.csv, dice, len(evaluation.cases), rows, tuple(failures))


def _declared(given: str, emit: events.Emit) -> DeclaredLabels:
    """What a dataset.json beside the label maps ``given`` says of them; nothing where it cannot be read."""
    try:
        return declared_labels([Path(given)])
    except InputError as problem:
        # A name and a special label are all that is of use here.
        emit(events.warning(f"{problem} It is not read."))
        return DeclaredLabels()
