"""The tables of the documentation, made from the results files.

A page of docs/ names a table as ``<!-- table: NAME -->``; the site's build puts it there (ci/docs_hooks.py), and a test
holds the table of README.md to it.
"""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import distance_tables
import tables
from results_file import Run, read_runs
from tables import (
    beside_others,
    beside_trainer,
    first_step,
    flat_tiles,
    large_volumes,
    markdown,
    pieces,
    preview,
    preview_time,
    shards,
    spread,
    thread_scaling,
    tile_time,
)

RESULTS = Path(__file__).parent / "results"

#: The starter of the tables before the synthesis of today, by the first digits of its file's SHA-256.
MACL = "5a8994a2cd08"
#: The default starter.
DEFAULT = "b964e483e389"
#: Starters on today's synthesis, in words: the first three after the same 22 processor minutes, the last one after 73.
#: The second and the last one ship.
STARTERS = {
    "CVRL, 22 min (does not ship)": "c2e05f9db8d8",
    "MACL, 22 min: `macl-3d-tiny`": "e742dd004870",
    "Synthetic labels, 22 min": "30a9ffff1405",
    "Synthetic labels, 73 min: `synthetic-labels-3d-tiny`, the default": DEFAULT,
}


@dataclass(frozen=True)
class Group:
    """The runs of one row of ``dice.py`` with one budget, over all seeds."""

    set: str
    row: str
    steps: int | None = None
    minutes: float | None = None
    labeled: str = "labelled_5"
    dimensions: int = 3
    pretrain_minutes: float | None = None
    pretrain_steps: int | None = None
    pretrain_labels: str | None = None
    resolution: str | None = None
    starter: str | None = None

    def runs(self) -> list[Run]:
        wanted = vars(self)
        return [r for r in _all_runs() if all(r.get(key) == value for key, value in wanted.items())]

    def dice(self) -> str:
        """Dice over the seeds, and their number in brackets."""
        runs = self.runs()
        return f"{spread([r['dice'] for r in runs], 3)} ({len(runs)})" if runs else "-"

    def distances(self, digits: int) -> str:
        """HD95 and ASSD in mm over the seeds."""
        runs = self.runs()
        return ", ".join(spread([r[key] for r in runs], digits) for key in ("hd95_mm", "assd_mm")) if runs else "-"

    def processor_minutes(self) -> str:
        """Mean processor minutes of fine-tuning."""
        runs = self.runs()
        return f"{statistics.fmean(r['training']['cpu_minutes'] for r in runs):.1f}" if runs else "-"


@functools.cache
def _all_runs() -> list[Run]:
    return [run for path in sorted(RESULTS.glob("*.json")) for run in read_runs(path) if "row" in run]


def _report(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _starts(at: Group, minutes: float) -> list[tuple[str, Group]]:
    """From scratch, from the starter, and from each pre-training method, fine-tuned on labels alone."""
    pretrained = functools.partial(replace, at, pretrain_minutes=minutes)
    return [
        ("From scratch", at),
        ("Earlier MACL starter", replace(at, row="starter", starter=MACL)),
        (f"`macl`, {minutes:g} min", pretrained(row="macl")),
        (f"`cvrl`, {minutes:g} min", pretrained(row="cvrl")),
        (f"`mixcl`, no labels, {minutes:g} min", pretrained(row="mixcl")),
        (f"`mixcl`, with the labels, {minutes:g} min", pretrained(row="mixcl", pretrain_labels="labelled_5")),
        (f"`ideal`, {minutes:g} min", pretrained(row="ideal")),
        (f"`aligned`, {minutes:g} min", pretrained(row="aligned")),
        ("From scratch, all train labels", replace(at, row="all")),
    ]


def _with_unlabeled(at: Group, minutes: float) -> list[tuple[str, Group]]:
    """Fine-tuning methods with the unlabeled volumes, from several starts."""
    methods = ("supervised", "mean-teacher", "bcp", "cvrl", "ideal", "mcsc")
    rows = [
        (f"From scratch, `{m}`", replace(at, row="scratch" if m == "supervised" else f"scratch+{m}")) for m in methods
    ]
    rows += [(f"`{m}`, `{m}`", replace(at, row=f"{m}+{m}", pretrain_minutes=minutes)) for m in ("cvrl", "ideal")]
    for m in ("supervised", "mean-teacher", "cvrl"):
        row = "starter" if m == "supervised" else f"starter+{m}"
        rows.append((f"Earlier MACL starter, `{m}`", replace(at, row=row, starter=MACL)))
    return rows


LEFT_ATRIUM = Group("LA_half", "scratch", 100)
HIPPOCAMPUS = Group("Hippocampus", "scratch", 150)
ACDC = Group("ACDC", "scratch", 400, dimensions=2)


def left_atrium() -> str:
    columns = (
        "Left atrium, 100 steps (1.3 min)",
        "5 %: 4 labels",
        "HD95, ASSD (mm)",
        "10 %: 8 labels",
        "20 %: 16 labels",
    )
    rows = [
        (name, g.dice(), g.distances(1), *(replace(g, labeled=f"labelled_{n}").dice() for n in (10, 20)))
        for name, g in _starts(LEFT_ATRIUM, 12)
    ]
    return markdown(columns, rows)


def hippocampus() -> str:
    columns = ("Hippocampus", "5 %: 10 labels, 50 steps (0.2 min)", "150 steps (0.6 min)", "HD95, ASSD (mm), 150 steps")
    rows = [
        (
            name,
            replace(g, steps=50).dice(),
            g.dice(),
            g.distances(2),
            replace(g, steps=50, labeled="labelled_10").dice(),
        )
        for name, g in _starts(HIPPOCAMPUS, 2)
    ]
    return markdown((*columns, "10 %: 20 labels, 50 steps"), rows)


def unlabeled() -> str:
    columns = ("Start, method", "Left atrium, 100 steps", "HD95, ASSD (mm)", "CPU minutes")
    rows = [
        (name, atrium.dice(), atrium.distances(1), atrium.processor_minutes(), other.dice(), other.processor_minutes())
        for (name, atrium), (_, other) in zip(
            _with_unlabeled(LEFT_ATRIUM, 12), _with_unlabeled(HIPPOCAMPUS, 2), strict=True
        )
    ]
    return markdown((*columns, "Hippocampus, 150 steps", "CPU minutes"), rows)


def acdc() -> str:
    groups = [(name, group) for name, group in (*_starts(ACDC, 3), *_with_unlabeled(ACDC, 3)[1:]) if group.runs()]
    grid = replace(ACDC, row="ideal", pretrain_steps=1)
    groups.insert(1, ("From scratch, on the grid of the rows that are pre-trained", grid))
    columns = ("ACDC in 2D, 10 labeled volumes, 400 steps", "Dice", "HD95, ASSD (mm)", "CPU minutes")
    return markdown(columns, [(name, g.dice(), g.distances(0), g.processor_minutes()) for name, g in groups])


#: Sets in words, and minutes of two cores.
BUDGETS = {
    "LA_half": "Left atrium, 4 labels",
    "Hippocampus": "Hippocampus, 10 labels",
    "ACDC": "ACDC, 10 labels",
}
MINUTES = (0.5, 2.0, 10.0)


def budget(name: str, start: str | None, minutes: float) -> Group:
    """The runs on a set from ``start``, the digits of a starter's file, or from scratch."""
    row = "starter" if start else "scratch"
    return Group(name, row, minutes=minutes, resolution="auto", starter=start)


def budgets() -> str:
    """The table of README.md: scratch and the default starter after minutes that people give."""
    rows = []
    for name, words in BUDGETS.items():
        for start, digits in (("from scratch", None), ("default starter", DEFAULT)):
            short, middle, long = (budget(name, digits, minutes) for minutes in MINUTES)
            rows.append((f"{words}: {start}", short.dice(), middle.dice(), middle.distances(1), long.dice()))
    half, two, ten = (f"{minutes:g} min" for minutes in MINUTES)
    return markdown(("Dice on held-out cases after", half, two, f"HD95, ASSD (mm), {two}", ten), rows)


def starters() -> str:
    """The starters beside scratch, after the minutes in which they differ most."""
    rows = []
    for name, digits in ({"From scratch": None} | STARTERS).items():
        atrium, other = budget("LA_half", digits, 2.0), budget("Hippocampus", digits, 0.5)
        rows.append((name, *(value for group in (atrium, other) for value in (group.dice(), group.distances(1)))))
    columns = ["Dice on held-out cases"]
    for task in ("Left atrium, 4 labels, 2 min", "Hippocampus, 10 labels, 0.5 min"):
        columns += [task, "HD95, ASSD (mm)"]
    return markdown(columns, rows)


def more_labels() -> str:
    """Scratch and the default starter on the left atrium with more labels, after two minutes."""
    rows = []
    for share, labels in (("5", 4), ("10", 8), ("20", 16)):
        scratch, starter = (
            replace(budget("LA_half", digits, 2.0), labeled=f"labelled_{share}") for digits in (None, DEFAULT)
        )
        rows.append(
            (str(labels), *(value for group in (scratch, starter) for value in (group.dice(), group.distances(1))))
        )
    distances = "HD95, ASSD (mm)"
    return markdown(("Left atrium, 2 min: labels", "from scratch", distances, "default starter", distances), rows)


def slice_groups() -> list[tables.SliceGroup]:
    """Few labeled slices and whole volumes, the fewest slices first."""
    return tables.slice_groups(read_runs(RESULTS / "labeled_slices.json"))


def labeled_slices() -> str:
    return tables.labeled_slices(read_runs(RESULTS / "labeled_slices.json"))


def nnunet() -> str:
    def row(name: str, group: str, **budget: float) -> tuple[str, ...]:
        wanted = {
            "set": "Hippocampus",
            "labeled": "labelled_5",
            "row": group,
            "dimensions": None,
            "resolution": None,
            **budget,
        }
        runs = [r for r in _all_runs() if all(r.get(k) == v for k, v in wanted.items())]
        steps = statistics.fmean(r.get("steps") or r["nnunet"]["iterations"] for r in runs)
        minutes = statistics.fmean(r["training"]["cpu_minutes"] for r in runs)
        return name, f"{minutes:.1f}", f"{steps:.0f}", f"{spread([r['dice'] for r in runs], 3)} ({len(runs)})"

    rows = [row("nnU-Net", "nnunet"), row("nnU-Net, with mirroring", "nnunet-mirror")]
    rows += [row("Ours from scratch", "scratch", steps=150, dimensions=3)]
    rows += [row("Ours from the earlier MACL starter", "starter", steps=150, dimensions=3)]
    return markdown(("Hippocampus, 10 labels", "Processor minutes", "Iterations", "Dice"), rows)


_STAGES = ("import", "load", "preprocess", "network", "blend", "restore", "write", "total")
_VOLUMES = {"ct_abdomen": "CT abdomen 512x512x20"}


def segment_time() -> str:
    rows = []
    for case in _report("segment_time")["volumes"]:
        name = _VOLUMES.get(case["volume"], "Left atrium 180x135x88")
        cold, warm = case["cold"], case["warm"]
        rows.append(
            (f"{name}, cold", *(f"{cold[s]:.2f}" for s in _STAGES), f"{cold['peak_memory_bytes'] / 2**30:.1f} GiB")
        )
        rows.append(("warm", *(f"{warm[s]:.2f}" for s in _STAGES), ""))
    return markdown(("Seconds", *_STAGES, "Peak memory"), rows)


def windows() -> str:
    rows = []
    for case in _report("segment_time")["volumes"]:
        name = _VOLUMES.get(case["volume"], "Left atrium 180x135x88")
        for row in case["windows"]:
            label = "ours, evenly spread" if row["windows"] == "fitted" else row["windows"]
            rows.append((f"{name}: {label}", "x".join(map(str, row["tile"])), str(row["count"]), f"{row['ratio']:.1f}"))
    return markdown(("Windows", "Tile (z, y, x)", "Count", "CPU time, relative to ours"), rows)


def step_time() -> str:
    rows: dict[str, list[str]] = {}
    for run in read_runs(RESULTS / "step_time.json"):
        rows.setdefault(run["method"], []).append(f"{run['ratio']:.2f}")
    columns = ("Step / its own network passes", "at the start", "at the end of the budget")
    return markdown(columns, [(f"`{method}`", *ratios) for method, ratios in rows.items()])


def handover() -> str:
    columns = ("write volume", "read volume", "write labels", "read labels", "total")
    rows = [
        (f"{row['voxels']}, {row['way']}", *(f"{row[column.replace(' ', '_')]:.3f}" for column in columns))
        for row in _report("handover")["results"]
    ]
    return markdown(("Seconds, 600x600x90 voxels", *columns), rows)


def beside_training() -> str:
    seconds = _report("beside_training")["seconds"]
    parts = ("segment_alone", "segment_beside", "train_alone", "train_beside")
    names = {
        "panel": "threads that soon sleep while they wait, a training of low priority (the panel's)",
        "passive": "threads that sleep at once",
        "default": "OpenMP's own choice",
    }
    rows = [(name, *(f"{seconds[policy][part]:.1f}" for part in parts)) for policy, name in names.items()]
    columns = ("Seconds", "segment, alone", "beside a training", "training step, alone", "beside a segmentation")
    return markdown(columns, rows)


def nnunet_import() -> str:
    """Imported nnU-Nets against nnU-Net itself."""
    rows = []
    for run in read_runs(RESULTS / "nnunet_import.json"):
        least = (f"{run[key]['least']:.4f}" for key in ("dice", "dice_mirrored"))
        rows.append([run["model"], f"{run['logits']:.0e}", *least, str(run["voxels_apart"])])
    columns = ["Model", "Logits, largest difference", "Least Dice", "Least Dice, mirrored", "Voxels that differ"]
    return markdown(columns, rows)


TABLES: dict[str, Callable[[], str]] = {
    f.__name__.replace("_", "-"): f
    for f in (
        left_atrium,
        hippocampus,
        unlabeled,
        acdc,
        starters,
        more_labels,
        budgets,
        labeled_slices,
        nnunet,
        nnunet_import,
        segment_time,
        windows,
        step_time,
    )
} | {
    "handover": handover,
    "beside-training": beside_training,
    "distance": lambda: distance_tables.by_kind(read_runs(RESULTS / "distance.json")),
    "distance-candidates": lambda: distance_tables.candidates(read_runs(RESULTS / "distance.json")),
    "distance-of-few": lambda: distance_tables.of_few(read_runs(RESULTS / "distance.json")),
    "pieces": lambda: pieces(read_runs(RESULTS / "pieces_dice.json")),
    "preview": lambda: preview(read_runs(RESULTS / "preview.json")),
    "beside-others": lambda: beside_others(read_runs(RESULTS / "beside_others.json")[-1]),
    "first-step": lambda: first_step(read_runs(RESULTS / "first_step.json")),
    "thread-scaling": lambda: thread_scaling(read_runs(RESULTS / "thread_scaling.json")[-1]["runs"]),
    "flat-tiles": lambda: flat_tiles(_report("flat_tiles")["rows"]),
    "beside-trainer": lambda: beside_trainer(read_runs(RESULTS / "beside_trainer.json")[-1]),
    "large-volumes": lambda: large_volumes(read_runs(RESULTS / "large_volumes.json")),
    "shards": lambda: shards(read_runs(RESULTS / "shards.json")),
    "tile-time": lambda: tile_time(read_runs(RESULTS / "tile_time.json")),
    "preview-time": lambda: preview_time(_report("preview_time")["previews"]),
}


def main(names: Sequence[str] = tuple(TABLES)) -> None:
    for name in names:
        print(f"{name}\n\n{TABLES[name]()}\n")


if __name__ == "__main__":
    main()
