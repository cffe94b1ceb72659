"""The documentation's figures, drawn from the benchmarks' results as SVG."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from published import ACDC, HIPPOCAMPUS, LEFT_ATRIUM, Group

#: Start -> its color, in every figure.
_COLORS = {"scratch": "#666666", "starter": "#b5651d", "all": "#000000"}
_OTHERS = "#00796b"


def pre_training() -> str:
    """Dice of every seed by start: left atrium, hippocampus in 50 and 150 steps, ACDC in 2D"""
    columns = (
        ("Left atrium, 4 labels\n100 steps", LEFT_ATRIUM, 12.0),
        ("Hippocampus, 10 labels\n50 steps", replace(HIPPOCAMPUS, steps=50), 2.0),
        ("Hippocampus, 10 labels\n150 steps", HIPPOCAMPUS, 2.0),
        ("ACDC in 2D, 10 labels\n400 steps", ACDC, 3.0),
    )
    rows = ("scratch", "starter", "macl", "cvrl", "mixcl", "ideal", "aligned", "all")
    figure, axes = plt.subplots(1, len(columns), figsize=(11, 3.4), sharey=True, layout="constrained")
    for axis, (title, at, minutes) in zip(axes, columns, strict=True):
        groups = [replace(at, row=row, pretrain_minutes=None if row in _COLORS else minutes) for row in rows]
        _dots(axis, rows, groups, title)
    axes[0].set_yticks(range(len(rows)), ["from scratch", *rows[1:-1], "scratch, all labels"])
    axes[0].invert_yaxis()
    return _svg(figure)


def unlabeled() -> str:
    """Dice of every seed on the left atrium and the hippocampus by fine-tuning method, with the unlabeled volumes"""
    rows: tuple[str, ...] = (
        "scratch",
        "scratch+mean-teacher",
        "scratch+bcp",
        "scratch+mcsc",
        "scratch+ideal",
        "scratch+cvrl",
    )
    rows += ("starter", "starter+mean-teacher", "starter+cvrl")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for axis, (title, at) in zip(
        axes,
        (("Left atrium, 4 labels, 100 steps", LEFT_ATRIUM), ("Hippocampus, 10 labels, 150 steps", HIPPOCAMPUS)),
        strict=True,
    ):
        _dots(axis, rows, [replace(at, row=row) for row in rows], title)
    names = [" + ".join(part or "supervised" for part in row.partition("+")[::2]) for row in rows]
    axes[0].set_yticks(range(len(rows)), names)
    axes[0].invert_yaxis()
    return _svg(figure)


def _dots(axis: Axes, rows: Sequence[str], groups: Sequence[Group], title: str) -> None:
    """A line for each group: a dot for each seed, a bar at their mean."""
    for place, (row, group) in enumerate(zip(rows, groups, strict=True)):
        dice = [run["dice"] for run in group.runs()]
        if dice:
            color = _COLORS.get(row.partition("+")[0], _OTHERS)
            axis.plot(dice, [place] * len(dice), "o", color=color, alpha=0.5, markersize=5)
            axis.plot(statistics.fmean(dice), place, "|", color=color, markersize=14, markeredgewidth=2)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("Dice")
    axis.grid(axis="x", alpha=0.3)


def _svg(figure: plt.Figure) -> str:
    file = io.StringIO()
    # Neither the date nor random names, so that the same results give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "contrastiveseg", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    return file.getvalue()


FIGURES: dict[str, Callable[[], str]] = {"pre-training": pre_training, "unlabeled": unlabeled}
