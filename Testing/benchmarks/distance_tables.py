"""The tables of ``distance.py``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from tables import markdown, spread

from contrastiveseg.checkpoints.familiarity import FAR

#: The sets of ``distance.py`` in words.
_DISTANCE_SETS = {"LA_half": "Left atrium, 4 cases", "Hippocampus": "Hippocampus, 10 cases"}


def by_kind(runs: Sequence[dict[str, Any]]) -> str:
    """By kind of volume, how many are told to be far over all seeds, and the median distance."""
    shipped = [r for r in runs if "shipped" in r["candidate"] and "first" not in r]
    sets = [name for name in _DISTANCE_SETS if any(r["set"] == name for r in shipped)]
    rows = []
    for kind in dict.fromkeys(kind for run in shipped for kind in run["distances"]):
        values = [[v for r in shipped if r["set"] == name for v in r["distances"][kind]] for name in sets]
        rows.append([kind, *(cell for mine in values for cell in (_told(mine), f"{statistics.median(mine):.1f}"))])
    columns = ["Volumes"]
    for name in sets:
        columns += [f"{_DISTANCE_SETS[name]}: warned of", "Median distance"]
    return markdown(columns, rows)


def of_few(runs: Sequence[dict[str, Any]]) -> str:
    """How many are told by what fewer training cases tell: right volumes, and those of another organ or modality."""
    few = [r for r in runs if "first" in r]
    rows = []
    for count in sorted({r["first"] for r in few}):
        row = [f"{count}"]
        for name in (name for name in _DISTANCE_SETS if any(r["set"] == name for r in few)):
            mine = [r["distances"] for r in few if (r["set"], r["first"]) == (name, count)]
            foreign = ("another organ", "CT of the abdomen", "MR of the brain")
            row.append(_told([v for distances in mine for v in distances["right"]]))
            row.append(_told([v for distances in mine for kind in foreign for v in distances[kind]]))
        rows.append(row)
    others = "another organ, CT, brain"
    return markdown(["First cases", "Left atrium: right", others, "Hippocampus: right", others], rows)


def _told(distances: Sequence[float]) -> str:
    return f"{sum(value > FAR for value in distances)} of {len(distances)}"


def candidates(runs: Sequence[dict[str, Any]]) -> str:
    """How many of the others are farther than every right volume, and the correlation with Dice."""
    whole = [r for r in runs if "first" not in r]
    sets = [name for name in _DISTANCE_SETS if any(r["set"] == name for r in whole)]
    rows = []
    for candidate in dict.fromkeys(r["candidate"] for r in reversed(whole)):
        row = [candidate]
        for name in sets:
            mine = [r for r in whole if (r["set"], r["candidate"]) == (name, candidate)]
            beyond = [
                value > max(run["distances"]["right"])
                for run in mine
                for kind, values in run.get("distances", {}).items()
                for value in values
                if kind != "right"
            ]
            row += [f"{statistics.fmean(beyond):.0%}" if beyond else "-", spread([r["correlation"] for r in mine], 2)]
        rows.append(row)
    columns = ["Compared"]
    for name in sets:
        columns += [f"{_DISTANCE_SETS[name]}: farther than all right ones", "Correlation with Dice"]
    return markdown(columns, rows)
