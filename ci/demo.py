"""The main job from start to end: fine-tune a starter on a few labelled volumes, segment others, score, show.

Beside it the same is trained from scratch for as many steps, so that everyone sees what pre-training was worth here.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ContrastiveSegLib.checkpoints.header import read_card
from ContrastiveSegLib.descriptions import FinetuneJob, Job, SegmentJob, Size
from ContrastiveSegLib.errors import ContrastiveSegError, InputError
from ContrastiveSegLib.evaluation.evaluate import Evaluation, evaluate
from ContrastiveSegLib.evaluation.overlay import overlay_figure
from ContrastiveSegLib.evaluation.tables import write_tables
from ContrastiveSegLib.events import Event
from ContrastiveSegLib.files import stem, write_text
from ContrastiveSegLib.jobs.run import run
from ContrastiveSegLib.networks.registry import build
from ContrastiveSegLib.networks.spec import NetworkSpec
from ContrastiveSegLib.records import to_json
from ContrastiveSegLib.volumes.dataset import CaseFiles, find_cases, label_names
from ContrastiveSegLib.volumes.reading import read_channels, read_labels
from ContrastiveSegLib.volumes.synthetic import SyntheticSettings, write_dataset

ROOT = Path(__file__).resolve().parent.parent
STARTER = ROOT / "Resources" / "Checkpoints" / "starter-macl-3d-tiny.safetensors"
#: Synthetic subjects from here on; the starter was trained on others.
FIRST_SUBJECT = 900_000
MOST_LABELLED = 20
MOST_PICTURES = 8
REPORT = "results.json"
LEGEND = (
    "Dice (1 is perfect) and 95th percentile of the surface distance (0 is perfect), means over the held-out volumes."
)
BEFORE, TUNED, SCRATCH = "before fine-tuning", "fine-tuned", "from scratch"


@dataclass(frozen=True)
class Model:
    """One column of the table; without a checkpoint it could not segment, and ``why`` says so."""

    title: str
    checkpoint: Path | None = None
    evaluation: Evaluation | None = None
    why: str = ""


class Clock:
    """Says each stage as it begins and ends, and keeps its seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"{name} ...", flush=True)
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 1)
        print(f"  {self.seconds[name]:.0f} s", flush=True)


class Watch:
    """The engine's events as a line now and then: enough to see that it lives and when it ends."""

    def __init__(self, every: float = 10.0) -> None:
        self.every, self.last, self.loss = every, time.monotonic(), ""

    def __call__(self, event: Event) -> None:
        if event["event"] == "metric" and event["name"] == "loss":
            self.loss = f", loss {event['value']:.3f}"
        elif event["event"] == "progress":
            if time.monotonic() - self.last < self.every or event["done"] >= event["total"]:
                return
            left = "" if event["seconds_left"] is None else f", {event['seconds_left']:.0f} s left"
            print(f"  {event['done']:.0f} of {event['total']:.0f} {event['unit']}{self.loss}{left}", flush=True)
            self.last = time.monotonic()
        elif event["event"] == "log":
            print(f"  {'Warning: ' if event['level'] == 'warning' else ''}{event['text']}", flush=True)


def main() -> int:
    """Run the demo; returns the exit code, as the command line's."""
    options = _options()
    try:
        return _demo(options)
    except ContrastiveSegError as problem:
        print(f"ci/demo: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "ci/demo",
        description="Fine-tune a starter on a few labelled volumes, segment others, and compare with training from "
        "scratch. Without --images it makes synthetic volumes.",
    )
    parser.add_argument("--images", nargs="+", metavar="PATH", help="your volumes: folders, files or a dataset.json")
    parser.add_argument("--labels", nargs="+", metavar="PATH", help="their label maps, paired by file name")
    parser.add_argument("--output", default="demo-output", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--checkpoint", type=Path, default=STARTER, metavar="CKPT", help="default: the shipped starter")
    parser.add_argument(
        "--minutes", type=float, default=0.7, metavar="M", help="of each training; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of data and training; default: 0")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier demo")
    options = parser.parse_args()
    if options.labels and not options.images:
        parser.error("--labels needs --images")
    return options


def _demo(options: argparse.Namespace) -> int:
    output = Path(options.output)
    if not options.checkpoint.is_file():
        raise InputError(f"There is no checkpoint at {options.checkpoint}. Name one with --checkpoint.")
    card = read_card(options.checkpoint)
    own = (
        find_cases([Path(p) for p in options.images], [Path(p) for p in options.labels or ()]) if options.images else []
    )
    _clear(output, options.overwrite)
    clock = Clock()
    if options.images:
        training, held_out = _split([c for c in own if c.labels])
        names = _names_beside([*options.images, *(options.labels or ())])
    else:
        with clock.stage("Make 8 synthetic volumes"):
            write_dataset(output / "data", 8, FIRST_SUBJECT + 1000 * options.seed, SyntheticSettings())
        cases = find_cases([output / "data"])
        training, held_out = cases[:3], cases[3:]
        names = label_names(output / "data" / "dataset.json")
    print(f"{len(training)} labelled volumes to train on, {len(held_out)} held out to score.")
    listed = _write_list(output / "training", training, names)
    waiting = _write_list(output / "held-out", held_out, {})
    references = output / "references"
    references.mkdir()
    for case in held_out:
        assert case.labels is not None
        _copy_labels(case, references)

    models = output / "models"
    tuned = FinetuneJob(
        images=(str(listed),),
        checkpoint=str(options.checkpoint),
        output=str(models / "fine-tuned.safetensors"),
        minutes=options.minutes,
        seed=options.seed,
    )
    with clock.stage(f"Fine-tune {options.checkpoint.name} for {options.minutes:g} min"):
        steps = _run(tuned)["steps"]
    scratch = dataclasses.replace(
        tuned,
        checkpoint="none",
        output=str(models / "from-scratch.safetensors"),
        dimensions=card.network.dimensions,
        network=card.network.name,
        size=_size(card.network),
        minutes=None,
        steps=steps,
    )
    with clock.stage(f"Train from scratch for the same {steps} steps"):
        _run(scratch)

    columns = [
        Model(
            BEFORE, options.checkpoint if card.kind == "segmenter" else None, why="not possible: knows no labels yet"
        ),
        Model(TUNED, Path(tuned.output)),
        Model(SCRATCH, Path(scratch.output)),
    ]
    labels = {label.value: label.name for label in read_card(Path(tuned.output)).labels}
    for index, model in enumerate(columns):
        if model.checkpoint:
            folder = output / "segmentations" / _folder(model.title)
            with clock.stage(f"Segment {len(held_out)} held-out volumes: {model.title}"):
                _run(SegmentJob(checkpoint=str(model.checkpoint), input=(str(waiting),), output=str(folder)))
            with clock.stage(f"Score: {model.title}"):
                scores = evaluate(folder, references, labels)
            write_tables(scores, output / "evaluation" / _folder(model.title))
            columns[index] = dataclasses.replace(model, evaluation=scores)
    with clock.stage("Draw pictures"):
        _draw(output, held_out[:MOST_PICTURES], labels)
    table = to_markdown(columns)
    told = f"{len(training)} volumes trained on, {len(held_out)} held out, {steps} steps each, seed {options.seed}."
    report = _report(options, columns, steps, clock.seconds)
    write_text(output / "results.md", f"{table}\n{LEGEND}\n{told}\n")
    write_text(output / "results.csv", to_csv(columns))
    write_text(output / REPORT, json.dumps(report, indent=2) + "\n")
    total = sum(clock.seconds.values())
    print(f"\n{table}\n{LEGEND}\n{told} {total:.0f} s in all.\n\n{_verdict(columns)}\n")
    for what, where in (
        ("Pictures to judge", "pictures"),
        ("Label maps", f"segmentations{os.sep}{_folder(TUNED)}"),
        ("The fine-tuned model", f"models{os.sep}{_folder(TUNED)}.safetensors"),
        ("The table", f"results.md, .csv, {REPORT}"),
        ("Every score", "evaluation"),
    ):
        print(f"{what + ':':21} {output / where}")
    return 0


def _clear(output: Path, overwrite: bool) -> None:
    """Make ``output``; an earlier demo's is emptied when asked, anything else is left alone."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if not overwrite:
            raise InputError(f"{output} exists already. Choose another --output, or add --overwrite.")
        if not (output / REPORT).is_file():
            raise InputError(f"{output} is not the output of a demo, so it is not replaced. Choose another --output.")
        shutil.rmtree(output)
    # Written at once, so that also an interrupted demo can be replaced.
    write_text(output / REPORT, json.dumps({"finished": False}) + "\n")


def _split(cases: Sequence[CaseFiles]) -> tuple[list[CaseFiles], list[CaseFiles]]:
    """Training and held-out cases: every third is held out, at most 20 of the others are trained on."""
    if len(cases) < 2:
        raise InputError(f"{len(cases)} labelled volume(s): two are needed, one to train on and one to score.")
    held_out = list(cases[1::3])
    rest = [c for c in cases if c not in held_out]
    return rest[:: -(-len(rest) // MOST_LABELLED)], held_out


def _names_beside(paths: Sequence[str]) -> dict[int, str]:
    """Label names from a dataset.json that is named, lies in a folder named, or beside it; {} without one."""
    for path in map(Path, paths):
        for candidate in (path, path / "dataset.json", path.parent / "dataset.json"):
            if candidate.name == "dataset.json" and candidate.is_file():
                return label_names(candidate)
    return {}


def _write_list(folder: Path, cases: Sequence[CaseFiles], names: dict[int, str]) -> Path:
    """The cases as a file that --images and --input take, with label names where they are known."""
    entries = [
        {"image": [str(p.resolve()) for p in c.images], "label": str(c.labels and c.labels.resolve())} for c in cases
    ]
    path = folder / ("dataset.json" if names else "cases.json")
    content = {"labels": {name: value for value, name in names.items()}, "training": entries} if names else entries
    write_text(path, json.dumps(content, indent=2) + "\n")
    return path


def _copy_labels(case: CaseFiles, folder: Path) -> None:
    """The reference under the case's name, whatever ending the label's own name has."""
    assert case.labels is not None
    shutil.copyfile(case.labels, folder / (case.name + case.labels.name[len(stem(case.labels)) :]))


def _size(spec: NetworkSpec) -> Size:
    """The preset a network is one of, so that its rival is as large."""
    parameters = sum(p.numel() for p in build(spec).parameters())
    return "tiny" if parameters < 2.5e6 else "base" if parameters < 40e6 else "large"


def _folder(title: str) -> str:
    return title.replace(" ", "-")


def _run(job: Job) -> dict:
    return run(job, Watch())


def _draw(output: Path, cases: Sequence[CaseFiles], labels: dict[int, str]) -> None:
    for case in cases:
        volume = read_channels(case.images)
        maps = []
        for title, folder in (
            ("reference", output / "references"),
            (TUNED, output / "segmentations" / _folder(TUNED)),
            (SCRATCH, output / "segmentations" / _folder(SCRATCH)),
        ):
            file = next(p for p in folder.iterdir() if stem(p) == case.name)
            maps.append((title, read_labels(file, volume.geometry)))
        overlay_figure(volume, maps, output / "pictures" / f"{case.name}.png", labels)


def to_markdown(models: Sequence[Model]) -> str:
    """A row a label and a column a model, padded so that it also reads well on a terminal."""
    scored = [(*m.evaluation.summary, m.evaluation.overall) for m in models if m.evaluation]
    rows = [["Label", *(m.title for m in models)]]
    for index, summary in enumerate(scored[-1]):
        cells = [_cell(m.evaluation, index) if m.evaluation else "-" for m in models]
        rows.append([summary.name, *cells])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    padded = [[c.ljust(w) for c, w in zip(r, widths, strict=True)] for r in rows]
    padded.insert(1, ["-" * w for w in widths])
    notes = "".join(f"\n{m.title.capitalize()}: {m.why}.\n" for m in models if m.evaluation is None)
    return "\n".join("| " + " | ".join(r) + " |" for r in padded) + "\n" + notes


def _cell(evaluation: Evaluation, index: int) -> str:
    """Dice and HD95 of a label, or of all; says how often a label was not found at all."""
    summary = (*evaluation.summary, evaluation.overall)[index]
    dice, hd95 = summary.statistics["dice"].mean, summary.statistics["hd95_mm"].mean
    if dice is None:
        return "absent"
    missed = f", missed {summary.n_empty_prediction}x" if summary.n_empty_prediction else ""
    return f"{dice:.3f}, {'no distance' if hd95 is None else f'{hd95:.1f} mm'}{missed}"


def to_csv(models: Sequence[Model]) -> str:
    """One row a model and label; "all labels" last."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "label", "name", "n", "dice", "hd95_mm", "empty_predictions"])
    for model in models:
        if model.evaluation:
            for s in (*model.evaluation.summary, model.evaluation.overall):
                dice, hd95 = s.statistics["dice"], s.statistics["hd95_mm"]
                writer.writerow([model.title, s.label, s.name, dice.n, dice.mean, hd95.mean, s.n_empty_prediction])
    return text.getvalue()


def _report(options: argparse.Namespace, models: Sequence[Model], steps: int, seconds: Mapping[str, float]) -> dict:
    """Everything as JSON types, for programs."""
    return {
        "finished": True,
        "checkpoint": str(options.checkpoint),
        "seed": options.seed,
        "steps": steps,
        "models": [
            {"title": m.title, "evaluation": to_json(m.evaluation) if m.evaluation else None, "why": m.why}
            for m in models
        ],
        "seconds": dict(seconds),
    }


def _verdict(models: Sequence[Model]) -> str:
    """Which of the two trained models is better, in a sentence."""
    dice = {m.title: m.evaluation.overall.statistics["dice"].mean or 0.0 for m in models if m.evaluation}
    gain = dice[TUNED] - dice[SCRATCH]
    if abs(gain) < 0.005:
        return f"Starting from the checkpoint made no difference here (Dice {gain:+.3f})."
    better = "better" if gain > 0 else "worse"
    return f"Starting from the checkpoint was {better} than from scratch here: Dice {gain:+.3f} on average."


if __name__ == "__main__":
    sys.exit(main())
