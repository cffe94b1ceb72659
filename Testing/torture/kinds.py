"""What is killed: each kind of job with the command that begins it, the one that goes on, and what must come of it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.numpy import load_file

from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.descriptions import EvaluateJob, FinetuneJob, Job, RankJob, SegmentJob
from contrastiveseg.events import Event, Log
from contrastiveseg.serialization import to_json

_COMMON = {"threads": 1, "precision": "32"}


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
        begin, again: do the job with its results in a folder; ``again`` goes on with one that was killed.
        whole: reads a result file as what must be equal to the uninterrupted run's.
        sound: the same of what may lie there before the end, when a checkpoint has no scores yet.
    """

    name: str
    begin: Callable[[Path], int]
    again: Callable[[Path], int]
    whole: Callable[[Path], object] = Path.read_bytes
    sound: Callable[[Path], object] = Path.read_bytes


def kinds(data: Path, model: Path) -> list[Kind]:
    """All kinds, on the data set and scans in ``data`` and the segmenter ``model``."""

    def train(folder: Path) -> FinetuneJob:
        return FinetuneJob(
            checkpoint="none",
            images=(str(data / "set"),),
            output=str(folder / "out.safetensors"),
            validation="1",
            steps=8,
            resume="auto",
            **_COMMON,
        )

    def prepare(folder: Path) -> FinetuneJob:
        return replace(train(folder), images=(str(data / "many"),), steps=1, validation="none")

    def segment(folder: Path) -> SegmentJob:
        output = str(folder / "labels")
        return SegmentJob(checkpoint=str(model), input=(str(data / "scans"),), output=output, continue_=True, **_COMMON)

    def rank(folder: Path) -> RankJob:
        output = str(folder / "rank.json")
        return RankJob(checkpoint=str(model), input=(str(data / "scans"),), output=output, overwrite=True, **_COMMON)

    def evaluate(folder: Path) -> EvaluateJob:
        labels, output = str(data / "set" / "labelsTr"), str(folder / "scores.json")
        return EvaluateJob(
            predictions=labels, references=labels, output=output, csv=str(folder / "scores.csv"), overwrite=True
        )

    def done(job: Callable[[Path], Job]) -> Callable[[Path], int]:
        return lambda folder: _do(job(folder))

    return [
        Kind("train", done(train), done(train), _trained, _weights),
        Kind("pre-process", done(prepare), done(prepare), _trained, _weights),
        Kind("segment", done(segment), done(segment)),
        Kind("rank", done(rank), done(rank)),
        Kind("evaluate", done(evaluate), done(evaluate)),
        Kind("worker", lambda folder: _worker(segment(folder)), done(segment)),
    ]


def make_data(folder: Path) -> int:
    """The data sets ``set`` (4 cases) and ``many`` (12), and ``scans`` in three formats; returns an exit code."""
    import SimpleITK as sitk

    from contrastiveseg.synthetic.dataset import write_dataset
    from contrastiveseg.synthetic.settings import SyntheticSettings

    small = SyntheticSettings(size=(12, 16, 16), spacing=(20.0, 20.0, 22.0))
    write_dataset(folder / "set", 4, 0, small)
    write_dataset(folder / "many", 12, 0, small)
    (folder / "scans").mkdir()
    for number, image in enumerate(sorted((folder / "many" / "imagesTr").iterdir())[:9]):
        ending = (".nii.gz", ".nrrd", ".mha")[number % 3]
        sitk.WriteImage(sitk.ReadImage(str(image)), str(folder / "scans" / f"scan{number}{ending}"))
    return 0


def make_model(data: Path, model: Path) -> int:
    job = FinetuneJob(checkpoint="none", images=(str(data / "set"),), output=str(model), steps=4, **_COMMON)
    return _do(job)


def _do(job: Job) -> int:
    """Run ``job`` as the terminal does, its resume file written after every step."""
    from contrastiveseg.jobs.run import run
    from contrastiveseg.training import setup

    setup.Run = functools.partial(setup.Run, save_seconds=0.0)  # type: ignore[misc]

    def emit(event: Event) -> None:
        if isinstance(event, Log):
            print(event.level, event.text, flush=True)

    if isinstance(job, FinetuneJob) and Path(job.output).exists() and not Path(f"{job.output}.resume").exists():
        # It was killed after its end; a finished training is refused, so that it is done once more.
        job = replace(job, overwrite=True)
    run(job, emit)
    return 0


def _worker(job: SegmentJob) -> int:
    """A worker that gets ``job`` on its stdin, which stays open."""
    from contrastiveseg.cli import main

    read, write = os.pipe()
    request = {"id": "1", "job": {"kind": job.kind, **to_json(job)}}
    os.write(write, (json.dumps(request) + "\n").encode())
    os.dup2(read, 0)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    return main(["worker"])


def _trained(path: Path) -> object:
    """A checkpoint's weights and what its card says but for the time; a curve without seconds."""
    if path.suffix == ".safetensors":
        card = to_json(read_card(path))
        for name in ("created", "minutes"):
            del card["provenance"][name]
        return card, _weights(path)
    return [
        {name: value for name, value in json.loads(line).items() if name != "seconds"}
        for line in path.read_text().splitlines()
    ]


def _weights(path: Path) -> object:
    return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in load_file(path).items()}


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
