"""Makes the starter checkpoints: anatomy of several regions made from formulas, then pre-training on it.

    bash ci/build-starter [--method NAME] [--minutes M] [--resume]

Volumes are made once: label maps in which every tissue of every organ is told apart, and an image of each, rendered as
the method ``synthetic-labels`` renders its own. That method learns from the label maps, others from the images alone.
``--minutes`` are processor minutes, the same for every method: how many steps that is, is measured first. Killed, it
goes on with the same command and ``--resume``. Deterministic by seed up to the arithmetic of the machine, for a given
number of steps.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk
import torch

from contrastiveseg import events
from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.descriptions import PretrainJob
from contrastiveseg.errors import ContrastiveSegError
from contrastiveseg.files import replacing, write_text
from contrastiveseg.jobs.run import run
from contrastiveseg.methods.registry import find_method
from contrastiveseg.synthetic.label_maps import ShapeSettings, paint_shapes
from contrastiveseg.synthetic.rendering import RenderingSettings, render
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.synthetic.subject import structures
from contrastiveseg.terminal import watcher
from contrastiveseg.volumes.itk import image_on

ROOT = Path(__file__).resolve().parents[1]
STARTERS = ROOT / "ContrastiveSeg" / "contrastiveseg" / "starters"
#: Region -> size in voxels. One data set each: a place means the same anatomy only within a region.
REGIONS = {"heart": (64, 80, 80), "temporal": (56, 64, 64), "torso": (80, 72, 80), "head": (72, 72, 72)}
SEED = 1000
#: Steps that are timed to know how many fit a number of processor minutes.
TIMED = 20
#: What methods need to learn from these volumes, as found when their starters were first made.
SETTINGS = {"macl": {"groups": 3, "dense": "cell", "jitter_invariant": True}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="synthetic-labels", help="such as macl or cvrl (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="checkpoint (default: METHOD-3d-tiny among the package's starters)")
    parser.add_argument("--cases", type=int, default=60, help="synthetic volumes of each region")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=45.0, help="processor minutes (default: %(default)s)")
    budget.add_argument(
        "--clock-minutes", type=float, help="instead: minutes by the clock, on a machine others use too"
    )
    budget.add_argument("--steps", type=int, help="instead: training steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("auto", "32", "bf16"), default="auto")
    parser.add_argument("--resume", action="store_true", help="go on with a killed run")
    parser.add_argument("--work", type=Path, default=ROOT / "demo-output" / "starter", help="folder for the volumes")
    given = parser.parse_args()
    try:
        build(given)
    except ContrastiveSegError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    return 0


def build(given: argparse.Namespace) -> None:
    """Volumes, budget, training."""
    torch.set_num_threads(given.threads)
    folders = [write_volumes(given.work / region, region, size, given.cases) for region, size in REGIONS.items()]
    output = given.output or STARTERS / f"{given.method}-3d-tiny.safetensors"
    steps = given.steps or (None if given.clock_minutes else fitting_steps(given, folders))
    run(job(given, folders, output, steps, resume=given.resume), watcher(as_json=False))
    leave_out_cases(output)


def leave_out_cases(path: Path) -> None:
    """Take the volumes' names out of the card: they are nobody's cases, and fine-tuned checkpoints would list them."""
    card, weights = load(path)
    save(path, weights, replace(card, provenance=replace(card.provenance, cases=())))


def write_volumes(folder: Path, region: str, size: tuple[int, int, int], cases: int) -> str:
    """``cases`` subjects of ``region`` as a data set, those that are missing; returns its folder."""
    settings = SyntheticSettings(region=region, size=size, spacing=(1.5, 1.5, 1.5), variation=1.8, zoom=0.5)
    for seed in range(SEED, SEED + cases):
        image, labels = (folder / part / f"{region}_{seed:05d}.nii.gz" for part in ("imagesTr", "labelsTr"))
        if image.exists():
            continue
        made = structures(seed, settings)
        torch.manual_seed(seed)
        shapes = paint_shapes(torch.from_numpy(made.array).long()[None], ShapeSettings())
        # Around 1000, so that nobody takes them for Hounsfield units.
        voxels = (1000 + 200 * render(shapes, RenderingSettings())[0, 0]).clamp_min(0)
        # The label map goes first: a volume whose image exists is whole.
        for path, array in ((labels, made.array), (image, voxels.short().numpy())):
            with replacing(path) as temporary:
                sitk.WriteImage(image_on(array, made.geometry), str(temporary), useCompression=True)
    return str(folder)


def fitting_steps(given: argparse.Namespace, folders: Sequence[str]) -> int:
    """The steps that fit the processor minutes asked for; measured once, so that a resumed run has the same budget."""
    measured = given.work / f"steps-{given.method}-{given.minutes:g}.json"
    if not measured.exists():
        clock = StepClock()
        with tempfile.TemporaryDirectory() as folder:
            run(job(given, folders, Path(folder) / "timed.safetensors", TIMED, resume=False), clock)
        write_text(measured, json.dumps({"steps": round(60 * given.minutes / clock.seconds())}))
    return int(json.loads(measured.read_text())["steps"])


class StepClock:
    """An ``Emit`` that takes the processor time at the end of every step."""

    def __init__(self) -> None:
        self.marks: dict[int, float] = {}

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Metric):
            self.marks[event.step] = time.process_time()

    def seconds(self) -> float:
        """Of a step, without the first ones, in which everything warms up."""
        first, last = TIMED // 4, max(self.marks)
        return (self.marks[last] - self.marks[first]) / (last - first)


def job(
    given: argparse.Namespace, folders: Sequence[str], output: Path, steps: int | None, resume: bool
) -> PretrainJob:
    """A pre-training of the chosen method on the volumes, for ``steps`` or the minutes by the clock.

    The labels go to methods that learn from them.
    """
    return PretrainJob(
        images=tuple(f"{folder}/imagesTr" for folder in folders),
        labels=tuple(f"{folder}/labelsTr" for folder in folders)
        if find_method("pretrain", given.method).uses_labels
        else (),
        method=given.method,
        output=str(output),
        steps=steps,
        minutes=None if steps else given.clock_minutes,
        precision=given.precision,
        size="tiny",
        generic=True,
        overwrite=not resume,
        resume=resume,
        settings=SETTINGS.get(given.method, {}),
        license="Apache-2.0",
        cache=str(given.work / "cache"),
        threads=given.threads,
    )


if __name__ == "__main__":
    sys.exit(main())
