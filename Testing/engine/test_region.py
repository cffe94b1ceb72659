"""A region of interest: its voxels by hand, the same labels in it as without it, nothing outside."""

import numpy as np
import pytest

from contrastiveseg.cli import main
from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.jobs.run import run
from contrastiveseg.planning.plan import Channel, Plan
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.region import in_place, voxels_of, working_box
from contrastiveseg.serialization import from_json, to_json
from contrastiveseg.volumes.reading import read_labels, read_volume
from contrastiveseg.volumes.volume import Geometry

STRAIGHT = (1, 0, 0, 0, 1, 0, 0, 0, 1)
GRID = Geometry((10, 20, 30), (2.0, 1.0, 3.0), (10.0, 20.0, 30.0), STRAIGHT)


def test_the_voxels_that_a_box_touches():
    # x (to the left) voxels 1 to 3 have their centers at 12 to 16 mm L; y 20 + j; z 30 + 3 k.
    z, y, x = voxels_of((-16.9, -11.1, -25.4, -24.6, 36.0, 45.0), GRID, "CT")
    assert (x, y, z) == (slice(1, 4), slice(5, 6), slice(2, 6))
    # A box that ends on the border between two voxels does not reach the next.
    assert voxels_of((-17.0, -11.0, -25.5, -24.5, 37.5, 40.5), GRID, "CT") == (slice(3, 4), slice(5, 6), slice(1, 4))
    # One thinner than a voxel is that voxel.
    assert voxels_of((-12.1, -12.0, -25.1, -25.0, 36.0, 36.1), GRID, "CT") == (slice(2, 3), slice(5, 6), slice(1, 2))
    # What reaches beyond the volume is cut.
    assert voxels_of((-999, 999, -999, 999, -999, 999), GRID, "CT") == (slice(0, 30), slice(0, 20), slice(0, 10))


def test_a_box_in_a_turned_volume_and_one_outside():
    # Stored x runs to the right, stored y to the feet, stored z to the back.
    turned = Geometry((10, 20, 30), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (-1, 0, 0, 0, 0, 1, 0, -1, 0))
    z, y, x = voxels_of((2.0, 4.0, -7.0, -5.0, -9.0, -8.0), turned, "CT")
    assert (x, y, z) == (slice(2, 5), slice(8, 10), slice(5, 8))
    with pytest.raises(InputError, match="outside of CT"):
        voxels_of((100, 110, 0, 10, 0, 10), turned, "CT")


def test_the_network_sees_half_a_patch_around_the_box():
    plan = Plan(3, (Channel("image", "MR"),), (3.0, 1.0, 2.0), (8, 4, 6))
    box = (slice(10, 12), slice(0, 3), slice(4, 6))
    assert working_box(box, GRID, GRID.shape, plan) == (slice(6, 16), slice(0, 5), slice(1, 9))
    # On a grid half as fine, and along an axis that runs backwards.
    backwards = Geometry(GRID.size, GRID.spacing, GRID.origin, (1, 0, 0, 0, 1, 0, 0, 0, -1))
    assert working_box(box, backwards, (15, 20, 10), plan)[0] == slice(5, 14)


def test_what_is_outside_is_the_value_given():
    array = np.arange(27).reshape(3, 3, 3)
    box = (slice(1, 2), slice(0, 3), slice(2, 3))
    kept = in_place(box, array[box], array.shape, -1)
    assert kept[1, :, 2].tolist() == [11, 14, 17]
    assert (kept == -1).sum() == 24


#: In the middle of the fixtures' volume, a few voxels wide.
ROI = (-40.0, 60.0, -50.0, 50.0, -35.0, 35.0)


def test_labels_in_the_region_are_those_of_the_whole_volume(sharp, image, tmp_path):
    predictor = Predictor.open(sharp, "cpu", None)
    volume = read_volume(image)
    whole = predictor.predict(volume, uncertainty=True, probabilities=True)
    box = voxels_of(ROI, volume.geometry, "CT")
    assert 0 < np.zeros(volume.geometry.shape)[box].size < volume.array.size / 4
    part = predictor.predict(volume, box=box, uncertainty=True, probabilities=True)
    outside = np.ones(volume.geometry.shape, bool)
    outside[box] = False
    assert whole.labels.array[outside].any()
    assert not part.labels.array[outside].any()
    assert part.labels.array[box].any()
    assert not part.uncertainty[outside].any()
    assert (part.probabilities[0][outside] == 1).all()
    np.testing.assert_allclose(part.probabilities.sum(0), 1, atol=1e-5)
    # With half a patch around it the region is all of this small volume: the network sees the same.
    np.testing.assert_array_equal(part.labels.array[box], whole.labels.array[box])


def test_the_command_says_that_the_rest_is_empty(segmenter, image, tmp_path, capsys):
    words = ["segment", "--checkpoint", str(segmenter), "--input", str(image), "--output", str(tmp_path / "a.nii.gz")]
    assert main([*words, "--roi", *map(str, ROI)]) == 0
    assert "only the region of interest was segmented" in capsys.readouterr().out
    box = voxels_of(ROI, read_volume(image).geometry, "CT")
    labels = read_labels(tmp_path / "a.nii.gz").array
    outside = np.ones_like(labels)
    outside[box] = 0
    assert not labels[outside > 0].any()
    # Another region is another job: what is there is not taken for it.
    assert main([*words, "--continue", "--roi", *map(str, ROI)]) == 0
    assert main([*words, "--continue"]) == 2


def test_a_region_outside_of_one_volume_fails_that_volume_alone(segmenter, image, tmp_path):
    job = SegmentJob(
        checkpoint=str(segmenter), input=(str(image),), output=str(tmp_path / "a.nii.gz"), roi=(5e3, 6e3, 0, 1, 0, 1)
    )
    with pytest.raises(InputError, match="outside of synthetic_00000"):
        run(job)
    with pytest.raises(InputError, match="the smaller first"):
        SegmentJob(checkpoint="c", input=("a",), output="b", roi=(1, 0, 0, 1, 0, 1))
    assert from_json(SegmentJob, to_json(job)) == job
