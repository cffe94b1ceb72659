"""Makes the sample volumes that ship: three synthetic hearts, the first one labeled, and their thumbnails.

    bash ci/build-sample-data [--output DIR]

Needs slicer-core, which writes the segmentation. Seconds; the same voxels each time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.synthetic.subject import synthesize
from contrastiveseg.volumes.itk import image_on
from contrastiveseg.volumes.volume import LabelMap, Volume

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "ContrastiveSeg" / "Resources" / "SampleData"
SETTINGS = SyntheticSettings(region="heart", size=(32, 56, 64), spacing=(3.0, 2.5, 2.5), labels=2, noise=0.03)
#: Name -> seed. The first is the labeled one.
CASES = {"SyntheticHeart1": 102, "SyntheticHeart2": 103, "SyntheticHeart3": 105}
_CODE = "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~SCT^{}~^^"
_SITE = "~Anatomic codes - DICOM master list~^^~^^"
LABELS = (
    Label(1, "chamber", (205, 62, 62), _CODE.format("21814001^Ventricle") + _SITE),
    Label(2, "chamber wall", (232, 178, 115), _CODE.format("74281007^Myocardium") + _SITE),
)
_ENLARGED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER)
    folder = parser.parse_args().output
    sys.path.insert(0, str(ROOT / "ContrastiveSeg"))
    from ContrastiveSegPanel.mrml.segmentation_files import write_segmentation

    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, seed) in enumerate(CASES.items()):
        volume, labels = synthesize(seed, SETTINGS)
        image = image_on(volume.array[0], volume.geometry)
        sitk.WriteImage(image, str(folder / f"{name}.nrrd"), useCompression=True)
        if number == 0:
            with tempfile.TemporaryDirectory() as temporary:
                label_map = Path(temporary) / "labels.nrrd"
                sitk.WriteImage(image_on(labels.array, labels.geometry), str(label_map))
                write_segmentation(label_map, LABELS, folder / f"{name}.seg.nrrd")
        picture = thumbnail(volume, labels if number == 0 else None)
        sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(folder / f"{name}.png"))


def thumbnail(volume: Volume, labels: LabelMap | None) -> np.ndarray:
    """The slice in the middle as (row, column, RGB), front at the top; outlines in the labels' colors."""
    middle = volume.array.shape[1] // 2
    gray = volume.array[0, middle].astype(float)
    gray = np.kron(255 * np.clip(gray / np.percentile(gray, 99), 0, 1), np.ones((_ENLARGED, _ENLARGED)))
    picture = np.repeat(gray[..., None], 3, axis=2).astype(np.uint8)
    if labels is not None:
        values = np.kron(labels.array[middle], np.ones((_ENLARGED, _ENLARGED), np.uint8))
        across, down = np.diff(values, axis=1, prepend=0) != 0, np.diff(values, axis=0, prepend=0) != 0
        for label in LABELS:
            picture[(across | down) & (values == label.value)] = label.color
    return picture


if __name__ == "__main__":
    main()
