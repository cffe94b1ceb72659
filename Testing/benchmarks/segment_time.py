"""Seconds from a file to its label map, stage by stage, and what tiles fitted to the volume save over fixed cubes.

    python Testing/benchmarks/segment_time.py --volumes CT.nii.gz MR.nii.gz [--checkpoint SEGMENTER.safetensors]

Each volume: ``contrastiveseg segment --timings`` in a fresh process (median of --repeats), the same again as the later
jobs of a worker, and in this process our tiles against ``monai.inferers.sliding_window_inference`` with cubes of 64 and
96 voxels and with our tile: same network, same preprocessing, same Gaussian. The ratio is of processor time, which
other programs on the machine disturb less. With --labels the Dice of each is printed.

Without --checkpoint a tiny network with random weights and a plan made from the volume is timed: times do not depend on
the weights, but the Dice then says nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from common import add_common_options, exit_after, machine, parser_of
from monai.inferers import sliding_window_inference
from results_file import write_report
from tables import markdown
from torch import Tensor, nn

from contrastiveseg.checkpoints.card import Card, Label
from contrastiveseg.checkpoints.format import save
from contrastiveseg.device import autocast, autocast_dtype
from contrastiveseg.errors import InputError
from contrastiveseg.evaluation.metrics import measure
from contrastiveseg.files import stem
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.segmenter import Segmenter
from contrastiveseg.planning.fingerprint import fingerprint_of, make_plan
from contrastiveseg.planning.patch import PatchRule
from contrastiveseg.planning.presets import choose_network
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.segment import STAGES
from contrastiveseg.segmentation.timings import Timings
from contrastiveseg.training.setup import cases_of
from contrastiveseg.volumes.reading import read_labels, read_volume
from contrastiveseg.volumes.volume import LabelMap

CPU = torch.device("cpu")


class MonaiPredictor(Predictor):
    """A predictor whose windows are MONAI's; everything before and after is the same."""

    window: tuple[int, ...]
    overlap: float

    def logits(self, image: Tensor, *, mirror: bool = False, timings: Timings | None = None, **unused: Any) -> Tensor:
        timings = timings or Timings()

        def network(tiles: Tensor) -> Tensor:
            with timings.of("network"):
                return self.network(tiles)

        start = time.perf_counter()
        with torch.inference_mode(), autocast(self.device, self.dtype):
            logits = sliding_window_inference(image[None], self.window, 1, network, self.overlap, mode="gaussian")
        timings.add("blend", time.perf_counter() - start - timings.seconds["network"])
        return logits[0]


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "segment_time.json")
    parser.add_argument("--volumes", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--labels", type=Path, nargs="+", default=(), help="reference label maps, one a volume, in order"
    )
    parser.add_argument("--checkpoint", type=Path, help="a fine-tuned 3D checkpoint that fits all volumes")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    parser.add_argument(
        "--repeats", type=int, default=3, help="so many runs, of which the median is stored (default: %(default)s)"
    )
    parser.add_argument("--window-repeats", type=int, default=1, help="of the windows side by side")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.labels and len(options.labels) != len(options.volumes):
        raise InputError("--labels takes one label map for each of --volumes.")
    with tempfile.TemporaryDirectory() as temporary:
        cases = [_case(options, index, Path(temporary)) for index in range(len(options.volumes))]
    report = {"machine": machine(options.threads), "precision": options.precision, "volumes": cases}
    write_report(options.output, report)
    print(_tables(cases))


def _case(options: argparse.Namespace, index: int, work: Path) -> dict[str, Any]:
    volume = options.volumes[index]
    print(volume.name, file=sys.stderr, flush=True)
    checkpoint = options.checkpoint or random_segmenter(volume, work / f"random-{index}.safetensors")
    made: dict[str, Any] = {"volume": stem(volume), "seed": 0}
    made["network"] = "checkpoint" if options.checkpoint else "tiny, random weights"
    job: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "input": [str(volume)],
        "output": str(work / f"{index}.nii.gz"),
    }
    job |= {"overwrite": True, "device": "cpu", "precision": options.precision, "threads": options.threads}
    cold = [_cold(job, work / "timings.json") for _ in range(options.repeats)]
    made["cold"] = {key: statistics.median(run[key] for run in cold) for key in cold[0]}
    made["warm"] = warm(job, options.repeats)["seconds"]
    reference = options.labels[index] if options.labels else None
    made["windows"] = _windows(options, checkpoint, volume, reference)
    return made


def random_segmenter(volume: Path, output: Path) -> Path:
    """A checkpoint of a tiny network, two classes, random weights, with the plan that the volume gets."""
    torch.manual_seed(0)
    seen = fingerprint_of(cases_of([str(volume)]))
    spec, voxels = choose_network("unet", "tiny", 3, seen, CPU)
    network = Segmenter(build(spec), 2)
    plan = make_plan(seen, 3, PatchRule(network.backbone.total_stride), voxels)
    save(output, network.state_dict(), Card("segmenter", "supervised", spec, plan, labels=(Label(1, "label 1"),)))
    return output


def _cold(job: dict[str, Any], timings: Path) -> dict[str, float]:
    """Stages of a fresh process, its peak memory, and the seconds from its start to its end."""
    command = [sys.executable, "-m", "contrastiveseg", "segment", "--overwrite", "--timings", timings]
    for key in ("checkpoint", "output", "device", "precision", "threads"):
        command += [f"--{key}", job[key]]
    start = time.perf_counter()
    subprocess.run([str(c) for c in [*command, "--input", *job["input"]]], check=True, stdout=subprocess.DEVNULL)
    process = time.perf_counter() - start
    return {**json.loads(timings.read_text()), "process": round(process, 4)}


def warm(job: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Of one worker process: median "seconds" by stage of the jobs after the first, and "peak_memory" in bytes."""
    requests = [json.dumps({"id": str(n), "job": {"kind": "segment", **job}}) for n in range(repeats + 1)]
    worker = subprocess.Popen(
        [sys.executable, "-m", "contrastiveseg", "worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    results: list[dict[str, Any]] = []
    # The worker cancels what runs when its input closes, so it stays open until the last answer.
    worker.stdin.write("".join(f"{r}\n" for r in requests))
    worker.stdin.flush()
    while len(results) < len(requests):
        event = json.loads(worker.stdout.readline())
        if event["event"] == "error":
            raise InputError(f"The worker failed: {event}")
        if event["event"] == "result":
            results.append(event["value"])
    worker.stdin.close()
    worker.wait()
    stages = {s: statistics.median(r["seconds"][s] for r in results[1:]) for s in results[0]["seconds"]}
    return {"seconds": stages, "peak_memory": results[-1]["peak_memory"]}


def _windows(
    options: argparse.Namespace, checkpoint: Path, volume: Path, reference: Path | None
) -> list[dict[str, Any]]:
    """Our tiles and MONAI's windows side by side: seconds in the network and in blending, voxels computed, Dice."""
    loaded = read_volume(volume)
    truth = read_labels(reference, loaded.geometry) if reference else None
    dtype = autocast_dtype(CPU, options.precision)
    made: list[dict[str, Any]] = []

    def add(name: str, predictor: Predictor) -> None:
        image = predictor.prepare(loaded)
        dice = _dice(predictor.predict(loaded).labels, truth, predictor.card) if truth else None
        seen: list[tuple[int, ...]] = []
        handle = predictor.network.register_forward_pre_hook(_noting(seen))
        runs = []
        for _ in range(options.window_repeats):
            seen.clear()
            timings, start = Timings(), time.process_time()
            predictor.logits(image, timings=timings)
            runs.append({**timings.seconds, "processor": time.process_time() - start})
        handle.remove()
        row: dict[str, Any] = {"windows": name, "tile": seen[0], "count": len(seen)}
        row["computed"] = round(sum(map(prod, seen)) / prod(image.shape[1:]), 2)
        row |= {k: round(statistics.median(r[k] for r in runs), 4) for k in runs[0]}
        row["ratio"] = round(row["processor"] / made[0]["processor"], 2) if made else 1.0
        made.append({**row, "dice": dice})

    ours = Predictor.open(checkpoint, CPU, dtype)
    ours.predict(loaded)  # the first pass pays for allocation and for choosing kernels, which is not to be compared
    add("fitted", ours)
    monai = MonaiPredictor.open(checkpoint, CPU, dtype)
    assert isinstance(monai, MonaiPredictor)
    for window in (made[0]["tile"], (64, 64, 64), (96, 96, 96)):
        for overlap in (0.25, 0.5):
            monai.window, monai.overlap = window, overlap
            add(f"MONAI {'x'.join(map(str, window))}, overlap {overlap}", monai)
    return made


def _dice(labels: LabelMap, truth: LabelMap, card: Card) -> float | None:
    scores = measure(labels, truth, {label.value: label.name for label in card.labels})
    known = [s.dice for s in scores if s.dice is not None]
    return round(statistics.fmean(known), 4) if known else None


def _noting(seen: list[tuple[int, ...]]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda module, inputs: seen.append(tuple(inputs[0].shape[2:]))


def _tables(cases: Sequence[dict[str, Any]]) -> str:
    """Two tables: seconds by stage, and the windows."""
    stages, windows = [], []
    for case in cases:
        for kind in ("cold", "warm"):
            timings = case[kind]
            memory = f"{timings['peak_memory_bytes'] / 2**20:.0f}" if kind == "cold" else "-"
            process = f"{timings['process']:.2f}" if kind == "cold" else "-"
            seconds = [f"{timings[stage]:.2f}" for stage in STAGES]
            stages.append([f"{case['volume']} ({case['network']}), {kind}", *seconds, process, memory])
        for row in case["windows"]:
            dice = "-" if row["dice"] is None else f"{row['dice']:.4f}"
            tile = "x".join(map(str, row["tile"]))
            times = [f"{row[k]:.2f}" for k in ("computed", "network", "blend", "processor", "ratio")]
            windows.append([f"{case['volume']}, {row['windows']}", tile, str(row["count"]), *times, dice])
    first = markdown(["Seconds", *STAGES, "process", "Peak memory (MiB)"], stages)
    columns = ["Windows", "Tile (z, y, x)", "Count", "Voxels computed / in volume", "Network (s)", "Blend (s)"]
    columns += ["Both (CPU s)", "Ratio", "Dice"]
    return f"{first}\n\n{markdown(columns, windows)}"


if __name__ == "__main__":
    exit_after(main)
