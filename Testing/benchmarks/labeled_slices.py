"""What labeling some slices is worth: Dice on held-out cases by the number of slices and how they are chosen.

    python Testing/benchmarks/labeled_slices.py --data DIR --set Hippocampus --slices 1,2,5 --volumes 1,2,5
    python Testing/benchmarks/labeled_slices.py --table

The cases of ``--labeled`` are labeled on some slices across ``--direction``, out of those that the structures reach:

- ``random``: drawn at random;
- ``uniform``: evenly spread from the first to the last;
- ``staggered``: evenly spread, and at other heights in each volume;
- ``rank``: the first half staggered; a network is trained on those with the same budget, and ``contrastiveseg rank``
  names the others;
- ``all``: every slice of every volume is labeled;
- ``volumes``: every slice of some volumes, drawn at random, and none of the others (``--volumes``, not ``--slices``).

Each is fine-tuned from the same checkpoint with the same steps, some slices as ``--labeled-part slices``, and the cases
of the list ``val`` are segmented and scored on their own grids with all pieces kept. Finished runs are in the results
file and are not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from common import (
    add_common_options,
    add_data_options,
    add_training_options,
    data_set,
    exit_after,
    image,
    label,
    machine,
    numbers,
    parser_of,
    score,
    split,
)
from results_file import Run, add_run, is_finished, read_runs
from tables import labeled_slices

from contrastiveseg.descriptions import FinetuneJob, RankJob, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.jobs.run import run
from contrastiveseg.segmentation.slices_to_label import phase_of, spread_slices
from contrastiveseg.volumes.declared_labels import declared_in
from contrastiveseg.volumes.orientation import canonical_axes
from contrastiveseg.volumes.painted_slices import AXIS_NAMES
from contrastiveseg.volumes.reading import read_geometry

CHOICES = ("random", "uniform", "staggered", "rank", "all", "volumes")

#: The value of painted background.
_BACKGROUND = 255

#: Labeled slices by case, as indices of the stored array; None for all.
Slices = Mapping[str, tuple[int, ...] | None]


def main() -> None:
    options = _options()
    if not options.table:
        with tempfile.TemporaryDirectory() as temporary:
            _benchmark(options, Path(temporary))
    print(labeled_slices(read_runs(options.output)))


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_data_options(parser)
    add_training_options(parser)
    add_common_options(parser, "labeled_slices.json")
    parser.add_argument("--slices", default="2,4", help="labeled slices of each volume (default: %(default)s)")
    parser.add_argument("--volumes", default="1,2,5", help="volumes labeled whole (default: %(default)s)")
    parser.add_argument("--choices", default=",".join(CHOICES), help="how they are chosen (default: %(default)s)")
    parser.add_argument("--direction", choices=AXIS_NAMES, default="coronal", help="of slices (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=450, help="of each fine-tuning (default: %(default)s)")
    parser.add_argument(
        "--checkpoint", default="starter:synthetic-labels-3d-tiny", help="to start from (default: %(default)s)"
    )
    parser.add_argument("--table", action="store_true", help="only print the table of the results file")
    return parser.parse_args()


def _benchmark(options: argparse.Namespace, work: Path) -> None:
    folder = data_set(options)
    choices = options.choices.split(",")
    counts = {"all": "0", "volumes": options.volumes}
    if not set(choices) <= set(CHOICES):
        raise InputError(f"--choices are of {', '.join(CHOICES)}, not {options.choices}.")
    for seed in options.seeds:
        for choice in choices:
            for count in numbers(counts.get(choice, options.slices)):
                wanted: Run = {"choice": choice, "slices": count, "seed": seed, "steps": options.steps}
                wanted |= {"set": options.set, "labeled": options.labeled, "direction": options.direction}
                wanted["checkpoint"] = options.checkpoint
                if is_finished(options.output, wanted):
                    continue
                print(f"{choice}, {count}, seed {seed}", file=sys.stderr, flush=True)
                scores = _measure(options, folder, work, wanted)
                add_run(options.output, wanted | scores | {"machine": machine(options.threads)})


def _measure(options: argparse.Namespace, folder: Path, work: Path, wanted: Run) -> dict[str, Any]:
    """Choose the slices, fine-tune, segment and score."""
    cases, count, random = split(folder, wanted["labeled"]), wanted["slices"], np.random.default_rng(wanted["seed"])
    reached = {case: _reached(folder, case, wanted["direction"]) for case in cases}
    chosen: Slices
    if wanted["choice"] == "all":
        chosen = dict.fromkeys(cases)
    elif wanted["choice"] == "volumes":
        chosen = dict.fromkeys(sorted(random.choice(cases, count, replace=False)))
    elif wanted["choice"] == "random":
        chosen = {c: tuple(sorted(random.choice(r, min(count, len(r)), replace=False))) for c, r in reached.items()}
    elif wanted["choice"] == "uniform":
        chosen = _evenly(reached, count)
    elif wanted["choice"] == "staggered" or count < 2:
        chosen = _staggered(reached, count)
    else:
        chosen = first = _staggered(reached, count - count // 2)
        more = _ranked(options, folder, work, wanted, first, _trained(options, folder, work, wanted, first), count // 2)
        chosen = {c: tuple({*first[c], *more[c]}) for c in cases}
    output = _trained(options, folder, work, wanted, chosen)
    painted = sum(len(reached[case]) if slices is None else len(slices) for case, slices in chosen.items())
    val = split(folder, "val")
    with tempfile.TemporaryDirectory() as predictions:
        given = tuple(str(image(folder, case)) for case in val)
        run(SegmentJob(checkpoint=output, input=given, output=predictions, pieces="all", **_device(options)))
        return {"painted": painted, **score(Path(predictions), folder, val)}


def _reached(folder: Path, case: str, direction: str) -> np.ndarray:
    """The stored indices of the slices that hold a label."""
    labels, axis = _labels(folder, case), _axis(folder, case, direction)
    return np.flatnonzero((labels > 0).any(tuple(other for other in range(3) if other != axis)))


def _evenly(reached: Mapping[str, np.ndarray], count: int) -> dict[str, tuple[int, ...]]:
    """From the first slice to the last, or, of fewer than three, in the middle of equal parts."""
    if count > 2:
        return {c: tuple(int(r[round(i)]) for i in np.linspace(0, len(r) - 1, count)) for c, r in reached.items()}
    return {c: tuple(int(r[i]) for i in spread_slices(np.ones(len(r)), count)) for c, r in reached.items()}


def _staggered(reached: Mapping[str, np.ndarray], count: int) -> dict[str, tuple[int, ...]]:
    """One from each of ``count`` equal parts, in each volume at another place of its part."""
    return {
        c: tuple(int(r[i]) for i in spread_slices(np.ones(len(r)), count, phase=phase_of(number)))
        for number, (c, r) in enumerate(reached.items())
    }


def _trained(options: argparse.Namespace, folder: Path, work: Path, wanted: Run, slices: Slices) -> str:
    """A network fine-tuned on ``slices``; returns its checkpoint."""
    output = str(work / "trained.safetensors")
    run(
        FinetuneJob(
            checkpoint=wanted["checkpoint"],
            images=(_listed(folder, work, wanted, slices),),
            label_table=_label_table(folder, work),
            output=output,
            overwrite=True,
            steps=wanted["steps"],
            seed=wanted["seed"],
            **_device(options),
        )
    )
    return output


def _ranked(
    options: argparse.Namespace, folder: Path, work: Path, wanted: Run, first: Slices, checkpoint: str, count: int
) -> dict[str, tuple[int, ...]]:
    """The slices that rank names beside those labeled ``first``."""
    given = (_listed(folder, work, wanted, first),)
    direction = wanted["direction"]
    ranked = run(
        RankJob(checkpoint=checkpoint, input=given, direction=direction, slices=count, **_device(options)),
    )
    return {case.name: case.slices for case in ranked.cases}


def _listed(folder: Path, work: Path, wanted: Run, labeled: Slices) -> str:
    """A list of the cases, with label maps of the slices of ``labeled`` only."""
    entries = []
    for case, slices in labeled.items():
        entry = {"image": str(image(folder, case)), "label": str(label(folder, case))}
        if slices is not None:
            axis, labels = _axis(folder, case, wanted["direction"]), _labels(folder, case)
            kept = np.zeros_like(labels)
            place = (slice(None),) * axis + (list(slices),)
            # A dab of background, so that a slice counts in which there is no structure.
            kept[place] = np.where(labels[place] == 0, _BACKGROUND, labels[place])
            painted = sitk.GetImageFromArray(kept)
            painted.CopyInformation(sitk.ReadImage(str(label(folder, case))))
            entry |= {"label": str(work / f"{case}.nii.gz"), "labeled_part": "slices"}
            sitk.WriteImage(painted, entry["label"])
        entries.append(entry)
    path = work / "list.json"
    path.write_text(json.dumps(entries))
    return str(path)


def _label_table(folder: Path, work: Path) -> str:
    """The names of the data set's labels, and of the painted background."""
    names = {**declared_in(folder / "dataset.json").names, _BACKGROUND: "background"}
    path = work / "labels.json"
    path.write_text(json.dumps([{"value": value, "name": name} for value, name in names.items() if value]))
    return str(path)


def _labels(folder: Path, case: str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(label(folder, case))))


def _axis(folder: Path, case: str, direction: str) -> int:
    """The stored axis that slices in ``direction`` are across."""
    return canonical_axes(read_geometry(label(folder, case))[0]).permutation[AXIS_NAMES.index(direction)]


def _device(options: argparse.Namespace) -> dict[str, Any]:
    return {"device": "cpu", "precision": "bf16", "threads": options.threads}


if __name__ == "__main__":
    exit_after(main)
