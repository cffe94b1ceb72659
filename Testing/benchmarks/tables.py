"""Results as Markdown tables: means and spreads over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are right-aligned."""
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def spread(values: Sequence[float | None], digits: int) -> str:
    """Mean ± standard deviation of the values there are; "-" if there are none."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    mean = f"{statistics.fmean(known):.{digits}f}"
    return f"{mean} ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else mean


def pieces(runs: Sequence[dict[str, Any]]) -> str:
    """Of ``pieces_dice.py``: means over the networks of a set, and the least and the largest gain in Dice."""
    rows = []
    for name in sorted({r["set"] for r in runs}):
        every, largest = (
            {r["checkpoint"]: r for r in runs if (r["set"], r["pieces"]) == (name, kept)} for kept in ("all", "largest")
        )
        both = sorted(every.keys() & largest.keys())
        cells = [
            " / ".join(f"{statistics.fmean(kept[c][metric] for c in both):.{digits}f}" for kept in (every, largest))
            for metric, digits in (("dice", 3), ("hd95_mm", 2), ("assd_mm", 2))
        ]
        gains = [largest[c]["dice"] - every[c]["dice"] for c in both]
        rows.append([f"{name}, {len(both)} networks", *cells, f"{min(gains):+.3f} to {max(gains):+.3f}"])
    columns = ["Set", "Dice, all pieces / largest", "HD95 (mm)", "ASSD (mm)", "Gain in Dice by network"]
    return markdown(columns, rows)


def demo_seeds(runs: Sequence[dict[str, Any]]) -> str:
    """Of ``demo_seeds.py``: a row a seed, and the means of each checkpoint and budget."""
    columns = ["Minutes, threads, steps", "Seed", "Starter", "Scratch", "Ahead by", "Missed by starter / scratch"]
    rows = []
    groups = sorted({(r["checkpoint"], r["minutes"], r["threads"]) for r in runs})
    for group in groups:
        members = sorted(
            (r for r in runs if (r["checkpoint"], r["minutes"], r["threads"]) == group), key=lambda r: r["seed"]
        )
        for run in members:
            steps = f"{run['minutes']:g}, {run['threads']}, {run['steps']} / {run['scratch_steps']}"
            missed = " / ".join(_missed(run[f"{name}_missed"]) for name in ("starter", "scratch"))
            dice = [f"{run[name]:.3f}" for name in ("starter", "scratch")]
            rows.append([steps, str(run["seed"]), *dice, f"{run['starter'] - run['scratch']:+.3f}", missed])
        means = [spread([r[name] for r in members], 3) for name in ("starter", "scratch")]
        ahead = spread([r["starter"] - r["scratch"] for r in members], 3)
        rows.append([f"mean of {len(members)}", "", *means, ahead, ""])
    return markdown(columns, rows)


def _missed(found: dict[str, int]) -> str:
    return ", ".join(f"{name} in {count}" for name, count in found.items()) or "none"
