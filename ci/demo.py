"""The main job from start to end: fine-tune a starter on a few labeled volumes, segment others, score, show.

Beside it the same is trained from scratch with the same budget, so that everyone sees what pre-training was worth here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from demo_results import BEFORE, LEGEND, SCRATCH, TUNED, Model, folder_of, to_csv, to_markdown, verdict

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.checkpoints.starters import starter
from contrastiveseg.descriptions import FinetuneJob, SegmentJob
from contrastiveseg.errors import ContrastiveSegError, InputError
from contrastiveseg.evaluation.evaluate import evaluate
from contrastiveseg.evaluation.overlay import overlay_figure
from contrastiveseg.evaluation.tables import write_tables
from contrastiveseg.events import Event, Log, Metric, Progress
from contrastiveseg.files import stem, write_text
from contrastiveseg.jobs.run import run
from contrastiveseg.networks.registry import build
from contrastiveseg.planning.presets import size_of
from contrastiveseg.serialization import to_json
from contrastiveseg.synthetic.dataset import write_dataset
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.volumes.dataset import CaseFiles, find_cases
from contrastiveseg.volumes.declared_labels import declared_in, declared_labels
from contrastiveseg.volumes.reading import read_channels, read_labels

ROOT = Path(__file__).resolve().parent.parent
STARTER = starter()
#: Synthetic subjects from here on; the starter was trained on others.
FIRST_SUBJECT = 900_000
#: A region of the body that no starter was trained on.
ANATOMY = SyntheticSettings(region="knee", spacing=(2.5, 2.5, 2.5), contrast="T2", labels=13)
MOST_LABELED = 20
MOST_PICTURES = 8
REPORT = "results.json"


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
        if isinstance(event, Metric) and event.name == "loss":
            self.loss = f", loss {event.value:.3f}"
        elif isinstance(event, Progress):
            if time.monotonic() - self.last < self.every or event.done >= event.total:
                return
            left = "" if event.seconds_left is None else f", {event.seconds_left:.0f} s left"
            print(f"  {event.done:.0f} of {event.total:.0f} {event.unit}{self.loss}{left}", flush=True)
            self.last = time.monotonic()
        elif isinstance(event, Log):
            print(f"  {'Warning: ' if event.level == 'warning' else ''}{event.text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo with ``arguments``, by default the command line's; returns the exit code."""
    options = _options(arguments)
    try:
        return _demo(options)
    except ContrastiveSegError as problem:
        print(f"ci/demo: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        return 130


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "ci/demo",
        description="Fine-tune a starter on a few labeled volumes, segment others, and compare with training from "
        "scratch. Without --images it makes synthetic volumes.",
    )
    parser.add_argument("--images", nargs="+", metavar="PATH", help="your volumes: folders, files or a dataset.json")
    parser.add_argument("--labels", nargs="+", metavar="PATH", help="their label maps, paired by file name")
    parser.add_argument("--output", default="demo-output", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--checkpoint", type=Path, default=STARTER, metavar="CKPT", help="default: the shipped starter")
    parser.add_argument(
        "--minutes", type=float, default=0.9, metavar="M", help="of each training; default: %(default)s"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="as many steps instead, on any machine the same")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of data and training; default: 0")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier demo")
    options = parser.parse_args(arguments)
    if options.labels and not options.images:
        parser.error("--labels needs --images")
    return options


def _demo(options: argparse.Namespace) -> int:
    output, clock = Path(options.output), Clock()
    if not options.checkpoint.is_file():
        raise InputError(f"There is no checkpoint at {options.checkpoint}. Name one with --checkpoint.")
    card = read_card(options.checkpoint)
    if options.images:
        own = find_cases([Path(p) for p in options.images], [Path(p) for p in options.labels or ()])
        training, held_out = _split([c for c in own if c.labels])
        names = declared_labels(Path(path) for path in [*options.images, *(options.labels or ())]).names
        _clear(output, options.overwrite)
    else:
        _clear(output, options.overwrite)
        with clock.stage("Make 8 synthetic volumes"):
            write_dataset(output / "data", 8, FIRST_SUBJECT + 1000 * options.seed, ANATOMY)
        cases, names = find_cases([output / "data"]), declared_in(output / "data" / "dataset.json").names
        training, held_out = cases[:3], cases[3:]
    print(f"{len(training)} labeled volumes to train on, {len(held_out)} held out to score.")
    steps, scratch_steps = _train(options, _write_list(output / "training", training, names), card, clock)
    before = options.checkpoint if card.kind == "segmenter" else None
    models = [
        Model(BEFORE, before, why="not possible, the checkpoint knows no labels yet"),
        Model(TUNED, output / "models" / f"{folder_of(TUNED)}.safetensors"),
        Model(SCRATCH, output / "models" / f"{folder_of(SCRATCH)}.safetensors"),
    ]
    labels = {label.value: label.name for label in read_card(models[1].checkpoint or Path()).labels}
    models = _score(output, models, held_out, labels, clock)
    with clock.stage("Draw pictures"):
        _draw(output, held_out[:MOST_PICTURES], labels)
    table = to_markdown(models)
    made = f"{steps} steps from the checkpoint and {scratch_steps} from scratch"
    told = f"{len(training)} volumes trained on, {len(held_out)} held out, {made}, seed {options.seed}."
    write_text(output / "results.md", f"{table}\n{LEGEND}\n{told}\n{verdict(models)}\n")
    write_text(output / "results.csv", to_csv(models))
    report = {"finished": True, "checkpoint": str(options.checkpoint), "seed": options.seed, "steps": steps}
    report["scratch_steps"] = scratch_steps
    report |= {"models": {m.title: to_json(m.evaluation) if m.evaluation else m.why for m in models}}
    write_text(output / REPORT, json.dumps({**report, "seconds": clock.seconds}, indent=2) + "\n")
    print(f"\n{table}\n{LEGEND}\n{told} {sum(clock.seconds.values()):.0f} s in all.\n{verdict(models)}\n")
    for what, where in (
        ("Pictures to judge", "pictures"),
        ("Label maps", f"segmentations{os.sep}{folder_of(TUNED)}"),
        ("The fine-tuned model", f"models{os.sep}{folder_of(TUNED)}.safetensors"),
        ("The table", f"results.md, results.csv, {REPORT}"),
        ("Every score", "evaluation"),
    ):
        print(f"{what + ':':21} {output / where}")
    return 0


def _train(options: argparse.Namespace, cases: Path, card: Card, clock: Clock) -> tuple[int, int]:
    """Fine-tune, then train from scratch with the same budget; returns the steps that each made."""
    models = Path(options.output) / "models"
    tuned = FinetuneJob(
        images=(str(cases),),
        checkpoint=str(options.checkpoint),
        output=str(models / f"{folder_of(TUNED)}.safetensors"),
        minutes=None if options.steps else options.minutes,
        steps=options.steps,
        seed=options.seed,
    )
    budget = f"{options.steps} steps" if options.steps else f"{options.minutes:g} min"
    with clock.stage(f"Fine-tune {options.checkpoint.name} for {budget}"):
        steps = run(tuned, Watch()).steps
    scratch = dataclasses.replace(
        tuned,
        checkpoint="none",
        output=str(models / f"{folder_of(SCRATCH)}.safetensors"),
        dimensions=card.network.dimensions,
        network=card.network.name,
        size=size_of(build(card.network)),
    )
    with clock.stage(f"Train from scratch for {budget}"):
        return steps, run(scratch, Watch()).steps


def _score(
    output: Path, models: Sequence[Model], held_out: Sequence[CaseFiles], labels: dict[int, str], clock: Clock
) -> list[Model]:
    """Segment the held-out cases with each model that can, and compare with their labels."""
    waiting = _write_list(output / "held-out", held_out, {})
    references = output / "references"
    references.mkdir()
    for case in held_out:
        _copy_labels(case, references)
    scored = []
    for model in models:
        if model.checkpoint:
            folder = output / "segmentations" / folder_of(model.title)
            with clock.stage(f"Segment and score {len(held_out)} held-out volumes, {model.title}"):
                run(SegmentJob(checkpoint=str(model.checkpoint), input=(str(waiting),), output=str(folder)), Watch())
                evaluation = evaluate(folder, references, labels)
            write_tables(evaluation, output / "evaluation" / folder_of(model.title))
            model = dataclasses.replace(model, evaluation=evaluation)
        scored.append(model)
    return scored


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
        raise InputError(f"{len(cases)} labeled volume(s): two are needed, one to train on and one to score.")
    held_out = list(cases[1::3])
    rest = [c for c in cases if c not in held_out]
    return rest[:: -(-len(rest) // MOST_LABELED)], held_out


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


def _draw(output: Path, cases: Sequence[CaseFiles], labels: dict[int, str]) -> None:
    for case in cases:
        volume = read_channels(case.images)
        maps = []
        for title, folder in (
            ("reference", output / "references"),
            (TUNED, output / "segmentations" / folder_of(TUNED)),
            (SCRATCH, output / "segmentations" / folder_of(SCRATCH)),
        ):
            file = next(p for p in folder.iterdir() if stem(p) == case.name)
            maps.append((title, read_labels(file, volume.geometry)))
        overlay_figure(volume, maps, output / "pictures" / f"{case.name}.png", labels)


if __name__ == "__main__":
    sys.exit(main())
