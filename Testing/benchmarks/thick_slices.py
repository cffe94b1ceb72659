"""A data set of thick slices, as short-axis heart scans have them, made from one of thin slices.

    python Testing/benchmarks/thick_slices.py --data DIR --set LA_full --average 8 --into WORK
    python Testing/benchmarks/dice.py --data WORK --set LA_full_thick8 --minutes 1 --resolution auto ...
    python Testing/benchmarks/thick_slices.py --data DIR --set LA_full --average 8 --keep 5,9 --into WORK

So many neighboring slices (along the stored z) are averaged into one; what is left over at the upper end is dropped.
Each voxel of a label map takes the value that most of its voxels had. With ``--keep`` each volume then keeps between so
many and so many slices around the middle of its labels, a number drawn with seed 0. With ``--wall`` the voxels that lie
within so many millimeters of the labels are one label more, as thin as a heart's wall.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.ndimage
from common import add_data_options, data_set, exit_after, image, label, numbers, parser_of

from contrastiveseg.volumes.reading import read_labels, read_volume
from contrastiveseg.volumes.volume import Geometry, Volume
from contrastiveseg.volumes.writing import write_image, write_labels


def main() -> None:
    options = _options()
    source = data_set(options)
    kept = f"_{'to'.join(map(str, options.keep))}" if options.keep else ""
    wall = f"_wall{options.wall:g}" if options.wall else ""
    into = options.into / f"{source.name}_thick{options.average}{kept}{wall}"
    make_thick(source, into, options.average, options.keep, options.wall)
    print(into)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_data_options(parser)
    parser.add_argument("--average", type=int, default=8, help="slices that become one (default: %(default)s)")
    parser.add_argument("--keep", type=numbers, help="slices of a volume, such as 5,9 (default: all)")
    parser.add_argument("--wall", type=float, help="thickness in mm of a wall around what is labeled (default: none)")
    parser.add_argument("--into", type=Path, required=True, help="folder that the set's folder is made in")
    return parser.parse_args()


def make_thick(
    source: Path, into: Path, average: int, keep: Sequence[int] | None = None, wall: float | None = None
) -> None:
    """The set in ``source`` with thick slices, as the folder ``into``."""
    random = np.random.default_rng(0)
    for folder in ("imagesTr", "labelsTr"):
        (into / folder).mkdir(parents=True, exist_ok=True)
    for name in ("splits.json", "dataset.json"):
        shutil.copy(source / name, into / name)
    if wall:
        described = json.loads((source / "dataset.json").read_text())
        described["labels"]["wall"] = max(described["labels"].values()) + 1
        (into / "dataset.json").write_text(json.dumps(described, indent=1))
    for path in sorted((source / "imagesTr").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        given, labels = read_volume(path), read_labels(label(source, case)).array
        geometry = thicker(given.geometry, average)
        found = np.unique(labels)[::-1]
        # Of several that are as frequent the highest, so that half a voxel of a structure counts.
        values = found[np.stack([averaged(labels == value, average) for value in found]).argmax(0)].astype(np.uint8)
        if wall:
            distance = scipy.ndimage.distance_transform_edt(values == 0, sampling=geometry.spacing[::-1])
            values[(values == 0) & (distance <= wall)] = described["labels"]["wall"]
        image_of = Volume(np.round(averaged(given.array[0], average))[None].astype(given.array.dtype), geometry)
        labels_of = Volume(values[None], geometry)
        if keep:
            count = min(int(random.integers(keep[0], keep[1] + 1)), len(values))
            middle = np.flatnonzero(values.any((1, 2))).mean() + 0.5
            first = int(np.clip(round(middle - count / 2), 0, len(values) - count))
            box = (slice(first, first + count), *(slice(0, n) for n in values.shape[1:]))
            image_of, labels_of = image_of.cut(box), labels_of.cut(box)
        write_image(image(into, case), image_of.array[0], image_of.geometry)
        write_labels(label(into, case), labels_of.array[0], labels_of.geometry)


def averaged(array: np.ndarray, average: int) -> np.ndarray:
    """(z, y, x) as (z // average, y, x) float32, each slice the mean of ``average``."""
    count = len(array) // average
    return array[: count * average].reshape(count, average, *array.shape[1:]).astype(np.float32).mean(1)


def thicker(geometry: Geometry, average: int) -> Geometry:
    """The grid of :func:`averaged`: its first slice lies in the middle of those that it is made from."""
    x, y, z = geometry.size
    return replace(
        geometry,
        size=(x, y, z // average),
        spacing=(*geometry.spacing[:2], geometry.spacing[2] * average),
        origin=geometry.position([(average - 1) / 2, 0, 0]),
        nifti=None,
    )


if __name__ == "__main__":
    exit_after(main)
