"""An evaluation as JSON (everything), CSV (one row a case and label), and its summary as Markdown or for a terminal."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

from .. import serialization
from ..checkpoints.learned_cases import first_names
from ..files import write_text
from ..printable import inert, shortened
from ..results import ScoreRow
from .evaluate import Evaluation, LabelSummary, Statistic
from .metrics import METRICS, LabelScores

#: Metrics that a terminal shows, and their decimals.
_SHOWN = {"dice": 3, "hd95_mm": 1, "assd_mm": 1, "volume_error_ml": 1}


def to_json(evaluation: Evaluation) -> str:
    """All scores and the summary; an undefined value is null."""
    return json.dumps(serialization.to_json(evaluation), indent=2, allow_nan=False) + "\n"


def to_csv(evaluation: Evaluation) -> str:
    """One row a case and label, the columns named as the fields of :class:`LabelScores`; undefined is empty."""
    columns = [f.name for f in dataclasses.fields(LabelScores)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", *columns])
    for case in evaluation.cases:
        for scores in case.scores:
            values = dataclasses.replace(scores, name=inert(scores.name))
            writer.writerow([inert(case.case), *(getattr(values, c) for c in columns)])
    for name in evaluation.missing:
        writer.writerow([inert(name), "", "", "missing prediction", *("" for _ in columns[3:])])
    for name in evaluation.refused:
        writer.writerow([inert(name), "", "", "could not be compared", *("" for _ in columns[3:])])
    return text.getvalue()


def to_rows(evaluation: Evaluation) -> list[ScoreRow]:
    """One row a case and label."""
    return [
        ScoreRow(
            case.case,
            scores.label,
            scores.name,
            scores.status,
            scores.dice,
            scores.hd95_mm,
            scores.assd_mm,
            volume_ml=scores.prediction_ml,
            reference_ml=scores.reference_ml,
        )
        for case in evaluation.cases
        for scores in case.scores
    ]


def to_markdown(evaluation: Evaluation) -> str:
    """Mean ± standard deviation (median) a label, with what the means leave out written below."""
    lines = [
        "| Label | n | " + " | ".join(METRICS.values()) + " | Empty |",
        "| --- | ---: | " + " | ".join("---:" for _ in METRICS) + " | ---: |",
    ]
    lines += [_row(s) for s in evaluation.summary]
    if len(evaluation.summary) > 1:
        lines.append(_row(evaluation.overall))
    lines += ["", "Mean ± standard deviation over cases (median in brackets). Distances are means over the cases where"]
    lines += ['both sides have the label; "Empty" counts cases where the prediction lacks it (Dice 0, no distance).']
    if evaluation.missing:
        count = len(evaluation.missing)
        said = "1 reference has" if count == 1 else f"{count} references have"
        lines += ["", f"**{said} no prediction** and no place in the means: {', '.join(evaluation.missing)}."]
    if evaluation.refused:
        lines += ["", f"**Not compared** and in no mean: {', '.join(evaluation.refused)}."]
    if evaluation.unreferenced:
        lines += ["", f"Predictions without a reference: {', '.join(evaluation.unreferenced)}."]
    undeclared = [c.case for c in evaluation.cases if c.undeclared_in_prediction or c.undeclared_in_reference]
    if undeclared:
        lines += ["", f"Label values that were not scored occur in: {', '.join(undeclared)}."]
    return "\n".join(lines) + "\n"


def to_lines(evaluation: Evaluation) -> list[str]:
    """The summary for a terminal, a line each, narrow enough not to wrap; the files hold the other metrics."""
    rows = [("Structure", "n", *(METRICS[metric] for metric in _SHOWN), "Missed")]
    overall = [evaluation.overall] if len(evaluation.summary) > 1 else []
    for summary in (*evaluation.summary, *overall):
        cells = [_short_cell(summary.statistics[metric], digits) for metric, digits in _SHOWN.items()]
        n = str(summary.statistics["dice"].n)
        rows.append((shortened(summary.name), n, *cells, str(summary.n_empty_prediction)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    lines.append(
        "Mean ± standard deviation over the n cases; distances only over those where both sides have the structure."
    )
    if evaluation.overall.n_empty_prediction:
        lines.append("Missed: cases in which the prediction has nothing of the structure (Dice 0, no distance).")
    if invented := evaluation.overall.n_empty_reference:
        times = "once" if invented == 1 else f"{invented} times"
        lines.append(f"A structure was found {times} where the reference has nothing of it (Dice 0, no distance).")
    if others := evaluation.unreferenced:
        count = "1 prediction has" if len(others) == 1 else f"{len(others)} predictions have"
        lines.append(f"{count} no reference: {first_names(others)}.")
    return lines


def write_tables(evaluation: Evaluation, folder: Path) -> tuple[Path, Path, Path]:
    """Write ``evaluation.json``, ``evaluation.csv`` and ``evaluation.md`` into ``folder``.

    Raises:
        InputError: the folder cannot be written.
    """
    texts = {"json": to_json, "csv": to_csv, "md": to_markdown}
    paths = []
    for ending, text in texts.items():
        paths.append(folder / f"evaluation.{ending}")
        write_text(paths[-1], text(evaluation))
    return paths[0], paths[1], paths[2]


def _row(summary: LabelSummary) -> str:
    cells = [_cell(summary.statistics[metric], 4 if metric in ("dice", "jaccard") else 2) for metric in METRICS]
    n = summary.statistics["dice"].n
    return f"| {summary.name} | {n} | " + " | ".join(cells) + f" | {summary.n_empty_prediction} |"


def _cell(statistic: Statistic, digits: int) -> str:
    if statistic.mean is None or statistic.median is None:
        return "-"
    spread = "" if statistic.sd is None else f" ± {statistic.sd:.{digits}f}"
    return f"{statistic.mean:.{digits}f}{spread} ({statistic.median:.{digits}f})"


def _short_cell(statistic: Statistic, digits: int) -> str:
    if statistic.mean is None:
        return "-"
    return f"{statistic.mean:.{digits}f}" + ("" if statistic.sd is None else f" ± {statistic.sd:.{digits}f}")
