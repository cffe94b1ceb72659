"""Connected components of a label map."""

from __future__ import annotations

import numpy as np

from contrastiveseg.volumes.components import in_one_piece, keep_largest_component


def example() -> np.ndarray:
    """Label 1: 8 voxels, 3 more that touch it by a corner, 2 apart. Label 3: 4 voxels and 1."""
    labels = np.zeros((6, 8, 8), dtype=np.uint8)
    labels[:2, :2, :2] = 1
    labels[2, 2, 2:5] = 1
    labels[5, 7, 6:8] = 1
    labels[0, 5, :4] = 3
    labels[5, 0, 0] = 3
    return labels


def test_only_the_largest_component_of_each_label_stays() -> None:
    labels = example()
    kept = keep_largest_component(labels)
    assert kept.dtype == labels.dtype
    assert np.bincount(kept.ravel())[1:].tolist() == [11, 0, 4]
    assert kept[2, 2, 4] == 1  # connected by a corner
    assert (kept[kept > 0] == labels[kept > 0]).all()
    assert labels[5, 0, 0] == 3  # the input is left alone


def test_labels_that_are_not_named_keep_all_their_components() -> None:
    kept = keep_largest_component(example(), only=(3,))
    assert np.bincount(kept.ravel())[1:].tolist() == [13, 0, 4]
    assert np.array_equal(keep_largest_component(example(), only=()), example())


def test_a_label_is_in_one_piece_but_for_specks() -> None:
    line = [*[1] * 99, 0, 1, 0, *[2] * 98, 0, 2, 0, *[4] * 3]
    assert in_one_piece(np.array(line, dtype=np.uint16).reshape(1, 1, -1)) == (1, 4)
    assert in_one_piece(np.zeros((2, 3, 4), dtype=np.uint8)) == ()


def test_of_equal_components_the_first_stays() -> None:
    labels = np.zeros((1, 1, 5), dtype=np.int16)
    labels[0, 0, [0, 4]] = 2
    assert keep_largest_component(labels)[0, 0].tolist() == [2, 0, 0, 0, 0]


def test_nothing_stays_nothing() -> None:
    empty = np.zeros((3, 3, 3), dtype=np.uint8)
    assert not keep_largest_component(empty).any()
