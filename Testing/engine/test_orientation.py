"""Turning to LPS is exact, cheap, undone without loss, and agrees with ITK."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from contrastiveseg.volumes.itk import geometry_of, image_on
from contrastiveseg.volumes.orientation import canonical_axes, orientation_of
from contrastiveseg.volumes.volume import Geometry

ARRAY = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)


def grid(direction):
    return Geometry((5, 4, 3), (0.5, 1.5, 2.5), (1.0, 2.0, 3.0), tuple(np.ravel(direction).tolist()))


def axis_aligned():
    for permutation in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            yield np.eye(3)[list(permutation)] * signs


def oblique():
    for seed in range(60):
        yield Rotation.random(random_state=seed).as_matrix() * (1, 1, -1 if seed % 2 else 1)


@pytest.mark.parametrize("directions", [axis_aligned, oblique])
def test_agrees_with_itk_and_is_undone(directions):
    for direction in directions():
        geometry = grid(direction)
        axes = canonical_axes(geometry)
        turned = axes.apply(ARRAY)
        expected = sitk.DICOMOrient(image_on(ARRAY, geometry), "LPS")
        np.testing.assert_array_equal(turned, sitk.GetArrayFromImage(expected))
        np.testing.assert_allclose(axes.spacing_zyx(geometry), geometry_of(expected).spacing_zyx)
        np.testing.assert_array_equal(axes.undo(turned), ARRAY)
        named = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(geometry.direction)
        assert orientation_of(geometry) == named


def test_channels_stay_in_front_and_nothing_is_copied():
    axes = canonical_axes(grid(np.eye(3)[[2, 0, 1]] * (1, -1, 1)))
    channels = np.stack([ARRAY, ARRAY + 100])
    turned = axes.apply(channels)
    np.testing.assert_array_equal(turned[1], axes.apply(ARRAY) + 100)
    assert np.shares_memory(turned, channels)
    np.testing.assert_array_equal(axes.undo(turned), channels)


def test_canonical_volume_is_left_alone():
    axes = canonical_axes(grid(np.eye(3)))
    assert axes.permutation == (0, 1, 2)
    assert axes.flips == (False, False, False)
