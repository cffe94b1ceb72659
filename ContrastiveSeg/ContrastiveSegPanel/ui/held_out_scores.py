"""The scores of a fine-tuning as small tables: on the held-out cases before and after, and of each start."""

from __future__ import annotations

import html
import statistics
from collections.abc import Collection, Mapping, Sequence

from slicer.i18n import tr as _

from contrastiveseg.results import FinetuneResult, HeldOutCase, StartsComparison

from ..workflows.verdict import verdict

#: Dice, and HD95 in mm; None where undefined.
_Scores = tuple[float | None, float | None]


def held_out_html(result: FinetuneResult, names: Mapping[str, str], circular: Collection[str] = ()) -> str:
    """The scores as rich text; "" when nothing was held out.

    Args:
        names: name of a case in the result -> name of its volume.
        circular: as for :func:`.verdict.verdict`, the cases' names in the result.
    """
    after = result.held_out
    if not after:
        return ""
    columns: list[tuple[str, Sequence[HeldOutCase]]] = []
    if result.before:
        columns.append((_("Before"), result.before))
    columns.append((_("After"), after))
    if result.comparison is not None:
        columns.append((_("From scratch"), result.comparison.scratch))
    title = _("Dice (HD95 in mm) on the volumes held out")
    head = "".join(f"<th align='right'>&nbsp;&nbsp;{html.escape(name)}</th>" for name, cases in columns)
    rows = [f"<tr><th align='left'>{_('Volume')}</th>{head}</tr>"]
    for case in after:
        cells = "".join(_cell(_of_case(cases, case.name)) for name, cases in columns)
        rows.append(f"<tr><td>{html.escape(names.get(case.name, case.name))}</td>{cells}</tr>")
    if len(after) > 1:
        means = "".join(_cell(_mean(cases)) for name, cases in columns)
        rows.append(f"<tr><td><b>{_('Mean')}</b></td>{means}</tr>")
    table = f"<table width='100%' cellspacing='0' cellpadding='2'>{''.join(rows)}</table>"
    sentences = verdict(result, [names.get(name, name) for name in circular])
    starts = _starts_html(result.starts) if result.starts is not None else ""
    return f"<p>{title}</p>{table}{starts}" + "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)


def _starts_html(comparison: StartsComparison) -> str:
    """A row a start: its mean Dice and spread, and what it is behind the best."""
    titles = (_("Start"), _("Dice"), _("Spread"), _("Behind"))
    head = "".join(
        f"<th align='{'right' if column else 'left'}'>&nbsp;&nbsp;{html.escape(title)}</th>"
        for column, title in enumerate(titles)
    )
    rows = [f"<tr>{head}</tr>"]
    for start in comparison.starts:
        name = f"<b>{html.escape(start.name)}</b>" if start.name == comparison.kept else html.escape(start.name)
        margin = "" if start.margin is None else f" ± {start.margin:.3f}"
        behind = "" if start is comparison.starts[0] else f"{start.behind:.3f}{margin}"
        spread = "-" if start.spread is None else f"{start.spread:.3f}"
        cells = "".join(f"<td align='right'>{text}</td>" for text in (f"{start.dice:.3f}", spread, behind))
        rows.append(f"<tr><td>{name}</td>{cells}</tr>")
    note = _("Each start had the same budget; that in bold is kept.")
    return f"<p>{note}</p><table width='100%' cellspacing='0' cellpadding='2'>{''.join(rows)}</table>"


def held_out_dice(result: FinetuneResult) -> dict[str, float]:
    """Name of each case held out -> its Dice, where it is defined."""
    return {case.name: case.dice for case in result.held_out if case.dice is not None}


def _of_case(cases: Sequence[HeldOutCase], name: str) -> _Scores:
    case = next((c for c in cases if c.name == name), None)
    return (case.dice, case.hd95_mm) if case else (None, None)


def _mean(cases: Sequence[HeldOutCase]) -> _Scores:
    dice = [c.dice for c in cases if c.dice is not None]
    distances = [c.hd95_mm for c in cases if c.hd95_mm is not None]
    # A mean distance that leaves out the cases with a missed label would flatter.
    hd95 = statistics.fmean(distances) if distances and len(distances) == len(cases) else None
    return statistics.fmean(dice) if dice else None, hd95


def _cell(scores: _Scores) -> str:
    dice, hd95 = ("-" if value is None else f"{value:.{digits}f}" for value, digits in zip(scores, (3, 1), strict=True))
    return f"<td align='right'>{dice} ({hd95})</td>"
