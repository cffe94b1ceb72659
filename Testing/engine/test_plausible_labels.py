"""An image given as a label map is refused, an atlas of many structures is not."""

from pathlib import Path

import numpy as np
import pytest

from contrastiveseg.errors import InputError
from contrastiveseg.volumes.plausible_labels import check_no_image, looks_like_labels
from contrastiveseg.volumes.volume import Volume


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


def blocks(kind, highest: int = 3) -> np.ndarray:
    """0 to ``highest``, in blocks."""
    return (
        np.random.default_rng(0).integers(0, highest + 1, (3, 4, 4)).repeat(6, 0).repeat(6, 1).repeat(6, 2).astype(kind)
    )


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_a_label_map_among_the_images_is_known_in_any_number_type(kind):
    assert looks_like_labels(blocks(kind))
    assert "looks like a label map" in Volume.from_array(blocks(kind), (1.0, 1.0, 1.0)).doubt


@pytest.mark.parametrize(
    "image",
    [
        np.random.default_rng(0).integers(0, 20, (8, 20, 20)),
        blocks(np.float32) + 0.5,
        blocks(np.int16) - 1,
        blocks(np.int16, highest=200),
        np.full((4, 5, 6), 7),
    ],
    ids=["noise of few values", "fractions", "below zero", "many values", "one value"],
)
def test_what_may_be_an_image_is_not_doubted(image):
    assert not looks_like_labels(image)
    assert "label map" not in Volume.from_array(image, (1.0, 1.0, 1.0)).doubt
