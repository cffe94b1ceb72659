"""An image given as a label map is refused, an atlas of many structures is not."""

from pathlib import Path

import numpy as np
import pytest

from contrastiveseg.errors import InputError
from contrastiveseg.volumes.plausible_labels import check_no_image


@pytest.mark.parametrize("highest", [250, 4000])
def test_gray_values_are_refused(highest):
    gray = np.random.default_rng(0).integers(0, highest, (8, 20, 20)).astype(np.uint16)
    gray[:, :5] = 0
    with pytest.raises(InputError, match=r"a\.nii holds \d+ different labels .* it looks like an image"):
        check_no_image(Path("a.nii"), gray)


def test_many_structures_are_labels():
    check_no_image(Path("atlas.nii"), np.arange(1000, dtype=np.uint16).reshape(10, 10, 10).repeat(4, 2))


def test_noise_of_few_values_is_left_to_its_user():
    check_no_image(Path("a.nii"), np.random.default_rng(0).integers(0, 32, (4, 9, 9)).astype(np.uint8))
    check_no_image(Path("empty.nii"), np.zeros((2, 3, 4), np.uint8))
