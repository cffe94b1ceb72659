"""The documentation's figures, drawn from the benchmarks' results as SVG.

    python ci/docs_figures.py time-to-quality docs/pictures/time-to-quality.svg

draws one into a file, as README.md needs it.
"""

from __future__ import annotations

import io
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Testing" / "benchmarks"))
from published import (
    ACDC,
    BUDGETS,
    DEFAULT,
    HIPPOCAMPUS,
    LEFT_ATRIUM,
    MINUTES,
    Group,
    budget,
    slice_groups,
)

#: Start -> its color, in every figure.
_COLORS = {"scratch": "#666666", "starter": "#b5651d", "all": "#000000"}
_OTHERS = "#00796b"
#: The budget that is drawn of labeled_slices.py, about half a minute of two cores.
_SLICE_STEPS = 450


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


def time_to_quality() -> str:
    """Dice against minutes of fine-tuning, from scratch and from the default starter"""
    starts = (("from scratch", None, _COLORS["scratch"]), ("from the default starter", DEFAULT, _COLORS["starter"]))
    figure, axes = plt.subplots(1, len(BUDGETS), figsize=(11, 3.2), layout="constrained")
    for axis, (name, title) in zip(axes, BUDGETS.items(), strict=True):
        for words, digits, color in starts:
            dice = {m: [run["dice"] for run in budget(name, digits, m).runs()] for m in MINUTES}
            dice = {minutes: values for minutes, values in dice.items() if values}
            means = [statistics.fmean(values) for values in dice.values()]
            axis.plot(dice.keys(), means, "-", color=color, label=words)
            for minutes, values in dice.items():
                axis.plot([minutes] * len(values), values, "o", color=color, alpha=0.5, markersize=4)
        axis.set_xscale("log")
        axis.set_xticks(MINUTES, [f"{m:g}" for m in MINUTES])
        axis.set_xticks([], minor=True)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("minutes of two cores")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("Dice on held-out cases")
    axes[0].legend(loc="lower right", fontsize=8)
    return _svg(figure)


def labeled_slices() -> str:
    """Dice against the number of labeled slices: a few of each of ten volumes, and whole volumes"""
    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    lines = {
        "five of each volume, half of them named by rank": (("rank",), _OTHERS),
        "one, two or five of each volume, staggered": (("staggered",), _COLORS["starter"]),
        "all of one, two, four or all ten volumes": (("volumes", "all"), _COLORS["scratch"]),
    }
    for words, (choices, color) in lines.items():
        groups = [g for g in slice_groups() if g.choice in choices and g.steps == _SLICE_STEPS]
        means = [(statistics.fmean(g.painted), statistics.fmean(g.dice)) for g in groups]
        axis.plot(*zip(*means, strict=True), "_-", color=color, label=words)
        for group in groups:
            axis.plot(group.painted, group.dice, "o", color=color, alpha=0.5, markersize=4)
    axis.set_xscale("log")
    ticks = (10, 20, 50, 100, 200, 400)
    axis.set_xticks(ticks, [str(n) for n in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("labeled slices, of the 387 that ten volumes have")
    axis.set_ylabel("Dice on held-out cases")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", fontsize=8)
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


FIGURES: dict[str, Callable[[], str]] = {
    "pre-training": pre_training,
    "unlabeled": unlabeled,
    "time-to-quality": time_to_quality,
    "labeled-slices": labeled_slices,
}

if __name__ == "__main__":
    _, wanted, path = sys.argv
    Path(path).write_text(FIGURES[wanted](), encoding="utf-8")
