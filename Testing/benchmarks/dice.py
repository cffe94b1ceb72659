"""What pre-training and unlabeled volumes are worth: Dice on held-out cases after fine-tuning on few labels.

    python Testing/benchmarks/dice.py --data DIR --set LA_half --labeled labelled_5 --steps 200 --pretrain-steps 300 \
        --rows scratch,ideal,starter,scratch+bcp,ideal+bcp --starter CHECKPOINT
    python Testing/benchmarks/dice.py --data DIR --set LA_half --minutes 2 --resolution auto --rows scratch,starter ...
    python Testing/benchmarks/dice.py --table

A row is a start, and behind a plus sign the fine-tuning method (supervised where none is named). Starts: ``scratch``;
``starter``; the name of a pre-training method (pre-trained on all train cases, without their labels; with
``--pretrain-labels``, those that can also learn from the labels that fine-tuning gets). Methods that use unlabeled
volumes get the other train cases, without their labels. ``all`` is from scratch with the labels of all train
cases. Either part may be followed by settings of the method, as in ``ideal+bcp:ramp=1:box=0.5``. All rows have the same
fine-tuning steps, cases and seeds; the cases of the list ``val`` are segmented and scored on their own grids by the
jobs that users run, with all pieces kept (what leaving out islands is worth: pieces_dice.py). Finished runs are in the
results file and are not run again.

``--minutes`` are minutes of two cores, counted as processor time (four of it are two minutes), so that what else the
machine does takes nothing from the budget; resolution and patches are chosen as for those minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from common import (
    RESULTS,
    add_common_options,
    add_data_options,
    add_training_options,
    counting_processor_time,
    data_set,
    exit_after,
    image,
    label,
    machine,
    parser_of,
    score,
    split,
)
from published import STARTERS
from results_file import Run, add_run, is_finished, read_runs
from tables import markdown, spread

from contrastiveseg import events
from contrastiveseg.checkpoints.header import digest, read_card
from contrastiveseg.descriptions import FinetuneJob, PretrainJob, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.jobs.run import run
from contrastiveseg.methods.registry import find_method
from contrastiveseg.planning.plan import millimeters
from contrastiveseg.serialization import key_value, to_json

NAMES = {
    "scratch": "From scratch",
    "all": "From scratch, all train labels",
    "starter": "Starter",
    "nnunet": "nnU-Net",
    "nnunet-mirror": "nnU-Net, mirrored",
}

#: Names of starters by the first digits of their SHA-256, as the runs note them.
_STARTERS = {start: name for name, start in STARTERS.items()}


class StageClock:
    """An ``Emit`` that notes when each stage of a job began."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float, float]] = []

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.StageStarted):
            self.mark(event.name.value)

    def mark(self, name: str) -> None:
        self.marks.append((name, time.process_time(), time.perf_counter()))

    def minutes(self, stage: str) -> dict[str, float]:
        """Processor time of all threads, and time on the clock, from ``stage`` to the stage after it."""
        at = next(i for i, mark in enumerate(self.marks) if mark[0] == stage)
        (_, cpu, wall), (_, cpu_end, wall_end) = self.marks[at : at + 2]
        return {"cpu_minutes": round((cpu_end - cpu) / 60, 3), "wall_minutes": round((wall_end - wall) / 60, 3)}


def main() -> None:
    options = _options()
    if not options.table:
        if options.steps is None and options.minutes is None:
            raise InputError("Give the fine-tuning budget as --steps N or --minutes M.")
        with tempfile.TemporaryDirectory() as temporary:
            _benchmark(options, options.work or Path(temporary))
    files = sorted(RESULTS.glob("*.json")) if options.table else [options.output]
    print(table([r for f in files for r in read_runs(f) if "row" in r]))


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_data_options(parser)
    add_training_options(parser)
    add_common_options(parser, "dice.json")
    parser.add_argument("--rows", default="scratch,ideal", help="START or START+METHOD each (default: %(default)s)")
    parser.add_argument("--dimensions", type=int, choices=(2, 3), default=3, help="of the network (default: 3)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="fine-tuning steps of every row")
    length.add_argument("--minutes", type=float, help="instead: minutes of two cores")
    parser.add_argument("--resolution", default="native", help="auto, native or mm, as of finetune (default: native)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--pretrain-steps", type=int, help="of rows that pre-train")
    budget.add_argument("--pretrain-minutes", type=float, help="instead: as long for every method, whatever it costs")
    parser.add_argument("--share-pretraining", action="store_true", help="one pre-training for all seeds, not one each")
    parser.add_argument("--pretrain-labels", action="store_true", help="for methods that can: those of --labeled")
    parser.add_argument("--starter", type=Path, help="checkpoint of rows that begin with starter")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32", help="of training and segmenting")
    parser.add_argument("--work", type=Path, help="folder to keep checkpoints and preprocessed volumes in")
    parser.add_argument("--table", action="store_true", help="only print the table of all files in results/")
    return parser.parse_args()


def _benchmark(options: argparse.Namespace, work: Path) -> None:
    folder = data_set(options)
    rows = options.rows.split(",")
    for row in rows:
        start, method = _parts(row)
        find_method("finetune", method.name)
        if start.name == "starter" and options.starter is None:
            raise InputError("Row starter needs --starter CHECKPOINT.")
        if start.name not in ("scratch", "all", "starter"):
            _pretraining(options, start)
    for seed in options.seeds:
        for row in rows:
            wanted: Run = {"row": row, "set": options.set, "labeled": options.labeled, "seed": seed}
            wanted |= {"steps": options.steps, "precision": options.precision, "dimensions": options.dimensions}
            if options.minutes:
                wanted["minutes"] = options.minutes
            if options.resolution != "native":
                wanted["resolution"] = options.resolution
            start = _parts(row)[0]
            if start.name not in ("scratch", "all", "starter"):
                wanted |= _pretraining(options, start)
                wanted["pretrain_seed"] = options.seeds[0] if options.share_pretraining else seed
            if start.name == "starter":
                wanted["starter"] = digest(options.starter)[:12]
            if is_finished(options.output, wanted):
                continue
            print(f"{_name(row)}, seed {seed}", file=sys.stderr, flush=True)
            add_run(
                options.output, wanted | _measure(options, folder, work, wanted) | {"machine": machine(options.threads)}
            )
            _check_plans([r for r in read_runs(options.output) if _same_task(r, wanted) and "plan" in r])


def _pretraining(options: argparse.Namespace, method: MethodChoice) -> dict[str, Any]:
    """The budget of rows that pre-train, and the list whose labels they learn from, as a run stores it."""
    if options.pretrain_steps is None and options.pretrain_minutes is None:
        raise InputError("Give the pre-training budget as --pretrain-steps N or --pretrain-minutes M.")
    with_labels = options.pretrain_labels and find_method("pretrain", method.name).uses_labels
    return {
        "pretrain_steps": options.pretrain_steps,
        "pretrain_minutes": options.pretrain_minutes,
        "pretrain_labels": options.labeled if with_labels else None,
    }


def _measure(options: argparse.Namespace, folder: Path, work: Path, wanted: Run) -> dict[str, Any]:
    """Fine-tune, segment and score one run."""
    shared = {"cache": str(work / "cache"), "precision": options.precision, "threads": options.threads, "device": "cpu"}
    pretraining, checkpoint = None, "none"
    start, method = _parts(wanted["row"])
    if start.name == "starter":
        checkpoint = str(options.starter)
    elif start.name not in ("scratch", "all"):
        checkpoint, pretraining = _pretrained(options, folder, work, start, wanted, shared)
    name = f"{options.set}-{options.dimensions}d-{options.labeled}-{_file_name(wanted['row'])}"
    name += f"-{options.minutes:g}min" if options.minutes else f"-{options.steps}"
    name += "-labels" if wanted.get("pretrain_labels") else ""
    name += f"-{wanted['resolution']}" if wanted.get("resolution") else ""
    output = work / f"{name}-{wanted['seed']}.safetensors"
    labeled = split(folder, "train" if start.name == "all" else options.labeled)
    cases = [{"image": str(image(folder, c)), "label": str(label(folder, c))} for c in labeled]
    more: dict[str, Any] = {}
    if find_method("finetune", method.name).uses_unlabeled:
        others = [{"image": str(image(folder, c))} for c in split(folder, "train") if c not in labeled]
        more["unlabeled"] = (_listed(others, work / "unlabeled"),)
    clock = StageClock()
    job = FinetuneJob(
        checkpoint=checkpoint,
        images=(_listed(cases, work),),
        method=method.name,
        settings=method.settings,
        dimensions=options.dimensions,
        resolution=options.resolution,
        output=str(output),
        overwrite=True,
        steps=options.steps,
        # One thread for twice the minutes: the plan is that of two threads.
        minutes=2 * options.minutes / options.threads if options.minutes else None,
        seed=wanted["seed"],
        **more,
        **shared,
    )
    with counting_processor_time(options.threads) if options.minutes else nullcontext():
        trained = run(job, clock)
    val = split(folder, "val")
    with tempfile.TemporaryDirectory() as predictions:
        run(
            SegmentJob(
                checkpoint=str(output),
                input=tuple(str(image(folder, c)) for c in val),
                output=predictions,
                overwrite=True,
                pieces="all",
                **{k: v for k, v in shared.items() if k != "cache"},
            )
        )
        scores = score(Path(predictions), folder, val)
    card = read_card(output)
    plan = {"plan": to_json(card.plan), "network": to_json(card.network)}
    spent = clock.minutes("train") | {"steps": trained.steps}
    return {**scores, "training": spent, "pretraining": pretraining, **plan}


def _pretrained(
    options: argparse.Namespace, folder: Path, work: Path, method: MethodChoice, wanted: Run, shared: dict[str, Any]
) -> tuple[str, dict[str, float]]:
    """The checkpoint pre-trained on the train cases' images, and the minutes it took; made once a seed."""
    seed, labels = wanted["pretrain_seed"], wanted["pretrain_labels"]
    budget = f"{options.pretrain_minutes}min" if options.pretrain_minutes else options.pretrain_steps
    name = f"{options.set}-{options.dimensions}d-{_file_name(method.text)}-{budget}"
    name += f"-{labels}" if labels else ""
    output = work / f"{name}-{options.precision}-{seed}.safetensors"
    minutes_file = output.with_suffix(".minutes.json")
    if not minutes_file.is_file():
        clock = StageClock()
        images = _listed([{"image": str(image(folder, c))} for c in split(folder, "train")], work)
        job = PretrainJob(
            images=(images,),
            labels=tuple(str(label(folder, c)) for c in split(folder, labels)) if labels else (),
            method=method.name,
            settings=method.settings,
            dimensions=options.dimensions,
            output=str(output),
            overwrite=True,
            steps=options.pretrain_steps,
            minutes=options.pretrain_minutes,
            seed=seed,
            **shared,
        )
        run(job, clock)
        clock.mark("end")
        minutes_file.write_text(json.dumps(clock.minutes("train")))
    return str(output), json.loads(minutes_file.read_text())


def _file_name(row: str) -> str:
    """Short, and another one for other settings."""
    bare = "+".join(MethodChoice.read(part).name for part in row.split("+"))
    return bare if ":" not in row else f"{bare}-{hashlib.sha256(row.encode()).hexdigest()[:8]}"


class MethodChoice(NamedTuple):
    """A method's name, the settings in which it differs from its defaults, and both as they were typed."""

    name: str
    settings: dict[str, Any]
    text: str

    @classmethod
    def read(cls, text: str) -> MethodChoice:
        name, *pairs = text.split(":")
        return cls(name, dict(map(key_value, pairs)), text)

    def __str__(self) -> str:
        return self.name + "".join(f", {key} {value}" for key, value in self.settings.items())


def _parts(row: str) -> tuple[MethodChoice, MethodChoice]:
    """Start and fine-tuning method of a row."""
    start, _, method = row.partition("+")
    return MethodChoice.read(start), MethodChoice.read(method or "supervised")


def _name(row: str, starter_digest: str | None = None) -> str:
    """A row in words."""
    start, method = _parts(row)
    words = NAMES.get(start.name) or f"{start} on the train cases"
    words += f" {_STARTERS.get(starter_digest, starter_digest)}" if starter_digest else ""
    return words if method.text == "supervised" else f"{words}, {method}"


def _listed(cases: Sequence[dict[str, str]], work: Path) -> str:
    work.mkdir(parents=True, exist_ok=True)
    path = work / "cases.json"
    path.write_text(json.dumps(cases))
    return str(path)


def _same_task(run: Run, other: Run) -> bool:
    alike = ("set", "labeled", "steps", "minutes", "precision", "dimensions", "resolution")
    return all(run.get(k) == other.get(k) for k in alike)


def _check_plans(runs: Sequence[Run]) -> None:
    """Rows can only be compared if their networks see the same input: say so if they do not."""
    for name in ("patch", "spacing"):
        values = {row["row"]: row["plan"][name] for row in runs}
        if len({tuple(v) for v in values.values()}) > 1:
            print(f"Warning: the rows differ in their {name}: {values}", file=sys.stderr)
    schemes = {row["row"]: [c["normalization"] for c in row["plan"]["channels"]] for row in runs}
    if len({json.dumps(v) for v in schemes.values()}) > 1:
        print(f"Warning: the rows differ in their normalization: {schemes}", file=sys.stderr)
    networks = {row["row"]: row["network"] for row in runs}
    if len({json.dumps(v, sort_keys=True) for v in networks.values()}) > 1:
        print(f"Warning: the rows differ in their network: {networks}", file=sys.stderr)


#: What rows of the table differ in, besides the seed.
_COLUMNS = (
    *("set", "labeled", "row", "steps", "minutes", "dimensions", "resolution"),
    *("pretrain_steps", "pretrain_minutes", "pretrain_labels", "starter"),
)


def table(runs: Sequence[Run]) -> str:
    """Mean ± standard deviation over the seeds, a row for each start and budget.

    "Missed" counts the labels of cases that were missed altogether: they have Dice 0 and no distance.
    """
    groups: dict[tuple, list[Run]] = {}
    for one in runs:
        groups.setdefault(tuple(one.get(k) for k in _COLUMNS), []).append(one)
    columns = ["Set", "Start", "Steps", "Dice", "HD95 (mm)", "ASSD (mm)", "Missed", "Dice by seed"]
    columns += ["Training (CPU / clock min)", "Pre-training (CPU / clock min)"]
    order = {row: place for place, row in enumerate(("scratch", *sorted({r["row"] for r in runs}), "all", *NAMES))}
    rows = []
    for key, members in sorted(groups.items(), key=lambda item: (item[0][:2], order[item[0][2]], str(item[0]))):
        name, labeled, row, steps, _, dimensions, resolution, *pretraining = key
        pretrain_steps, pretrain_minutes, labels, start_digest = pretraining
        members = sorted(members, key=lambda r: r["seed"])
        name += ", 2D" if dimensions == 2 else ""
        name += f", at {millimeters(members[0]['plan']['spacing'])} mm" if resolution else ""
        start = _name(row, start_digest)
        if pretrain_steps or pretrain_minutes:
            start += f" ({pretrain_steps} steps)" if pretrain_steps else f" ({pretrain_minutes:g} min)"
        start += ", with labels" if labels else ""
        means = [
            spread([r[metric] for r in members], digits)
            for metric, digits in (("dice", 3), ("hd95_mm", 2), ("assd_mm", 2))
        ]
        seeds = ", ".join(f"{r['dice']:.3f}" for r in members)
        before = [r["pretraining"] for r in members if r.get("pretraining")]
        times = [_minutes([r["training"] for r in members]), _minutes(before) if before else "-"]
        counted = [r["nnunet"]["iterations"] if "nnunet" in r else r["training"]["steps"] for r in members if not steps]
        done = steps or round(statistics.fmean(counted))
        missed = f"{statistics.fmean(r['empty'] for r in members):g}"
        rows.append([f"{name} {labeled}", start, str(done), *means, missed, seeds, *times])
    return markdown(columns, rows)


def _minutes(spent: Sequence[dict[str, float]]) -> str:
    return " / ".join(f"{statistics.fmean(s[k] for s in spent):.1f}" for k in ("cpu_minutes", "wall_minutes"))


if __name__ == "__main__":
    exit_after(main)
