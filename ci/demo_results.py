"""What the demo's models scored, as tables and in a sentence."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contrastiveseg.evaluation.evaluate import Evaluation, LabelSummary

BEFORE, TUNED, SCRATCH = "before fine-tuning", "fine-tuned", "from scratch"
LEGEND = (
    "Dice (1 is perfect) and 95th percentile of the surface distance (0 is perfect), means over the held-out volumes."
)


@dataclass(frozen=True)
class Model:
    """One column of the table; without a checkpoint it could not segment, and ``why`` says so."""

    title: str
    checkpoint: Path | None = None
    evaluation: Evaluation | None = None
    why: str = ""


def folder_of(title: str) -> str:
    """A model's title as a file name."""
    return title.replace(" ", "-")


def to_markdown(models: Sequence[Model]) -> str:
    """A row a label and a column a model, padded so that it also reads well on a terminal."""
    scored = {m.title: _summaries(m.evaluation) for m in models if m.evaluation}
    rows = [["Label", *(m.title for m in models)]]
    for index, summary in enumerate(scored[TUNED]):
        rows.append([summary.name, *(_cell(scored[m.title][index]) if m.title in scored else "-" for m in models)])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    padded = [[c.ljust(w) for c, w in zip(r, widths, strict=True)] for r in rows]
    padded.insert(1, ["-" * w for w in widths])
    notes = "".join(f"\n{m.title.capitalize()}: {m.why}.\n" for m in models if m.evaluation is None)
    return "\n".join("| " + " | ".join(r) + " |" for r in padded) + "\n" + notes


def _summaries(evaluation: Evaluation) -> tuple[LabelSummary, ...]:
    """Each label's, and that of all where there are several."""
    return (*evaluation.summary, evaluation.overall) if len(evaluation.summary) > 1 else evaluation.summary


def _cell(summary: LabelSummary) -> str:
    """Mean Dice and HD95; says how often a label was not found at all."""
    dice, hd95 = summary.statistics["dice"].mean, summary.statistics["hd95_mm"].mean
    if dice is None:
        return "absent"
    missed = f", missed {summary.n_empty_prediction}x" if summary.n_empty_prediction else ""
    return f"{dice:.3f}, {'no distance' if hd95 is None else f'{hd95:.1f} mm'}{missed}"


def to_csv(models: Sequence[Model]) -> str:
    """One row a model and label; "all labels" last where there are several."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "label", "name", "n", "dice", "hd95_mm", "empty_predictions"])
    for model in models:
        if model.evaluation:
            for s in _summaries(model.evaluation):
                dice, hd95 = s.statistics["dice"], s.statistics["hd95_mm"]
                writer.writerow([model.title, s.label, s.name, dice.n, dice.mean, hd95.mean, s.n_empty_prediction])
    return text.getvalue()


def verdict(models: Sequence[Model]) -> str:
    """Which of the two trained models is better, in a sentence."""
    dice = {m.title: m.evaluation.overall.statistics["dice"].mean or 0.0 for m in models if m.evaluation}
    gain = dice[TUNED] - dice[SCRATCH]
    if abs(gain) < 0.005:
        return f"Starting from the checkpoint made no difference here (Dice {gain:+.3f})."
    better = "better" if gain > 0 else "worse"
    return f"Starting from the checkpoint was {better} than from scratch here: Dice {gain:+.3f} on average."
