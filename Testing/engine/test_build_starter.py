"""The command that makes starters: one synthesis for every method, a measured budget, and a run that goes on."""

import importlib.util
import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.checkpoints.describe import card_rows
from contrastiveseg.checkpoints.header import read_card

SCRIPT = Path(__file__).resolve().parents[2] / "ci" / "build_starter.py"


@pytest.fixture
def builder(monkeypatch):
    spec = importlib.util.spec_from_file_location("build_starter", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "REGIONS", {"heart": (24, 24, 24), "head": (24, 24, 24)})
    monkeypatch.setattr(module, "TIMED", 3)
    return module


def given(folder: Path, **more) -> Namespace:
    options = {"method": "synthetic-labels", "output": folder / "starter.safetensors", "cases": 2, "minutes": 0.01}
    options |= {"clock_minutes": None, "precision": "32"}
    return Namespace(**{**options, "steps": 2, "threads": 1, "resume": False, "work": folder / "work", **more})


def test_volumes_are_label_maps_with_a_rendering_each(builder, tmp_path):
    builder.write_volumes(tmp_path, "heart", (24, 24, 24), 2)
    labels = [sitk.ReadImage(str(p)) for p in sorted((tmp_path / "labelsTr").iterdir())]
    images = [sitk.ReadImage(str(p)) for p in sorted((tmp_path / "imagesTr").iterdir())]
    assert len(labels) == len(images) == 2
    assert labels[0].GetSpacing() == images[0].GetSpacing() == (1.5, 1.5, 1.5)
    values, voxels = sitk.GetArrayFromImage(labels[0]), sitk.GetArrayFromImage(images[0])
    assert len(np.unique(values)) >= 5
    assert voxels.min() >= 0
    assert voxels.std() == pytest.approx(200, rel=0.1)
    # What is there stays: a killed run goes on with the missing ones.
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nii.gz")}
    builder.write_volumes(tmp_path, "heart", (24, 24, 24), 3)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nii.gz")}
    assert len(after) == 6
    assert before.items() <= after.items()


@pytest.mark.parametrize("method", ["synthetic-labels", "macl"])
def test_a_starter_is_generic_and_says_where_it_comes_from(builder, tmp_path, method):
    options = given(tmp_path, method=method)
    builder.build(options)
    card = read_card(options.output)
    assert (card.method, card.provenance.steps, card.provenance.license) == (method, 2, "Apache-2.0")
    assert card.plan.channels[0].modality == "any"
    assert (card.provenance.case_count, card.provenance.cases) == (4, ())
    assert dict(card_rows(card))["trained on"].startswith("4 volumes, 2 steps, ")


def test_minutes_become_steps_once(builder, tmp_path):
    options = given(tmp_path, steps=None)
    builder.build(options)
    (told,) = (tmp_path / "work").glob("steps-*.json")
    steps = json.loads(told.read_text())["steps"]
    assert read_card(options.output).provenance.steps == steps >= 1
    told.write_text(json.dumps({"steps": 1}))
    builder.build(options)
    assert read_card(options.output).provenance.steps == 1
