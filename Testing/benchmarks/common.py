"""What the benchmarks share: where the data are, which machine computes, how runs are scored."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from contrastiveseg.errors import ContrastiveSegError, InputError
from contrastiveseg.evaluation.evaluate import evaluate

RESULTS = Path(__file__).parent / "results"


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """For the options of a script, whose docstring is the help."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def exit_after(main: Callable[[], object]) -> None:
    """Do ``main``, and exit as contrastiveseg does where something given cannot be used: with the reason and a code."""
    try:
        main()
    except ContrastiveSegError as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)


def add_common_options(parser: argparse.ArgumentParser, output: str) -> None:
    """--output and --threads."""
    parser.add_argument("--output", type=Path, default=RESULTS / output, help="JSON file (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """--data and --set: which data set."""
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("CONTRASTIVESEG_DATA"),
        help="folder of SET/imagesTr, labelsTr, splits.json, dataset.json (default: $CONTRASTIVESEG_DATA)",
    )
    parser.add_argument("--set", default="Hippocampus", help="folder below --data (default: %(default)s)")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """--labeled and --seeds: which cases to train on, how often."""
    parser.add_argument("--labeled", default="labelled_5", help="list in splits.json (default: %(default)s)")
    parser.add_argument("--seeds", type=numbers, default=(0, 1, 2), help="such as 0,1,2 (default)")


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(","))


def data_set(options: argparse.Namespace) -> Path:
    """The folder of the chosen data set.

    Raises:
        InputError: --data is missing, or holds no such set.
    """
    if options.data is None:
        raise InputError("Say where the data are: --data DIR, or the environment variable CONTRASTIVESEG_DATA.")
    folder = Path(options.data) / options.set
    if not (folder / "splits.json").is_file():
        raise InputError(f"There is no {folder / 'splits.json'}.")
    return folder.resolve()


def split(folder: Path, name: str) -> list[str]:
    """Case names of one list of the data set's splits.json."""
    lists = json.loads((folder / "splits.json").read_text())
    if name not in lists:
        raise InputError(f"{folder / 'splits.json'} has no list {name!r}. It has {', '.join(lists)}.")
    return list(lists[name])


def image(folder: Path, case: str) -> Path:
    return folder / "imagesTr" / f"{case}.nii.gz"


def label(folder: Path, case: str) -> Path:
    return folder / "labelsTr" / f"{case}.nii.gz"


@contextmanager
def counting_processor_time(threads: int) -> Iterator[None]:
    """The minutes of a training are those of its threads on the processor, whatever else the machine does meanwhile."""

    def seconds() -> float:
        return time.process_time() / threads

    with mock.patch.object(time, "monotonic", seconds):
        yield


def processor_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def machine(threads: int) -> dict[str, Any]:
    """What the numbers depend on besides the code, and which code."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "commit": git.stdout.strip(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = [
            line.partition(":")[2].strip() for line in information.read_text().splitlines() if "model name" in line
        ]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def score(predictions: Path, folder: Path, cases: Sequence[str]) -> dict[str, Any]:
    """Scores of label maps CASE.nii.gz in ``predictions`` on the cases' own grids, means over labels, then cases.

    Distances are means over the cases where they exist; ``empty`` counts the labels that were missed altogether.
    """
    with tempfile.TemporaryDirectory() as temporary:
        for case in cases:
            (Path(temporary) / f"{case}.nii.gz").symlink_to(label(folder, case))
        scores = evaluate(predictions, Path(temporary))
    if scores.missing:
        raise InputError(f"There is no label map of {', '.join(scores.missing)} in {predictions}.")
    means = {metric: scores.overall.statistics[metric].mean for metric in ("dice", "hd95_mm", "assd_mm")}
    by_label = {str(s.label): s.statistics["dice"].mean for s in scores.summary}
    by_case = {case.case: [s.dice for s in case.scores] for case in scores.cases}
    return {**means, "dice_by_label": by_label, "dice_by_case": by_case, "empty": scores.overall.n_empty_prediction}
