"""Metrics against MedPy's published values and hand-computed cases."""

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt

from contrastiveseg.errors import InputError
from contrastiveseg.evaluation.metrics import measure
from contrastiveseg.volumes.volume import Geometry, LabelMap

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def label_map(array, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    array = np.asarray(array, np.uint8)
    return LabelMap(array, Geometry(array.shape[::-1], spacing, origin, IDENTITY))


def box(*ranges, shape=(48, 48, 48)):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(*r) for r in ranges)] = 1
    return mask


def ball(radius):
    z, y, x = np.ogrid[:48, :48, :48]
    return (z - 24) ** 2 + (y - 24) ** 2 + (x - 24) ** 2 <= radius**2


def score(prediction, reference, **kwargs):
    return measure(label_map(prediction, **kwargs), label_map(reference, **kwargs), {1: "organ"})[0]


OUTER = box((10, 30), (10, 30), (10, 30))
INNER = box((12, 28), (12, 28), (12, 28))
SHIFTED = box((12, 32), (10, 30), (10, 30))
DETACHED = np.maximum(OUTER, box((40, 43), (40, 43), (40, 43)))


@pytest.mark.parametrize(
    ("prediction", "reference", "dice", "jaccard", "hd95", "asd"),
    [
        (SHIFTED, OUTER, 0.9, 0.818182, 2.0, 0.671587),
        (INNER, OUTER, 0.677249, 0.512, 2.828427, 2.0),
        (DETACHED, OUTER, 0.998315, 0.996636, 0.0, 0.246703),
        (ball(12), ball(15), 0.671643, None, 3.316625, 2.878191),
    ],
)
def test_values_are_medpys(prediction, reference, dice, jaccard, hd95, asd):
    found = score(prediction, reference)
    assert found.dice == pytest.approx(dice, abs=1e-5)
    assert found.hd95_mm == pytest.approx(hd95, abs=1e-5)
    assert found.asd_mm == pytest.approx(asd, abs=1e-5)
    if jaccard is not None:
        assert found.jaccard == pytest.approx(jaccard, abs=1e-5)


def test_swapping_changes_the_directed_distance_only():
    there, back = score(INNER, OUTER), score(OUTER, INNER)
    assert (there.asd_mm, back.asd_mm) == (pytest.approx(2.0, abs=1e-5), pytest.approx(2.136628, abs=1e-5))
    assert there.assd_mm == back.assd_mm == pytest.approx(2.084150, abs=1e-5)
    assert there.dice == back.dice
    assert there.hd95_mm == back.hd95_mm
    assert there.volume_error_ml == -back.volume_error_ml


def test_pooled_percentile_is_not_the_larger_directed_one():
    assert score(ball(12), ball(15)).hd95_mm == pytest.approx(3.316625, abs=1e-5)
    assert score(ball(12), ball(15)).hd95_mm < 3.6


def test_a_detached_piece_counts_one_way():
    assert score(OUTER, DETACHED).asd_mm == 0.0


def test_distances_are_in_millimeters_of_an_anisotropic_grid():
    prediction, reference = box((10, 20), (5, 15), (5, 15)), box((11, 21), (5, 15), (5, 15))
    one_slice = score(prediction, reference, spacing=(0.5, 0.5, 4.0))
    assert one_slice.hd95_mm == pytest.approx(4.0)
    assert one_slice.reference_ml == pytest.approx(1000 * 0.001)


def test_random_shapes_agree_with_a_distance_transform():
    random = np.random.default_rng(0)
    masks = [random.random((15, 20, 18)) < share for share in (0.1, 0.4)]
    masks[0][:, 0, :] = True  # touches the border
    spacing = (3.0, 1.5, 0.7)
    found = measure(*(label_map(m, spacing=spacing[::-1]) for m in masks), {1: "organ"})[0]
    surfaces = [m & ~binary_erosion(m) for m in masks]
    there = distance_transform_edt(~surfaces[1], sampling=spacing)[surfaces[0]]
    back = distance_transform_edt(~surfaces[0], sampling=spacing)[surfaces[1]]
    assert found.asd_mm == pytest.approx(there.mean())
    assert found.hd95_mm == pytest.approx(np.percentile(np.r_[there, back], 95))


def test_labels_are_scored_apart_by_value_and_name():
    reference = OUTER.copy()
    reference[15:20, 15:20, 15:20] = 7
    prediction = OUTER.copy()
    first, second = measure(label_map(prediction), label_map(reference), {1: "wall", 7: "cavity"})
    assert (first.name, second.name, second.label) == ("wall", "cavity", 7)
    assert first.dice == pytest.approx(2 * 7875 / (8000 + 7875))
    assert second.dice == 0.0


def test_identical_masks_are_perfect():
    found = score(OUTER, OUTER)
    assert (found.dice, found.jaccard, found.hd95_mm, found.assd_mm, found.volume_error_percent) == (1, 1, 0, 0, 0)


def test_an_empty_prediction_is_named_and_has_no_distances():
    found = score(np.zeros_like(OUTER), OUTER)
    assert found.status == "empty prediction"
    assert found.dice == 0.0
    assert found.hd95_mm is found.assd_mm is found.asd_mm is None
    assert found.volume_error_percent == -100


def test_an_empty_reference_and_an_absent_label_are_named():
    false_alarm = score(OUTER, np.zeros_like(OUTER))
    assert (false_alarm.status, false_alarm.dice, false_alarm.volume_error_percent) == ("empty reference", 0.0, None)
    absent = score(np.zeros_like(OUTER), np.zeros_like(OUTER))
    assert (absent.status, absent.dice, absent.hd95_mm) == ("absent", None, None)


#: The first axis runs to the patient's front, the second to the left.
ANTERIOR_FIRST = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_other_grids_are_refused():
    with pytest.raises(InputError, match="different sizes"):
        measure(label_map(OUTER), label_map(OUTER[1:]), {1: "organ"})
    with pytest.raises(InputError, match="apart"):
        measure(label_map(OUTER), label_map(OUTER, spacing=(1, 1, 1.1)), {1: "organ"})
    with pytest.raises(InputError, match="apart"):
        measure(label_map(OUTER), label_map(OUTER, origin=(0, 0.5, 0)), {1: "organ"})
    measure(label_map(OUTER), label_map(OUTER, origin=(0, 0.0001, 0)), {1: "organ"})


def test_grids_of_one_size_are_refused_by_what_they_differ_in():
    with pytest.raises(InputError, match=r"mm apart \(spacing \(1, 1, 1\) instead of \(1, 1, 1.1\)\)"):
        measure(label_map(OUTER), label_map(OUTER, spacing=(1, 1, 1.1)), {1: "organ"})
    with pytest.raises(InputError, match=r"mm apart \(origin \(0, 0, 0\) instead of \(0, 0.5, 0\)\)"):
        measure(label_map(OUTER), label_map(OUTER, origin=(0, 0.5, 0)), {1: "organ"})
    array = np.ones((6, 7, 8), np.uint8)
    grids = [Geometry((8, 7, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), axes) for axes in (IDENTITY, ANTERIOR_FIRST)]
    with pytest.raises(InputError, match=r"sizes: \(8, 7, 6\) voxels along LPS and \(8, 7, 6\) along ALS"):
        measure(*(LabelMap(array, grid) for grid in grids), {1: "organ"})


def test_files_of_the_same_voxels_in_another_axis_order_compare():
    random = np.random.default_rng(1)
    array = random.integers(0, 2, (6, 7, 8)).astype(np.uint8)
    reference = LabelMap(array, Geometry((8, 7, 6), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), IDENTITY))
    # y runs backwards from the far end, and the file's first two axes are swapped.
    swapped = Geometry((7, 8, 6), (2.0, 1.0, 3.0), (5.0, 6.0 + 6 * 2.0, 7.0), (0, 1, 0, -1, 0, 0, 0, 0, 1))
    prediction = LabelMap(array[:, ::-1, :].transpose(0, 2, 1), swapped)
    assert measure(prediction, reference, {1: "organ"})[0].dice == 1.0
    with pytest.raises(InputError, match="apart"):
        measure(LabelMap(prediction.array, replace(swapped, origin=(5.0, 6.0, 7.0))), reference, {1: "organ"})


def test_a_large_volume_is_fast():
    z, y, x = np.ogrid[:88, :244, :160]
    maps = []
    for shift in (0, 3):
        distance = ((z - 44) / 30) ** 2 + ((y - 120 - shift) / 60) ** 2 + ((x - 80) / 45) ** 2
        maps.append(label_map((distance < 1).astype(np.uint8) + (distance < 0.6) + (distance < 0.3)))
    start = time.process_time()
    assert all(s.dice > 0.8 for s in measure(*maps, {1: "a", 2: "b", 3: "c"}))
    assert time.process_time() - start < 3
