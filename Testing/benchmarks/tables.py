"""Results as Markdown tables: means and spreads over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


def preview(runs: Sequence[dict[str, Any]]) -> str:
    """Of ``preview.py``: Dice over the seeds by variant, set and slices, and processor seconds.

    Variants on fewer cases are rows of their own.
    """
    most = max((r["cases"] for r in runs), default=0)
    rows = []
    for name, cases in dict.fromkeys((r["variant"], r["cases"]) for r in sorted(runs, key=lambda r: -r["cases"])):
        mine = [r for r in runs if (r["variant"], r["cases"]) == (name, cases)]
        cells = [
            spread([r["dice"] for r in mine if (r["set"], r["slices"]) == (wanted, slices)], 3)
            for wanted in ("LA_half", "Hippocampus")
            for slices in (1, 3)
        ]
        seconds = [
            " / ".join(
                f"{statistics.fmean(r[key] for r in here):.2f}" if here else "-"
                for wanted in ("LA_half", "Hippocampus")
                for here in [[r for r in mine if r["set"] == wanted and key in r]]
            )
            for key in (("trained",) if "trained" in mine[0] else ("features", "spread"))
        ]
        first, later = (seconds[0], "-") if len(seconds) == 1 else seconds
        rows.append([name if cases == most else f"{name}, {cases} cases", *cells, first, later])
    columns = ["", "Left atrium, 1 slice", "3 slices", "Hippocampus, 1 slice", "3 slices", "First (s)", "Again (s)"]
    return markdown(columns, rows)


def preview_time(runs: Sequence[dict[str, Any]]) -> str:
    """Of ``preview_time.py``: medians by precision: wall, and processor seconds in brackets."""
    rows = []
    for precision in dict.fromkeys(r["precision"] for r in runs):
        cells = []
        for kind in ("first", "again"):
            mine = [r for r in runs if (r["precision"], r["preview"]) == (precision, kind)]
            wall, processor = (statistics.median(r[key] for r in mine) for key in ("seconds", "cpu_seconds"))
            cells.append(f"{wall:.2f} ({processor:.2f})")
        rows.append([{"bf16": "bfloat16", "32": "float32"}[precision], *cells])
    columns = ["256x256x100 voxels", "First preview: s (processor s)", "After further strokes: s (processor s)"]
    return markdown(columns, rows)


def tile_time(runs: Sequence[dict[str, Any]]) -> str:
    """Of ``tile_time.py``: CPU time of a tile as built, and relative to it as made for inference and by OpenVINO."""
    rows = []
    for run in runs:
        tile, kind = "x".join(map(str, run["tile"])), "float32" if run["precision"] == "32" else "bfloat16"
        tile = tile if len(run["tile"]) == 3 else f"four slices of {tile}"
        ratio = "{:.2f} ({:.2f}-{:.2f})".format(run["ratio"], *run["range"])
        other = f"{run['openvino']:.2f}" if run["openvino"] else "-"
        rows.append([f"{run['set']}, {tile}, {kind}", f"{run['built_ms']:.0f}", ratio, other, f"{run['dice']:.4f}"])
    return markdown(["Tile", "As built (ms)", "For inference (range)", "OpenVINO", "Dice against float32"], rows)


def first_step(runs: Sequence[dict[str, Any]]) -> str:
    """Of ``first_step.py``: seconds of a new process until each stage, and the cache by several threads."""
    stages = {"plan": "libraries", "preprocess": "plan", "train": "volumes", "first step": "first step"}
    rows = []
    for run in runs:
        until = [f"{run['seconds'][stage]:.1f} ({run['processor'][stage]:.1f})" for stage in stages]
        cache = "{:.2f} ({:.2f}-{:.2f})".format(run["cache"]["ratio"], *run["cache"]["range"])
        rows.append([f"{run['set']}, {run['cases']} volumes", *until, cache, f"{run['cache']['processor_ratio']:.2f}"])
    until = [f"{done} done: s (processor s)" for done in stages.values()]
    return markdown(["From the start of a process", *until, "Volumes, times as fast", "Their CPU time"], rows)


def flat_tiles(rows: Sequence[dict[str, Any]]) -> str:
    """Of ``flat_tiles.py``: tiles that are not computed, and what that saves."""
    cells = [
        (
            row["volumes"],
            str(row["tiles"]),
            f"{row['left_out']} ({row['left_out'] / row['tiles']:.0%})",
            "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
            str(row["voxels_apart"]),
        )
        for row in rows
    ]
    return markdown(["Volumes", "Tiles", "Left out", "CPU time, relative to all", "Voxels that differ"], cells)


def beside_others(run: dict[str, Any]) -> str:
    """Of ``beside_others.py``: processor seconds from file to file, relative to ours, and Dice, by volume."""
    names = {
        "ours": "ours",
        "monai": "MONAI's sliding window",
        "monai_label": "MONAI Label's task",
        "nnunet": "nnU-Net's predictor",
        "total": "TotalSegmentator's pipeline",
    }
    rows = [
        [name, *(cell for volume in run["volumes"] for cell in _beside(volume.get(key)))] for key, name in names.items()
    ]
    columns = ["From file to file"]
    for volume in run["volumes"]:
        size = "x".join(map(str, volume["volume"]))
        columns += [f"{size}: CPU seconds", "relative to ours (range)", "Dice", "voxels as ours"]
    return markdown(columns, rows)


def _beside(way: dict[str, Any] | None) -> list[str]:
    if way is None:
        return ["-"] * 4
    ratio = "{:.2f} ({:.2f}-{:.2f})".format(way["ratio"], *way["range"])
    return [f"{way['seconds']:.2f}", ratio, f"{way['dice']:.3f}", f"{way['agree']:.4f}"]


def beside_trainer(run: dict[str, Any]) -> str:
    """Of ``beside_trainer.py``: processor seconds of a step, nnU-Net's relative to ours, and what the network takes."""
    rows = [["nnU-Net's trainer, float32", f"{run['nnunet']:.2f}", "", ""]]
    for precision, kind in (("32", "float32"), ("bf16", "bfloat16")):
        mine = run[precision]
        ratio = "{:.2f} ({:.2f}-{:.2f})".format(mine["nnunet"], *mine["range"])
        rows.append([f"ours, {kind}", f"{mine['seconds']:.2f}", ratio, f"{mine['passes']:.0%}"])
    return markdown(["A training step", "CPU seconds", "nnU-Net's, relative (range)", "Forward and backward"], rows)


def large_volumes(runs: Sequence[dict[str, Any]]) -> str:
    """Of ``large_volumes.py``: seconds by stage, and memory."""
    stages = ("load", "preprocess", "network", "restore", "write", "total")
    rows = []
    for run in runs:
        size = "x".join(map(str, run["size"][::-1]))
        seconds = [f"{run['seconds'][stage]:.1f}" for stage in stages]
        spacing = "x".join(map(str, run["spacing"]))
        rows.append([f"{size}, {run['classes']} classes, at {spacing} mm", str(run["tiles"]), *seconds])
        rows[-1].append(f"{run['peak_memory'] / 2**30:.1f}")
    return markdown(["Volume", "Tiles", *stages, "Memory (GiB)"], rows)


def shards(runs: list[dict[str, Any]]) -> str:
    """Of ``shards.py``: files a minute of each batch, and relative to one process with one thread."""
    names = {
        "one": "one process, one thread",
        "two_threads": "one process, two threads",
        "two_shards": "two shards, one thread each",
    }
    head = ["", *(f"{run['files']} files of {run['set']}: a minute (times as many, range)" for run in runs)]
    rows = [[name, *(_files_a_minute(run[key]) for run in runs)] for key, name in names.items()]
    return markdown(head, rows)


def _files_a_minute(way: dict[str, Any]) -> str:
    return "{:.0f} ({:.2f}, {:.2f}-{:.2f})".format(way["a_minute"], way["ratio"], *way["range"])


@dataclass(frozen=True)
class SliceGroup:
    """Runs of ``labeled_slices.py`` with one choice of slices and one budget: a value a seed."""

    choice: str
    slices: int
    steps: int
    dice: tuple[float, ...]
    painted: tuple[int, ...]


_CHOICES = {
    "uniform": "{} of each volume, evenly spread",
    "random": "{} of each volume, at random",
    "staggered": "{} of each volume, staggered: evenly spread, at other heights in each",
    "rank": "{} of each volume, the first half staggered, the others named by `rank`",
    "volumes": "all, in {} of the volumes",
    "all": "all",
}


def slice_groups(runs: Sequence[dict[str, Any]]) -> list[SliceGroup]:
    """The runs by choice and budget, the fewest slices first."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        found.setdefault((run["choice"], run["slices"], run["steps"]), []).append(run)
    groups = [
        SliceGroup(*key, tuple(run["dice"] for run in members), tuple(run["painted"] for run in members))
        for key, members in found.items()
    ]
    return sorted(groups, key=lambda group: (statistics.fmean(group.painted), group.choice))


def labeled_slices(runs: Sequence[dict[str, Any]]) -> str:
    """Dice by what is labeled, the mean number of slices, and the steps."""
    groups = {(g.choice, g.slices, g.steps): g for g in slice_groups(runs)}
    budgets = sorted({group.steps for group in groups.values()})
    rows = []
    for choice, slices in dict.fromkeys((g.choice, g.slices) for g in groups.values()):
        found = [groups.get((choice, slices, steps)) for steps in budgets]
        painted = statistics.fmean(n for group in found if group for n in group.painted)
        cells = [f"{spread(group.dice, 3)} ({len(group.dice)})" if group else "-" for group in found]
        rows.append((_CHOICES[choice].format(slices), f"{painted:.0f}", *cells))
    return markdown(("Labeled slices", "Number", *(f"{steps} steps" for steps in budgets)), rows)


def thread_scaling(runs: Sequence[dict[str, Any]]) -> str:
    """Of ``thread_scaling.py``: steps by the clock with several threads."""
    rows = []
    for run in runs:
        ratios = ["{:.2f} ({:.2f}-{:.2f})".format(*run[name]) for name in ("several", "pooled")]
        rows.append(["x".join(map(str, run["patch"])), run["precision"], f"{run['step_ms']:.0f}", *ratios])
    return markdown(["Patch", "Precision", "One thread: ms a step", "Two threads, times as fast", "As before"], rows)
