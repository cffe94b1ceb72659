"""Voxels in the other byte order than their header says are refused where that is certain, and nothing else is."""

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.errors import InputError
from contrastiveseg.volumes.byte_order import check_byte_order
from contrastiveseg.volumes.reading import read_labels, read_volume

RANDOM = np.random.default_rng(0)
LABELS = np.zeros((16, 24, 24))
LABELS[4:10, 4:12, 4:12], LABELS[8:14, 14:22, 14:22] = 1, 2
IMAGE = 100 + 150 * LABELS + RANDOM.normal(0, 12, LABELS.shape)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha", "nrrd"])
@pytest.mark.parametrize("kind", ["i2", "u2", "f4"])
def test_images_in_the_other_order(tmp_path, ending, kind):
    path = tmp_path / f"scan.{ending}"
    array = IMAGE.astype(kind)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    assert read_volume(path).array.shape == (1, 16, 24, 24)
    sitk.WriteImage(sitk.GetImageFromArray(array.byteswap()), str(path))
    with pytest.raises(InputError, match=rf"scan\.{ending} has its voxels in the other byte order"):
        read_volume(path)


@pytest.mark.parametrize("kind", ["i4", "f4", "f8"])
def test_label_maps_in_the_other_order(tmp_path, kind):
    """As floats, 1 becomes 5e-41, so that the map would be empty."""
    sitk.WriteImage(sitk.GetImageFromArray(LABELS.astype(kind).byteswap()), str(tmp_path / "map.nrrd"))
    with pytest.raises(InputError, match="the other byte order"):
        read_labels(tmp_path / "map.nrrd")


@pytest.mark.parametrize(
    "array",
    [
        (IMAGE * 3 - 1000).astype("i2"),
        (IMAGE / 4).astype("u2") * 256,
        (IMAGE / 4).astype("u2") * 257,
        (IMAGE * 16).astype("i4") << 16,
        (LABELS * 256).astype("u2"),
        RANDOM.integers(0, 2**16, LABELS.shape).astype("u2"),
        np.exp(-200 * RANDOM.random(LABELS.shape)).astype("f4"),
        np.zeros((3, 4, 5), "f4"),
        np.zeros((0,), "i2"),
    ],
)
def test_images_as_they_may_be(tmp_path, array):
    check_byte_order(tmp_path, array)
