"""Does the distance from the training tell volumes of another kind from right ones, and does it tell Dice?

    python Testing/benchmarks/distance.py --data DIR --set LA_half --other Hippocampus --seeds 0,1
    python Testing/benchmarks/distance.py --data DIR --set Hippocampus --other LA_half --seeds 0,1
    python Testing/benchmarks/distance.py --data DIR --set LA_half --cost CHECKPOINT
    python Testing/benchmarks/distance.py --table

For each seed a network is fine-tuned from the starter with no case held out (``--minutes`` of two cores, counted as
processor time as in dice.py). Right volumes are those of ``val``. Others are that many of the other set, as many right
ones changed in several ways, and CT and MR of DIR/native. One pass over each gives all candidates for what is compared.
The mean uncertainty in and around the structures is there for its correlation with Dice.

A run is a network and a candidate: distances by kind of volume and the rank correlation with Dice. The shipped one has
what the checkpoint holds; the others have the spread of the training cases alone. What fewer cases tell is computed
from the first ones, with the same network. Finished runs are in the results file and are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from common import (
    add_common_options,
    add_data_options,
    add_training_options,
    counting_processor_time,
    exit_after,
    image,
    label,
    machine,
    parser_of,
    processor_seconds,
    split,
)
from distance_tables import by_kind, candidates, of_few
from results_file import add_run, is_finished, read_runs
from scipy import ndimage
from scipy.stats import spearmanr
from torch import nn

from contrastiveseg.checkpoints.familiarity import Familiarity
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.evaluation.metrics import measure
from contrastiveseg.evaluation.quality import uncertainty_around
from contrastiveseg.jobs.run import run
from contrastiveseg.networks.segmenter import Segmenter
from contrastiveseg.segmentation import predictor as predicting
from contrastiveseg.segmentation.predictor import Prediction, Predictor
from contrastiveseg.segmentation.tile_features import Moments, TileFeatures, moments, over_tiles
from contrastiveseg.serialization import to_json
from contrastiveseg.training import familiarity
from contrastiveseg.volumes.reading import read_labels, read_volume
from contrastiveseg.volumes.volume import Volume

#: Numbers of cases, fewer than there are.
FEWER = (1, 2, 3)
#: Features of a volume, by candidate: a list of numbers a level.
Found = dict[str, list[list[float]]]
#: What the product takes, and the kind of volume that is to be near.
SHIPPED, RIGHT = "all maps (shipped)", "right"


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    if options.cost:
        print(_cost(options))
        return 0
    if not options.table:
        with tempfile.TemporaryDirectory() as temporary:
            _benchmark(options, options.work or Path(temporary))
    runs = read_runs(options.output)
    print(f"{by_kind(runs)}\n\n{candidates(runs)}\n\n{of_few(runs)}")


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_data_options(parser)
    add_training_options(parser)
    add_common_options(parser, "distance.json")
    parser.add_argument("--minutes", type=float, default=0.5, help="of each fine-tuning (default: %(default)s)")
    parser.add_argument("--other", default="LA_half", help="the set of another organ (default: %(default)s)")
    parser.add_argument("--changed", type=int, default=6, help="right volumes that are changed (default: %(default)s)")
    parser.add_argument("--starter", default="starter:synthetic-labels-3d-tiny", help="(default: %(default)s)")
    parser.add_argument("--work", type=Path, help="folder to keep checkpoints in")
    parser.add_argument("--cost", type=Path, help="only print what it takes with this checkpoint of --set")
    parser.add_argument("--table", action="store_true", help="only print the tables of the results file")
    return parser.parse_args()


def _benchmark(options: argparse.Namespace, work: Path) -> None:
    for seed in options.seeds:
        wanted = {"set": options.set, "labeled": options.labeled, "seed": seed, "minutes": options.minutes}
        if is_finished(options.output, {**wanted, "candidate": SHIPPED}):
            continue
        print(f"{options.set}, seed {seed}", file=sys.stderr, flush=True)
        for row in _measured(options, _trained(options, work, seed)):
            add_run(options.output, wanted | row | {"machine": machine(options.threads)})


def _trained(options: argparse.Namespace, work: Path, seed: int) -> Path:
    """The checkpoint of a network fine-tuned on the cases of ``--labeled``."""
    work.mkdir(parents=True, exist_ok=True)
    folder, output = options.data / options.set, work / f"{options.set}-{seed}.safetensors"
    if output.exists():
        return output
    listed = [
        {"image": str(image(folder, case)), "label": str(label(folder, case))}
        for case in split(folder, options.labeled)
    ]
    (work / "cases.json").write_text(json.dumps(listed))
    job = FinetuneJob(
        checkpoint=str(options.starter),
        images=(str(work / "cases.json"),),
        output=str(output),
        minutes=2 * options.minutes / options.threads,
        seed=seed,
        precision="bf16",
        threads=options.threads,
        device="cpu",
        validation="none",
    )
    with counting_processor_time(options.threads):
        run(job)
    return output


def _measured(options: argparse.Namespace, checkpoint: Path) -> Iterator[dict[str, Any]]:
    """A row for each candidate, and one for the uncertainty, that of the shipped one last."""
    folder, other = options.data / options.set, options.data / options.other
    predictor = Predictor.open(checkpoint, "cpu", torch.bfloat16)
    learned = [_looked_at(predictor, read_volume(image(folder, case)))[1] for case in split(folder, options.labeled)]
    found: dict[str, list[Found]] = {RIGHT: []}
    dice, uncertainty = [], []
    names = {entry.value: entry.name for entry in predictor.card.labels}
    for number, case in enumerate(split(folder, "val")):
        volume = read_volume(image(folder, case))
        prediction, features = _looked_at(predictor, volume)
        found[RIGHT].append(features)
        truth = read_labels(label(folder, case), volume.geometry)
        scores = [score.dice for score in measure(prediction.labels, truth, names) if score.dice is not None]
        dice.append(statistics.fmean(scores))
        assert prediction.uncertainty is not None
        uncertainty.append(uncertainty_around(prediction.uncertainty, prediction.labels.array)[0])
        for kind, change in CHANGES.items() if number < options.changed else ():
            array = np.ascontiguousarray(change(volume.array.astype(np.float32)))
            found.setdefault(kind, []).append(_looked_at(predictor, replace(volume, array=array))[1])
    for kind, path in [
        *(("another organ", image(other, case)) for case in split(other, "val")[: options.changed]),
        ("CT of the abdomen", options.data / "native" / "ct_abdomen.nii.gz"),
        ("MR of the brain", options.data / "native" / "mr_brain_t1post.nii.gz"),
    ]:
        found.setdefault(kind, []).append(_looked_at(predictor, read_volume(path))[1])
    dice = [round(score, 4) for score in dice]
    yield {"candidate": "uncertainty", "correlation": _correlation(uncertainty, dice), "dice": dice}
    for candidate in reversed(learned[0]):
        known = predictor.card.familiarity
        if candidate != SHIPPED:
            with mock.patch.object(familiarity, "_USUAL", 0):
                known = familiarity.summarized([one[candidate] for one in learned])
        assert known is not None
        distances = _distances(known, found, candidate)
        correlation = _correlation(distances[RIGHT], dice)
        yield {"candidate": candidate, "correlation": correlation, "distances": distances, "spread": known.spread}
        if candidate == SHIPPED:
            for count in FEWER:
                known = familiarity.summarized([one[candidate] for one in learned[:count]])
                yield {"candidate": candidate, "first": count, "distances": _distances(known, found, candidate)}


def _distances(
    known: Familiarity, found: Mapping[str, Sequence[Found]], candidate: str
) -> dict[str, list[float | None]]:
    """Of each volume, by kind."""
    return {
        kind: [value and round(value, 3) for value in (known.distance(one[candidate]) for one in many)]
        for kind, many in found.items()
    }


def _looked_at(predictor: Predictor, volume: Volume) -> tuple[Prediction, Found]:
    """A volume segmented, and all candidates of it, what the product takes first."""
    maps = TileFeatures()
    with (
        mock.patch.object(predicting, "TileFeatures", return_value=maps),
        _before_norms(predictor.network) as before_norms,
    ):
        prediction = predictor.predict(volume, pieces="all", uncertainty=True)
    levels = maps.levels()
    assert prediction.uncertainty is not None
    prepared = predictor.prepare(volume).numpy()
    return prediction, {
        SHIPPED: levels,
        "the bottleneck alone": levels[:1],
        "the decoder's maps alone": levels[2::2],
        "what the norms take": before_norms(),
        "quantiles of the intensities": [np.quantile(prepared, np.linspace(0.02, 0.98, 25)).tolist()],
        "logarithm of the mean entropy": [[float(np.log(prediction.uncertainty.mean() + 1e-6))]],
    }


def _cost(options: argparse.Namespace) -> str:
    """Processor seconds of the network on the volumes of ``val`` without and with their features, and of the cases'."""
    folder, predictor = options.data / options.set, Predictor.open(options.cost, "cpu", torch.bfloat16)
    val, cases = (
        [predictor.prepare(read_volume(image(folder, case))) for case in split(folder, name)]
        for name in ("val", options.labeled)
    )
    plain, reading = [], []
    for _ in range(5):
        for one in val:
            plain.append(processor_seconds(partial(predictor.logits, one)))
            reading.append(processor_seconds(partial(predictor.logits, one, features=TileFeatures())))
    ratio = statistics.median(after / before for before, after in zip(plain, reading, strict=True))
    whole = sum(processor_seconds(partial(predictor.features, one, 8)) for one in cases)
    size = len(json.dumps(to_json(predictor.card.familiarity)))
    return (
        f"A volume {statistics.median(plain):.3f} s, with its features {ratio:.3f} times that; all "
        f"{len(cases)} cases {whole:.2f} s; {size / 1000:.1f} KB of the card"
    )


@contextmanager
def _before_norms(network: Segmenter) -> Iterator[Callable[[], list[list[float]]]]:
    """Reads what each instance norm takes away: its channels' logarithmic deviations, and means over them."""
    norms = [part for part in network.modules() if isinstance(part, nn.InstanceNorm3d)]
    seen: list[list[Moments]] = [[] for _ in norms]

    def reading(kept: list[Moments]) -> Callable[[nn.Module, Any], None]:
        return lambda norm, given: kept.append(moments(given[0]))

    def levels() -> list[list[float]]:
        made = []
        for mean, deviation in (over_tiles(kept) for kept in seen):
            deviation = np.maximum(deviation, 1e-6)
            made.append([*(mean / deviation).tolist(), *np.log(deviation).tolist()])
        return made

    handles = [norm.register_forward_pre_hook(reading(kept)) for norm, kept in zip(norms, seen, strict=True)]
    try:
        yield levels
    finally:
        for handle in handles:
            handle.remove()


def _correlation(values: Sequence[float | None], dice: Sequence[float]) -> float:
    return round(float(spearmanr(values, dice)[0]), 3)


def _noisy(array: np.ndarray) -> np.ndarray:
    return array + np.random.default_rng(0).normal(0, array.std(), array.shape).astype(np.float32)


#: Kind of volume -> how an array (C, z, y, x) of a right one is changed into it.
CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "upside down": lambda array: array[:, ::-1],
    "back to front": lambda array: array[:, :, ::-1],
    "left to right": lambda array: array[..., ::-1],
    "inverted contrast": lambda array: array.max() + array.min() - array,
    "noise of one standard deviation": _noisy,
    "blurred by 2 voxels": lambda array: ndimage.gaussian_filter(array, (0, 2, 2, 2)),
}


if __name__ == "__main__":
    exit_after(main)
