"""The working resolution: coarse where the budget is short, fine where structures are small, native at the end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from test_finetune import job

from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.descriptions import PretrainJob, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.planning.compatibility import incompatibilities
from contrastiveseg.planning.fingerprint import fingerprint_of
from contrastiveseg.planning.resolution import (
    FINE_STEPS,
    FULL_STEPS,
    affordable_patch,
    at_spacing,
    choose_resolution,
    coarser,
    steps_affordable,
)
from contrastiveseg.segmentation.segment import segment
from contrastiveseg.training.finetune import finetune
from contrastiveseg.training.pretrain import pretrain
from contrastiveseg.training.run import Budget, Run
from contrastiveseg.training.start import open_start
from contrastiveseg.volumes.dataset import CaseFiles
from contrastiveseg.volumes.reading import read_channels, read_geometry

TINY = 32 * 64 * 80


def case(folder: Path, radius: float, shape=(64, 64, 64), spacing=(1.0, 1.0, 1.0), name="ball") -> CaseFiles:
    """A noisy volume with a ball of ``radius`` voxels in its middle; ``spacing`` (x, y, z)."""
    grid = np.stack(np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij"))
    ball = (np.sqrt((grid**2).sum(0)) < radius).astype(np.uint8)
    image = np.random.default_rng(0).normal(0, 20, shape) + 200 * ball
    paths = []
    for part, array in (("image", image.astype(np.int16)), ("label", ball)):
        written = sitk.GetImageFromArray(array)
        written.SetSpacing(spacing)
        paths.append(folder / f"{name}-{part}.nii.gz")
        sitk.WriteImage(written, str(paths[-1]))
    return CaseFiles(name, (paths[0],), paths[1])


def chosen(cases, steps: float, wanted: str = "auto", dimensions=3):
    return choose_resolution(wanted, fingerprint_of(cases), dimensions, steps, TINY, cases).spacing


def test_a_short_budget_works_on_coarser_voxels_and_a_longer_one_on_finer(tmp_path):
    cases = [case(tmp_path, radius=20)]
    short, middle, full = (chosen(cases, steps)[0] for steps in (50, 1000, FULL_STEPS))
    assert short > middle > full == 1.0
    # 64^3 voxels are more than a short budget reaches, 40 000 are not.
    assert 64**3 / short**3 <= 40_000 < 64**3 / (short / 2**0.25) ** 3


def test_with_more_time_thin_structures_are_kept_better_and_others_stay_coarse(tmp_path):
    shape = (80, 80, 80)
    thick, thin = case(tmp_path, 28, shape), case(tmp_path, 15, shape, name="thin")
    before, after = FINE_STEPS - 1, FINE_STEPS
    assert chosen([thick], before) == chosen([thick], after) == chosen([thin], before) > chosen([thin], after)
    assert chosen([thin], FULL_STEPS) == (1.0, 1.0, 1.0)


def test_finer_voxels_than_a_large_structure_needs_are_not_taken(tmp_path):
    """Few thick slices are within reach at fine pixels, at which a large structure keeps all there is to keep."""
    large, small = (
        case(tmp_path, radius, (8, 160, 160), (1.0, 1.0, 8.0), name) for radius, name in ((70, "large"), (22, "small"))
    )
    # 8 x 113 x 113 voxels are the most that the budget reaches, 40,000 the fewest of a volume.
    assert chosen([small], FINE_STEPS) == (8.0, 1.4142, 1.4142)
    assert 1.4142 < chosen([large], FINE_STEPS)[1] <= 160 / (40_000 / 8) ** 0.5


def test_a_volume_that_the_budget_reaches_keeps_its_resolution(tmp_path):
    assert chosen([case(tmp_path, radius=10, shape=(32, 32, 32))], 50) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("radius", [1.2, 4.0])
def test_a_structure_that_coarse_voxels_would_lose_keeps_the_resolution(tmp_path, radius):
    assert chosen([case(tmp_path, radius=20), case(tmp_path, radius=radius, name="small")], 50) == (1.0, 1.0, 1.0)


def test_thick_slices_are_not_made_thicker_before_the_others_have_caught_up(tmp_path):
    z, y, x = chosen([case(tmp_path, radius=25, shape=(24, 96, 96), spacing=(1.0, 1.0, 4.0))], 50)
    assert z == 4.0
    assert 1.0 < y == x <= 4.0
    assert coarser((4.0, 1.0, 1.0), 2.0) == (4.0, 2.0, 2.0)
    assert coarser((1.0, 1.0, 4.0), 5.0, slice_axis=2) == (5.0, 5.0, 4.0)


def test_the_resolution_asked_for(tmp_path):
    cases = [case(tmp_path, radius=2)]
    assert chosen(cases, 50, "native") == chosen(cases, 50, "0.5") == (1.0, 1.0, 1.0)
    assert chosen(cases, 50, "3") == (3.0, 3.0, 3.0)
    seen = at_spacing(fingerprint_of(cases), (3.0, 3.0, 3.0))
    assert (seen.shape, seen.spacing) == ((21, 21, 21), (3.0, 3.0, 3.0))


def test_without_label_maps_and_slice_by_slice_the_volumes_resolution_stays(tmp_path):
    one = case(tmp_path, radius=20)
    assert chosen([replace(one, labels=None)], 50) == chosen([one], 50, dimensions=2) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("wanted", ["fine", "0", "-1", "nan", "inf", ""])
def test_no_resolution(tmp_path, wanted):
    with pytest.raises(InputError, match="takes auto, native or a voxel spacing in mm"):
        chosen([case(tmp_path, radius=2, shape=(8, 8, 8))], 50, wanted)


def test_minutes_count_by_the_kind_of_the_device():
    two, ten = (steps_affordable(minutes, TINY, "cpu", 1) for minutes in (2, 10))
    assert two == pytest.approx(146, abs=1)
    assert ten == 5 * two
    assert steps_affordable(2, TINY, "cpu", 2) == 2 * two
    assert steps_affordable(10, TINY, "cuda", 1) > FULL_STEPS
    # An hour of two cores is better spent on coarser voxels that keep the structures.
    assert FINE_STEPS < steps_affordable(10, TINY, "cpu", 2) < steps_affordable(60, TINY, "cpu", 2) < FULL_STEPS


def test_a_coarse_checkpoint_segments_on_the_volumes_own_grid(tmp_path):
    cases = [case(tmp_path, radius=15, shape=(40, 44, 48), name=name) for name in "ab"]
    output, told = tmp_path / "out" / "ball.safetensors", []
    images = [str(c.images[0]) for c in cases]
    finetune(job(images, output, labels=tuple(str(c.labels) for c in cases), resolution="2"), told.append)
    plan = read_card(output).plan
    assert (plan.spacing, plan.volume_spacing) == ((2.0, 2.0, 2.0), (1.0, 1.0, 1.0))
    assert any("Working at 2 x 2 x 2 mm (the volumes have 1 x 1 x 1 mm)" in getattr(e, "text", "") for e in told)
    segment(SegmentJob(checkpoint=str(output), input=(images[0],), output=str(tmp_path / "labels.nii.gz")))
    assert read_geometry(tmp_path / "labels.nii.gz")[0] == read_geometry(cases[0].images[0])[0]
    # Volumes as fine as those it was trained on are like them, however coarse the network works.
    volume = read_channels(cases[0].images)
    problems = incompatibilities(replace(plan, spacing=(5.0, 5.0, 5.0)), volume.geometry, volume.array)
    assert "spacing" not in [problem.code for problem in problems]


def test_few_minutes_make_smaller_patches_and_so_more_steps():
    assert affordable_patch(TINY, 10_000) == affordable_patch(TINY, 300) == TINY
    assert affordable_patch(TINY, 150) == TINY // 2
    assert affordable_patch(TINY, 1) == 32**3
    assert affordable_patch(20_000, 1) == 20_000


@pytest.mark.parametrize(("budget", "voxels"), [({"minutes": 0.4, "steps": None}, TINY // 3), ({"steps": 2}, TINY)])
def test_the_patch_follows_a_budget_in_minutes(tmp_path, budget, voxels):
    given = job(tmp_path, tmp_path / "out.safetensors", device="cpu", resolution="native", **budget)
    run = Run(Budget(given.steps, given.minutes), torch.device("cpu"))
    torch.set_num_threads(1)
    patch = open_start(given, [case(tmp_path, radius=20)], run).plan.patch
    assert voxels / 2 < np.prod(patch) <= voxels


def test_pre_training_at_a_resolution_that_fine_tuning_keeps(tmp_path):
    one = case(tmp_path, radius=15, shape=(40, 44, 48))
    pretrained, tuned = tmp_path / "pre.safetensors", tmp_path / "tuned.safetensors"
    given = {"images": (str(one.images[0]),), "output": str(pretrained), "steps": 1, "precision": "32", "threads": 1}
    pretrain(PretrainJob(**given, method="aligned", resolution="2"))
    plan = read_card(pretrained).plan
    assert (plan.spacing, plan.volume_spacing) == ((2.0, 2.0, 2.0), (1.0, 1.0, 1.0))
    tuning = {"labels": (str(one.labels),), "checkpoint": str(pretrained), "steps": 1}
    finetune(job(one.images, tuned, **tuning))
    assert read_card(tuned).plan.spacing == (2.0, 2.0, 2.0)
    finetune(job(one.images, tuned, **tuning, resolution="native", overwrite=True))
    assert (read_card(tuned).plan.spacing, read_card(tuned).plan.volume_spacing) == ((1.0, 1.0, 1.0), None)
