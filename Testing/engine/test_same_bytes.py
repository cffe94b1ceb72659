"""The same data, seed and options on the same machine give the same files, wherever the data lie.

Of a checkpoint the date and the minutes are left out of the comparison.
"""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.checkpoints.header import CARD_KEY
from contrastiveseg.descriptions import FinetuneJob, PretrainJob, SegmentJob
from contrastiveseg.jobs.run import run

COMMON = {"threads": 1, "precision": "32"}


def compared(checkpoint: Path) -> tuple[dict, bytes]:
    """The header without date and minutes, and all bytes behind it."""
    content = checkpoint.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    card = json.loads(header["__metadata__"][CARD_KEY])
    for name in ("created", "minutes"):
        del card["provenance"][name]
    header["__metadata__"][CARD_KEY] = card
    return header, content[8 + length :]


@pytest.fixture
def places(dataset, tmp_path) -> tuple[Path, Path]:
    """The data set in two places."""
    found = tmp_path / "here", tmp_path / "elsewhere" / "deep"
    for place in found:
        shutil.copytree(dataset, place / "data")
    return found


def trained(job: type, place: Path, **more) -> tuple[dict, bytes]:
    output = place / "out.safetensors"
    run(job(images=(str(place / "data"),), output=str(output), seed=3, **COMMON, **more))
    return compared(output)


@pytest.mark.parametrize("method", ["ideal", "macl"])
def test_pre_training(places, method):
    one, two = (trained(PretrainJob, place, method=method, steps=2) for place in places)
    assert one == two


@pytest.mark.parametrize("method", ["supervised", "mean-teacher"])
def test_fine_tuning(places, method, pretrained):
    given = {"checkpoint": str(pretrained), "method": method, "steps": 2, "validation": "1"}
    one, two = (trained(FinetuneJob, place, **given) for place in places)
    assert one == two


def test_another_seed_gives_other_weights(places):
    here, there = places
    one = trained(PretrainJob, here, steps=1)
    output = there / "out.safetensors"
    run(PretrainJob(images=(str(there / "data"),), output=str(output), seed=4, steps=1, **COMMON))
    assert one[1] != compared(output)[1]


def test_segmenting(sharp, tmp_path):
    (tmp_path / "scans").mkdir()
    for seed, ending in enumerate((".nii.gz", ".nrrd", ".mha")):
        array = np.random.default_rng(seed).integers(0, 200, (12, 16, 16)).astype(np.int16)
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((20.0, 20.0, 22.0))
        sitk.WriteImage(image, str(tmp_path / "scans" / f"scan{seed}{ending}"))
    for place in ("one", "two"):
        maps = {name: str(tmp_path / place / name) for name in ("output", "probabilities", "uncertainty")}
        run(SegmentJob(checkpoint=str(sharp), input=(str(tmp_path / "scans"),), **maps, **COMMON))
    written = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(written) == 9
    for path in written:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path
