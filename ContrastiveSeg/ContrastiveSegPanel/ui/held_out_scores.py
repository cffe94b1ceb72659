"""What a fine-tuning was worth, as a small table: held-out scores before and after, and from scratch if asked."""

from __future__ import annotations

import html
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

Scores = Sequence[Mapping[str, Any]]


def outcome_html(result: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The result of a ``FinetuneJob`` as rich text; "" when nothing was held out.

    Args:
        names: name of a case in the result -> how the user knows it.
    """
    after: Scores = result.get("held_out") or ()
    if not after:
        return ""
    columns: list[tuple[str, Scores]] = []
    if result.get("before"):
        columns.append((_("Before"), result["before"]))
    columns.append((_("After"), after))
    comparison = result.get("comparison")
    if comparison:
        columns.append((_("From scratch"), comparison["scratch"]))
    title = _("Dice (HD95 in mm) on the volumes held out")
    head = "".join(f"<th align='right'>&nbsp;&nbsp;{html.escape(name)}</th>" for name, scores in columns)
    rows = [f"<tr><th align='left'>{_('Volume')}</th>{head}</tr>"]
    for case in after:
        cells = "".join(_cell(_of_case(scores, case["name"])) for name, scores in columns)
        rows.append(f"<tr><td>{html.escape(names.get(case['name'], case['name']))}</td>{cells}</tr>")
    if len(after) > 1:
        means = "".join(_cell(_mean(scores)) for name, scores in columns)
        rows.append(f"<tr><td><b>{_('Mean')}</b></td>{means}</tr>")
    return f"<p>{title}</p><table width='100%' cellspacing='0' cellpadding='2'>{''.join(rows)}</table>" + _verdict(
        comparison
    )


def held_out_dice(result: Mapping[str, Any]) -> dict[str, float]:
    """Name of each case held out -> its Dice, where it is defined."""
    return {case["name"]: case["dice"] for case in result.get("held_out") or () if case["dice"] is not None}


def _of_case(scores: Scores, name: str) -> tuple[float | None, float | None]:
    case = next((c for c in scores if c["name"] == name), None)
    return (case["dice"], case["hd95_mm"]) if case else (None, None)


def _mean(scores: Scores) -> tuple[float | None, float | None]:
    dice = [c["dice"] for c in scores if c["dice"] is not None]
    distances = [c["hd95_mm"] for c in scores if c["hd95_mm"] is not None]
    # A mean distance that leaves out the cases with a missed label would flatter.
    hd95 = statistics.fmean(distances) if distances and len(distances) == len(scores) else None
    return statistics.fmean(dice) if dice else None, hd95


def _cell(scores: tuple[float | None, float | None]) -> str:
    dice, hd95 = scores
    told = "-" if dice is None else f"{dice:.3f}"
    return f"<td align='right'>{told} ({'-' if hd95 is None else f'{hd95:.1f}'})</td>"


def _verdict(comparison: Mapping[str, Any] | None) -> str:
    if not comparison:
        return ""
    told = {
        "checkpoint": _("Starting from the checkpoint paid."),
        "scratch": _("Training from scratch did better."),
        "neither": _("Neither did better."),
    }[comparison["won"]]
    return f"<p>{told}</p>"
