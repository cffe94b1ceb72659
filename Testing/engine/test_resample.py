"""Resampling keeps the physical extent, the mean, and thin structures."""

import numpy as np
import pytest
from scipy import ndimage

from contrastiveseg.volumes.resample import resample_image, resample_labels, resampled_shape
from contrastiveseg.volumes.resample_nnunet import resample_splines


def test_shape_is_rounded_and_never_empty():
    assert resampled_shape((10, 100, 101), (5.0, 1.0, 0.5), (1.0, 1.5, 1.0)) == (50, 67, 50)
    assert resampled_shape((1, 2, 2), (0.1, 1.0, 1.0), (5.0, 1.0, 1.0)) == (1, 2, 2)


def test_same_shape_is_not_copied():
    image, labels = np.zeros((1, 3, 4, 5), np.float32), np.zeros((3, 4, 5), np.uint8)
    assert resample_image(image, (3, 4, 5)) is image
    assert resample_labels(labels, (3, 4, 5)) is labels


@pytest.mark.parametrize("size", [8, 11, 24, 32])
def test_ramp_stays_where_it_is(size):
    # Voxel centers lie at (i + 1/2) * spacing; a ramp over them must read the same at the new centers.
    ramp = np.broadcast_to(np.arange(16, dtype=np.float32) + 0.5, (1, 2, 3, 16))
    new = resample_image(ramp, (2, 3, size))[0, 0, 0]
    centers = (np.arange(size) + 0.5) * 16 / size
    inside = (centers > 1) & (centers < 15)
    np.testing.assert_allclose(new[inside], centers[inside], atol=0.51 if size == 11 else 1e-4)


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((1, 1, 4, 32), np.float32)
    stripes[..., ::4] = 4.0
    np.testing.assert_allclose(resample_image(stripes, (1, 4, 8)), 1.0)


def test_one_slice_and_integers():
    new = resample_image(np.full((2, 1, 4, 4), 7, np.int16), (1, 8, 8))
    assert new.shape == (2, 1, 8, 8)
    assert new.dtype == np.float32
    np.testing.assert_allclose(new, 7)


def test_turned_views_are_taken():
    array = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    np.testing.assert_allclose(
        resample_image(array[:, ::-1], (4, 3, 4)), resample_image(array[:, ::-1].copy(), (4, 3, 4))
    )


def test_labels_double_and_halve_again():
    labels = np.random.default_rng(0).integers(0, 4, (4, 5, 6)).astype(np.uint8)
    twice = resample_labels(labels.repeat(2, 0).repeat(2, 1).repeat(2, 2), (4, 5, 6))
    np.testing.assert_array_equal(twice, labels)
    assert twice.dtype == np.uint8


def test_thin_label_does_not_vanish():
    labels = np.zeros((12, 12, 48), np.uint8)
    labels[5, 5, :] = 3
    small = resample_labels(labels, (3, 3, 12))
    assert (small == 3).sum() == 12
    assert (small[1, 1] == 3).all()


def test_many_labels_keep_their_values():
    labels = np.arange(400, dtype=np.uint16).reshape(1, 20, 20)
    new = resample_labels(labels, (1, 40, 40))
    assert new.dtype == np.uint16
    np.testing.assert_array_equal(new, labels.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize(("shape", "thick"), [((14, 12, 30), None), ((31, 18, 23), None), ((14, 18, 30), 0)])
def test_cubic_splines_axis_by_axis_are_those_of_all_neighbors(shape, thick):
    """nnU-Net's are ``ndimage.zoom`` as skimage calls it."""
    array = np.random.default_rng(0).integers(0, 2, (1, 21, 18, 23)).astype(np.float32)
    found = resample_splines(array, shape, 3, thick)
    if thick is None:
        factors = np.divide(shape, array.shape[1:])
        expected = ndimage.zoom(array[0].astype(np.float64), factors, order=3, mode="nearest", grid_mode=True)
        low, high = array.min(), array.max()
    else:
        slices = array[0, [int((n + 0.5) * 21 / 14) for n in range(14)]].astype(np.float64)
        expected = np.stack([ndimage.zoom(s, (1, 30 / 23), order=3, mode="nearest", grid_mode=True) for s in slices])
        low, high = (np.stack([edge(s) for s in slices])[:, None, None] for edge in (np.min, np.max))
    assert (expected > high).any(), "at edges"
    assert (found.dtype, found.shape) == (np.float32, (1, *shape))
    assert np.abs(found[0] - expected.clip(low, high)).max() < 1e-6
