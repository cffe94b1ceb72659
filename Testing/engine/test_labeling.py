"""Which part of a volume its label map labels: the slices found, what stays open, and maps that look incomplete."""

import numpy as np
import pytest

from contrastiveseg.volumes.labeling import NOT_LABELED, Labeling
from contrastiveseg.volumes.painted_slices import PaintedSlices, looks_like_slices, painted_slices
from contrastiveseg.volumes.resample import resample_labels
from contrastiveseg.volumes.volume import Geometry, LabelMap

#: mm (z, y, x)
SPACING = (1.0, 1.0, 1.0)


def ball(radius: float = 8, size: int = 30) -> np.ndarray:
    z, y, x = np.indices((size,) * 3) - size // 2
    return (z * z + y * y + x * x <= radius * radius).astype(np.uint8)


def label_map(array: np.ndarray) -> LabelMap:
    z, y, x = array.shape
    return LabelMap(array, Geometry((x, y, z), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)))


def on_slices(whole: np.ndarray, axis: int, indices) -> np.ndarray:
    """``whole`` painted on some slices across ``axis`` only."""
    kept = np.zeros_like(whole)
    place = (slice(None),) * axis + (list(indices),)
    kept[place] = whole[place]
    return kept


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("indices", [(8, 11, 15, 19, 22), (10, 12, 14, 16), (15,), (14, 15), (9, 10, 18)])
def test_the_axis_of_painted_slices_is_found(axis, indices):
    found = painted_slices(on_slices(ball(), axis, indices) > 0)
    assert found == PaintedSlices(axis, indices, 30)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("indices", [[15], [14, 15, 16]])
def test_structures_apart_in_one_slice_are_painted_on_that_slice(axis, indices):
    apart = np.moveaxis(np.maximum(np.roll(ball(5), -9, 2), np.roll(ball(5), 9, 2)), 0, axis)
    found = painted_slices(on_slices(apart, axis, indices) > 0)
    assert found == PaintedSlices(axis, tuple(indices), 30)


def test_every_other_slice_of_a_thin_structure_is_found_though_it_lies_in_few_slices_across_another_axis():
    thin = np.zeros((30, 30, 30), bool)
    thin[2:28:2, 10:13, 8:11] = True
    assert painted_slices(thin) == PaintedSlices(0, tuple(range(2, 28, 2)), 30)


def test_nothing_painted_has_no_slices():
    assert painted_slices(np.zeros((3, 4, 5), bool)) is None


def test_slices_are_named_for_the_log():
    assert [str(PaintedSlices(axis, (1, 2), 9)) for axis in range(3)] == [
        "2 of 9 axial slices",
        "2 of 9 coronal slices",
        "2 of 9 sagittal slices",
    ]


def test_slices_with_paint_are_labeled_throughout():
    stored = on_slices(ball(), 1, (10, 15, 20))
    labels = Labeling("slices").apply(label_map(stored)).array
    assert np.unique(np.nonzero(labels >= 0)[1]).tolist() == [10, 15, 20]
    assert (labels[:, [10, 15, 20]] == stored[:, [10, 15, 20]]).all()
    assert (np.delete(labels, [10, 15, 20], 1) == NOT_LABELED).all()


def test_painted_voxels_alone_and_the_segment_that_means_background():
    stored = np.zeros((2, 2, 2), np.uint8)
    stored[0, 0, 0], stored[1, 1, 1] = 1, 5
    labels = Labeling("painted", background=5).apply(label_map(stored)).array
    assert labels[0, 0, 0] == 1
    assert labels[1, 1, 1] == 0
    assert (labels == NOT_LABELED).sum() == 6


def test_a_value_can_mean_not_labeled():
    stored = np.zeros((2, 2, 2), np.uint8)
    stored[0], stored[0, 0, 0] = 9, 1
    labels = Labeling("all", ignore=9).apply(label_map(stored)).array
    assert labels[0].tolist() == [[1, -1], [-1, -1]]
    assert (labels[1] == 0).all()
    # A slice in which only that is painted is not labeled either.
    stored[0] = 9
    stored[1, 0, 0] = 1
    labels = Labeling("slices", ignore=9).apply(label_map(stored)).array
    assert (labels[0] == -1).all()
    assert labels[1].tolist() == [[1, 0], [0, 0]]


def test_a_map_that_labels_everything_stays_as_it_is():
    given = label_map(ball())
    assert Labeling().apply(given).array is given.array


# Guard


@pytest.mark.parametrize("indices", [range(8, 23, 2), (8, 11, 15, 19, 22), (9, 20), (15,), (14, 15)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_few_labeled_slices_are_noticed(axis, indices):
    found = looks_like_slices(on_slices(ball(), axis, indices), SPACING)
    assert found == PaintedSlices(axis, tuple(indices), 30)


def test_one_of_several_structures_is_enough():
    labels = ball()
    labels[on_slices(np.roll(ball(4), 8, 2), 0, (12, 14, 16)) > 0] = 2
    assert looks_like_slices(labels, SPACING)


def two_balls() -> np.ndarray:
    return np.maximum(np.roll(ball(4), -9, 0), np.roll(ball(4), 9, 0))


def scattered() -> np.ndarray:
    """Lesions of one or two slices, each at another place."""
    random, labels = np.random.default_rng(0), np.zeros((30, 30, 30), np.uint8)
    for z in range(2, 28, 3):
        y, x = random.integers(2, 26, 2)
        labels[z, y : y + 2, x : x + 2] = 1
    return labels


@pytest.mark.parametrize(
    "labels", [ball(), ball(1), two_balls(), scattered(), on_slices(ball(), 0, range(10, 20)), np.zeros((4, 4, 4), int)]
)
def test_whole_structures_lesions_and_pairs_are_not(labels):
    assert looks_like_slices(labels, SPACING) is None


def test_thick_slices_of_a_whole_structure_are_not():
    assert looks_like_slices(ball()[::6], (6.0, 1.0, 1.0)) is None
    assert looks_like_slices(ball()[::8], (8.0, 1.0, 1.0)) is None


# Resampling


def test_a_labeled_slice_survives_a_coarser_grid_and_no_other_comes_in():
    labels = Labeling("slices").apply(label_map(on_slices(ball(), 0, (9, 15, 20)))).array
    coarse = resample_labels(labels, (12, 12, 12))
    assert np.unique(np.nonzero(coarse >= 0)[0]).tolist() == [3, 6, 8]  # slices 9.5, 15.5, 20.5 of 30, at 2.5 each
    assert (coarse == 1).any()
    assert (coarse == 0).any()
    truth = resample_labels(ball(), (12, 12, 12))
    assert (coarse == truth)[coarse >= 0].mean() > 0.95


def test_a_finer_grid_keeps_labeled_and_unlabeled_apart():
    labels = np.full((4, 4, 4), NOT_LABELED, np.int32)
    labels[1], labels[1, :2] = 0, 3
    fine = resample_labels(labels, (8, 8, 8))
    assert np.unique(np.nonzero(fine >= 0)[0]).tolist() == [2, 3]
    assert set(np.unique(fine)) == {-1, 0, 3}
    assert (fine[2:4, :4] == 3).all()
    assert (fine[2:4, 4:] == 0).all()
