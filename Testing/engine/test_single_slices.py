"""Images of two dimensions: what a network for volumes makes of them is said, and they are cut as they lie."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.starters import starter
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.events import Log
from contrastiveseg.training.run import Budget, Run
from contrastiveseg.training.setup import cases_of
from contrastiveseg.training.start import open_start


@pytest.fixture
def photographs(tmp_path):
    """Two images of two dimensions, with pixels of 2 mm."""
    for name in ("a", "b"):
        image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 200, (48, 64)).astype(np.uint8))
        image.SetSpacing((2.0, 2.0))
        sitk.WriteImage(image, str(tmp_path / f"{name}.mha"))
    return tmp_path


def started(folder, **options):
    """The start of a fine-tuning on ``folder``, and what was warned of."""
    job = FinetuneJob(images=(str(folder),), output="out.safetensors", steps=1, **options)
    told = []
    run = Run(Budget(job.steps), torch.device("cpu"), emit=told.append)
    start = open_start(job, cases_of(job.images), run)
    return start, [event.text for event in told if isinstance(event, Log) and event.level == "warning"]


def test_a_starter_sees_one_slice(photographs):
    start, warnings = started(photographs, checkpoint=str(starter()))
    assert (start.plan.patch[0], start.network.arguments["kernels"][0], warnings) == (1, [1, 3, 3], [])


def test_another_start_for_volumes_is_warned_of(photographs, tmp_path):
    card, weights = load(starter())
    plan = replace(card.plan, channels=(replace(card.plan.channels[0], modality="MR"),), spacing=(2.0, 2.0, 2.0))
    save(tmp_path / "volumes.safetensors", weights, replace(card, plan=plan))
    start, warnings = started(photographs, checkpoint=str(tmp_path / "volumes.safetensors"))
    assert start.plan.patch[0] > 1
    assert any("single slices" in text and "--checkpoint none --dimensions 2" in text for text in warnings)


def test_slices_are_cut_as_they_lie_and_not_across_their_pixels(photographs):
    start, warnings = started(photographs, checkpoint="none", dimensions=2)
    assert (start.plan.slice_axis, start.plan.patch[0], warnings) == (0, 1, [])
    assert start.plan.aspect == (2.0, 2.0)


def test_a_fresh_network_of_three_dimensions_sees_one_slice(photographs):
    start, warnings = started(photographs, checkpoint="none")
    assert (start.plan.patch[0], warnings) == (1, [])
