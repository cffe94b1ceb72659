"""The task of MONAI Label that Testing/benchmarks/beside_others.py times gives the label map that ours gives."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("monailabel", reason="for comparisons only: contrastiveseg[bench]")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from monailabel_task import SegmentationTask
from segment_time import random_segmenter

from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.open import open_segmenter
from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.planning.plan import Normalization
from contrastiveseg.segmentation.segment import segment
from contrastiveseg.synthetic.dataset import write_dataset
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.volumes.reading import read_labels, read_volume


def test_a_volume_of_one_window_gets_our_label_map_on_its_own_grid(tmp_path):
    settings = SyntheticSettings(size=(16, 24, 32), spacing=(12.0, 14.0, 10.0))
    write_dataset(tmp_path / "data", 1, 0, settings)
    (image,) = (tmp_path / "data" / "imagesTr").iterdir()
    checkpoint = random_segmenter(image, tmp_path / "random.safetensors")
    ours, theirs = tmp_path / "ours.nii.gz", tmp_path / "theirs.nii.gz"
    card, weights = load(checkpoint)
    (channel,) = card.plan.channels
    plan = replace(card.plan, channels=(replace(channel, normalization=Normalization("standard")),))
    save(checkpoint, weights, replace(card, plan=plan))
    files = {"checkpoint": str(checkpoint), "input": (str(image),), "output": str(ours)}
    segment(SegmentJob(**files, precision="32", pieces="all", device="cpu"))
    task = SegmentationTask(*open_segmenter(checkpoint))
    request = {"image": image, "device": "cpu", "logging": "ERROR", "result_extension": ".nii.gz"}
    written, _ = task(request | {"result_dtype": "uint8"})
    shutil.move(written, theirs)
    geometry = read_volume(image).geometry
    found, expected = (read_labels(path, geometry).array for path in (theirs, ours))
    assert len(np.unique(expected)) > 1
    assert (found == expected).mean() > 0.999
