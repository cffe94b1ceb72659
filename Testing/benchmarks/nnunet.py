"""nnU-Net v2 on the same labeled cases with the same processor time, scored by the same metrics as dice.py's rows.

    python Testing/benchmarks/nnunet.py --data DIR --set Hippocampus --labeled labelled_5 --minutes 5 \
        --venv build/nnunet

nnU-Net lives in an environment of its own, made in --venv with the torch that runs this script. Its plan is its own
(3d_fullres), its inference runs with its default mirroring and without. ``dice.py --table`` shows its rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import torch
from common import (
    add_common_options,
    add_data_options,
    add_training_options,
    data_set,
    exit_after,
    image,
    label,
    machine,
    parser_of,
    score,
    split,
)
from dice import table
from results_file import Run, add_run, is_finished, read_runs

from contrastiveseg.errors import InputError

NAME = "Dataset900_Benchmark"


def main() -> None:
    parser = parser_of(__doc__)
    add_data_options(parser)
    add_training_options(parser)
    add_common_options(parser, "nnunet.json")
    parser.add_argument("--venv", type=Path, required=True, help="folder of nnU-Net's environment; made if missing")
    parser.add_argument(
        "--minutes", type=float, help="processor minutes of training; default: the mean of --like's rows"
    )
    parser.add_argument("--like", type=Path, help="results of dice.py on the same set and labeled cases")
    options = parser.parse_args()
    folder = data_set(options)
    minutes = options.minutes or _minutes_of(options)
    with tempfile.TemporaryDirectory() as temporary:
        _benchmark(options, folder, minutes, Path(temporary))
    print(table(read_runs(options.output)))


def _minutes_of(options: argparse.Namespace) -> float:
    """What dice.py's rows took for fine-tuning on the same labeled cases."""
    runs = read_runs(options.like) if options.like else []
    spent = [
        r["training"]["cpu_minutes"]
        for r in runs
        if (r["set"], r["labeled"]) == (options.set, options.labeled) and "steps" in r
    ]
    if not spent:
        raise InputError("Give the budget as --minutes M, or --like FILE with finished rows of dice.py.")
    return round(statistics.fmean(spent), 2)


def _benchmark(options: argparse.Namespace, folder: Path, minutes: float, work: Path) -> None:
    wanted: Run = {"set": options.set, "labeled": options.labeled, "minutes": minutes}
    names = {"plain": "nnunet", "mirrored": "nnunet-mirror"}
    seeds = [
        seed
        for seed in options.seeds
        if not all(is_finished(options.output, {**wanted, "seed": seed, "row": row}) for row in names.values())
    ]
    if not seeds:
        return
    programs = _environment(options.venv)
    val = split(folder, "val")
    variables = _prepare(folder, split(folder, options.labeled), val, work, programs, options.threads)
    for seed in seeds:
        print(f"nnU-Net, seed {seed}, {minutes} processor minutes", file=sys.stderr, flush=True)
        command = [programs / "python", Path(__file__).with_name("nnunet_trainer.py"), "--seed", seed]
        command += ["--minutes", minutes, "--threads", options.threads, "--preprocessed", work / "preprocessed" / NAME]
        command += ["--images", work / "val", "--output", work / f"seed-{seed}"]
        trained = json.loads(_run(command, variables).splitlines()[-1])
        training = {key: trained.pop(key) for key in ("cpu_minutes", "wall_minutes")}
        for name, row in names.items():
            run = {"row": row, **wanted, "seed": seed, **score(work / f"seed-{seed}" / name, folder, val)}
            run |= {"training": training, "nnunet": trained, "machine": machine(options.threads)}
            if not is_finished(options.output, {**wanted, "seed": seed, "row": row}):
                add_run(options.output, run)


def _environment(folder: Path) -> Path:
    """nnU-Net's virtual environment, made if there is none; returns its folder of programs."""
    programs = folder.resolve() / ("Scripts" if os.name == "nt" else "bin")
    if not any(programs.glob("nnUNetv2_plan_and_preprocess*")):
        venv.create(folder, with_pip=True)
        install = [programs / "python", "-m", "pip", "install", "-q", f"torch=={torch.__version__}", "nnunetv2>=2.5,<3"]
        _run(install, {})
    return programs


def _prepare(
    folder: Path, labeled: list[str], val: list[str], work: Path, programs: Path, threads: int
) -> dict[str, str]:
    """The cases in nnU-Net's layout, planned and preprocessed; returns nnU-Net's environment variables."""
    raw = work / "raw" / NAME
    for name in (raw / "imagesTr", raw / "labelsTr", work / "val", work / "preprocessed", work / "results"):
        name.mkdir(parents=True)
    for case in labeled:
        (raw / "imagesTr" / f"{case}_0000.nii.gz").symlink_to(image(folder, case))
        (raw / "labelsTr" / f"{case}.nii.gz").symlink_to(label(folder, case))
    for case in val:
        (work / "val" / f"{case}_0000.nii.gz").symlink_to(image(folder, case))
    description: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    described = {key: description[key] for key in ("channel_names", "labels", "file_ending")}
    (raw / "dataset.json").write_text(json.dumps(described | {"numTraining": len(labeled)}))
    variables = {f"nnUNet_{name}": str(work / name) for name in ("raw", "preprocessed", "results")}
    variables |= {"nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": str(threads)}
    plan = [programs / "nnUNetv2_plan_and_preprocess", "-d", "900", "-c", "3d_fullres", "-np", "1", "-npfp", "1"]
    _run(plan, variables)
    # Augmentation in the training process itself: its processor time then counts, as it does for our rows.
    return variables | {"nnUNet_n_proc_DA": "0"}


def _run(command: list[Any], variables: dict[str, str]) -> str:
    """The standard output of ``command``.

    Raises:
        InputError: it failed; the end of what it said is in the message.
    """
    done = subprocess.run([str(c) for c in command], env=os.environ | variables, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    exit_after(main)
