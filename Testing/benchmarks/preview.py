"""What a preview is worth: Dice of the whole volume from a few strokes on one slice or three, and seconds.

    python Testing/benchmarks/preview.py --data DIR --set LA_half --cases 12 --fine-tuned-cases 3
    python Testing/benchmarks/preview.py --table

Strokes are simulated (:mod:`simulated_strokes`) on cases of the list ``val``, and each case is previewed from its own
strokes alone, by the variants of :data:`VARIANTS`. ``fine-tuned, N steps`` are networks trained on the same strokes of
the same volume (``--labeled-part painted``), which then segment it. Dice is the mean over structures, then cases.
Seconds are processor time of one thread, libraries not counted: ``features`` the first time a volume is previewed,
``spread`` after every further stroke, ``trained`` for training and segmenting.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tables
import torch
from common import add_common_options, add_data_options, data_set, exit_after, image, label, machine, parser_of, split
from results_file import Run, add_run, is_finished, read_runs
from scipy.optimize import minimize
from simulated_strokes import simulated_strokes

from contrastiveseg.checkpoints.header import digest
from contrastiveseg.checkpoints.starters import checkpoint_path
from contrastiveseg.descriptions import FinetuneJob, SegmentJob
from contrastiveseg.jobs.run import run
from contrastiveseg.previewing import spreading
from contrastiveseg.previewing.classifier import LinearClassifier
from contrastiveseg.previewing.computing import feature_maps, open_network
from contrastiveseg.previewing.feature_maps import FeatureMaps
from contrastiveseg.previewing.strokes import Strokes
from contrastiveseg.segmentation.restoring import restore
from contrastiveseg.volumes.declared_labels import declared_in
from contrastiveseg.volumes.orientation import canonical_axes
from contrastiveseg.volumes.reading import read_labels, read_volume
from contrastiveseg.volumes.writing import write_labels

STARTER, MACL = "starter:synthetic-labels-3d-tiny", "starter:macl-3d-tiny"
#: The value of painted background.
_BACKGROUND = 255


def _lda(features: np.ndarray, classes: np.ndarray, shares: np.ndarray, count: int, penalty: float) -> LinearClassifier:
    """Linear discriminant analysis with the penalty on the covariance's diagonal."""
    share = shares / shares.sum()
    centers = np.stack([np.average(features[classes == c], 0, share[classes == c]) for c in range(count)])
    rest = features - centers[classes]
    covariance = (rest * share[:, None]).T @ rest + penalty * np.eye(features.shape[1])
    weights = np.linalg.solve(covariance, centers.T).T
    priors = np.log([share[classes == c].sum() for c in range(count)])
    return LinearClassifier(weights, priors - (weights * centers).sum(1) / 2)


def _logistic(
    features: np.ndarray, classes: np.ndarray, shares: np.ndarray, count: int, penalty: float
) -> LinearClassifier:
    """Multinomial logistic regression, L2, by L-BFGS."""
    share, wanted = shares / shares.sum(), np.eye(count)[classes]
    split_at = count * features.shape[1]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = values[:split_at].reshape(count, -1), values[split_at:]
        scores = features @ weights.T + bias
        scores -= scores.max(1, keepdims=True)
        soft = np.exp(scores)
        soft /= soft.sum(1, keepdims=True)
        off = (soft - wanted) * share[:, None]
        value = (
            -(share * np.log(soft[np.arange(len(classes)), classes] + 1e-12)).sum() + penalty / 2 * (weights**2).sum()
        )
        return value, np.concatenate([(off.T @ features + penalty * weights).ravel(), off.sum(0)])

    start = np.zeros(split_at + count)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    return LinearClassifier(found[:split_at].reshape(count, -1), found[split_at:])


def _prototypes(
    features: np.ndarray, classes: np.ndarray, shares: np.ndarray, count: int, penalty: float
) -> LinearClassifier:
    """The direction of each class's mean: the largest cosine wins, wherever a voxel's features are long."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centers = np.stack([np.average(unit[classes == c], 0, shares[classes == c]) for c in range(count)])
    return LinearClassifier(centers / np.linalg.norm(centers, axis=1, keepdims=True), np.zeros(count))


def _chosen(features: FeatureMaps, groups: Sequence[int]) -> FeatureMaps:
    """Those of the maps alone."""
    kept = [group in groups for group in features.groups]
    channels = np.repeat(kept, [len(one) for one in features.maps])
    return replace(
        features,
        maps=tuple(one for one, keep in zip(features.maps, kept, strict=True) if keep),
        groups=tuple(group for group in features.groups if group in groups),
        mean=features.mean[channels],
        deviation=features.deviation[channels],
    )


#: Name -> checkpoint, groups of maps (the last is the image), and what is put in place of names in ``spreading``.
VARIANTS: dict[str, tuple[str, Sequence[int], dict[str, Any]]] = {
    "preview": (STARTER, (0, 1, 2, 3), {}),
    "no background painted": (STARTER, (0, 1, 2, 3), {}),
    "no voxels drawn as background": (STARTER, (0, 1, 2, 3), {"SHARE": 1e-9}),
    "no image": (STARTER, (0, 1, 2), {}),
    "deepest level and image": (STARTER, (0, 3), {}),
    "finest level and image": (STARTER, (2, 3), {}),
    "image alone": (STARTER, (3,), {}),
    "MACL starter": (MACL, (0, 1, 2, 3), {}),
    "discriminant analysis": (STARTER, (0, 1, 2, 3), {"fit": _lda}),
    "logistic regression": (STARTER, (0, 1, 2, 3), {"fit": _logistic, "PENALTY": 0.01}),
    "prototypes": (STARTER, (0, 1, 2, 3), {"fit": _prototypes}),
}


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    if not options.table:
        _benchmark(options)
    print(tables.preview(read_runs(options.output)))


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_data_options(parser)
    add_common_options(parser, "preview.json")
    parser.add_argument("--cases", type=int, default=12, help="of the list val, the first (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="of strokes (default: %(default)s)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--fine-tuned-cases", type=int, default=0, help="also fine-tune on so many (default: none)")
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 100], help="of it (default: 10 100)")
    parser.add_argument("--table", action="store_true", help="only print the table of the results file")
    return parser.parse_args()


def _benchmark(options: argparse.Namespace) -> None:
    folder = data_set(options)
    cases = split(folder, "val")[: options.cases]
    tasks: list[tuple[Run, Callable[[Run], list[dict[str, float]]]]] = []
    for slices in (1, 3):
        for seed in range(options.seeds):
            wanted: Run = {"set": options.set, "slices": slices, "seed": seed}
            for name in options.variants:
                tasks.append((wanted | {"variant": name, "cases": len(cases)}, _previewer(folder, cases)))
    few = cases[: options.fine_tuned_cases]
    for steps in options.steps if few else ():
        wanted = {
            "set": options.set,
            "slices": 3,
            "seed": 0,
            "cases": len(few),
            "variant": f"fine-tuned, {steps} steps",
        }
        tasks.append((wanted, lambda wanted, steps=steps: [_fine_tuned(folder, case, wanted, steps) for case in few]))
        tasks.append((wanted | {"variant": "preview"}, _previewer(folder, few)))
    for wanted, measure in tasks:
        if not is_finished(options.output, wanted):
            print(*wanted.values(), file=sys.stderr, flush=True)
            found = measure(wanted)
            means = {key: statistics.fmean(one[key] for one in found) for key in found[0]}
            add_run(options.output, wanted | means | {"machine": machine(options.threads)})


def _previewer(folder: Path, cases: Sequence[str]) -> Callable[[Run], list[dict[str, float]]]:
    return lambda wanted: [_previewed(folder, case, wanted) for case in cases]


def _previewed(folder: Path, case: str, wanted: Run) -> dict[str, float]:
    checkpoint, groups, replaced = VARIANTS[wanted["variant"]]
    features, seconds = _features(folder, case, checkpoint)
    labels, strokes = _painted(folder, case, wanted)
    if wanted["variant"] == "no background painted":
        strokes = np.where(strokes == 0, -1, strokes)
    voxels = np.argwhere(strokes >= 0)
    values = tuple(int(v) for v in np.unique(strokes) if v > 0)
    classes = np.searchsorted((0, *values), strokes[strokes >= 0])
    start = time.process_time()
    with _replacing(replaced):
        scores = spreading.class_scores(_chosen(features, groups), Strokes(voxels, classes, values, labels.shape))
    found = np.array((0, *values))[restore(scores, labels.shape).classes]
    return {"dice": _dice(found, labels), "features": seconds, "spread": time.process_time() - start}


@contextmanager
def _replacing(names: dict[str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, value in names.items():
            stack.enter_context(mock.patch.object(spreading, name, value))
        yield


_KNOWN: dict[tuple[str, str], tuple[FeatureMaps, float]] = {}


def _features(folder: Path, case: str, checkpoint: str) -> tuple[FeatureMaps, float]:
    """A case's features and the seconds that they took, computed once."""
    if (case, checkpoint) not in _KNOWN:
        path = checkpoint_path(checkpoint)
        network = open_network(str(path), digest(path), 1, "cpu", "auto")
        volume = read_volume(image(folder, case))
        start = time.process_time()
        found = feature_maps(network, volume, lambda: False)
        _KNOWN[case, checkpoint] = found, time.process_time() - start
    return _KNOWN[case, checkpoint]


def _painted(folder: Path, case: str, wanted: Run) -> tuple[np.ndarray, np.ndarray]:
    """The reference and the strokes (z, y, x), both in canonical orientation."""
    reference = read_labels(label(folder, case))
    labels = np.ascontiguousarray(canonical_axes(reference.geometry).apply(reference.array))
    return labels, simulated_strokes(labels, wanted["slices"], wanted["seed"])


def _fine_tuned(folder: Path, case: str, wanted: Run, steps: int) -> dict[str, float]:
    """A network trained on the strokes of one volume, which segments that volume."""
    labels, strokes = _painted(folder, case, wanted)
    geometry = read_labels(label(folder, case)).geometry
    axes = canonical_axes(geometry)
    given = np.where(strokes < 0, 0, np.where(strokes == 0, _BACKGROUND, strokes)).astype(np.uint8)
    names = {**declared_in(folder / "dataset.json").names, _BACKGROUND: "background"}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_labels(work / "strokes.nii.gz", np.ascontiguousarray(axes.undo(given)), geometry)
        entry = {"image": str(image(folder, case)), "label": str(work / "strokes.nii.gz"), "labeled_part": "painted"}
        (work / "list.json").write_text(json.dumps([entry]))
        table = [{"value": value, "name": name} for value, name in names.items() if value]
        (work / "table.json").write_text(json.dumps(table))
        checkpoint, start = str(work / "trained.safetensors"), time.process_time()
        run(
            FinetuneJob(
                checkpoint=STARTER,
                images=(str(work / "list.json"),),
                label_table=str(work / "table.json"),
                output=checkpoint,
                steps=steps,
                seed=wanted["seed"],
                device="cpu",
            )
        )
        output = work / "segmented.nii.gz"
        run(SegmentJob(checkpoint=checkpoint, input=(entry["image"],), output=str(output), pieces="all", device="cpu"))
        seconds = time.process_time() - start
        return {"dice": _dice(axes.apply(read_labels(output).array), labels), "trained": seconds}


def _dice(found: np.ndarray, labels: np.ndarray) -> float:
    return statistics.fmean(
        2
        * np.count_nonzero((found == v) & (labels == v))
        / (np.count_nonzero(found == v) + np.count_nonzero(labels == v))
        for v in np.unique(labels)
        if v > 0
    )


if __name__ == "__main__":
    exit_after(main)
