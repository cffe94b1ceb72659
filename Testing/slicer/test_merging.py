"""Segments written as one label map on a volume's grid."""

import nodes
import numpy as np
import pytest
from ContrastiveSegPanel.mrml.scene import (
    write_labels,
)
from nodes import OBLIQUE, SHAPE, labels_in, numbers, segment_id
from numpy.testing import assert_allclose, assert_array_equal

from contrastiveseg.errors import InputError


@pytest.fixture(autouse=True)
def _scene(scene):
    """Every test has an empty scene."""


@pytest.mark.parametrize("values", [(1, 2, 3), (255, 4, 9), (256, 31000, 7)])
def test_segments_are_written_with_the_values_asked_for(tmp_path, values):
    node = nodes.volume()
    masks = {name: labels_in() == n for n, name in enumerate(("A", "B", "C"), start=1)}
    found = nodes.segmentation(masks, node)
    wanted = {segment_id(found, name): value for name, value in zip(masks, values, strict=True)}
    assert write_labels(found, node, wanted, tmp_path / "o.nrrd") == []
    written = nodes.voxels(tmp_path / "o.nrrd")
    assert written.dtype == (np.uint8 if max(values) < 256 else np.int16)
    assert_array_equal(written, np.choose(labels_in(), [0, *values]))
    assert_allclose(nodes.ijk_to_ras_of(tmp_path / "o.nrrd"), OBLIQUE, atol=1e-9)


def test_only_the_segments_asked_for_are_written_and_hidden_ones_too(tmp_path):
    node = nodes.volume()
    found = nodes.segmentation({"A": labels_in() == 1, "B": labels_in() == 2}, node)
    found.GetDisplayNode().SetSegmentVisibility(segment_id(found, "B"), False)
    write_labels(found, node, {segment_id(found, "B"): 5}, tmp_path / "o.nrrd")
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), np.where(labels_in() == 2, 5, 0))


def test_where_segments_overlap_the_later_one_wins_and_it_is_told(tmp_path):
    node = nodes.volume()
    low, high = np.zeros((2, *SHAPE), bool)
    low[1:5, 2:6, 2:6], high[3:6, 2:6, 2:6] = True, True
    found = nodes.segmentation({"Liver": low, "Tumor": high}, node)
    liver, tumor = (segment_id(found, name) for name in ("Liver", "Tumor"))
    told = write_labels(found, node, {tumor: 1, liver: 2}, tmp_path / "o.nrrd")
    assert told == ["Tumor hides 32 voxels of Liver, which it overlaps."]
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), np.where(high, 1, np.where(low, 2, 0)))
    assert write_labels(found, node, {tumor: 2, liver: 2}, tmp_path / "o.nrrd") == []
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), np.where(high | low, 2, 0))


def test_empty_segments_are_written_as_nothing(tmp_path):
    node = nodes.volume()
    found = nodes.segmentation({"A": labels_in() == 1}, node)
    empty = found.GetSegmentation().AddEmptySegment("", "Empty")
    write_labels(found, node, {empty: 2, segment_id(found, "A"): 1}, tmp_path / "o.nrrd")
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), labels_in() == 1)


def test_a_segmentation_of_another_grid_is_put_on_the_volumes(tmp_path):
    fine = np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] = -0.25
    coarse = nodes.volume(numbers((6, 8, 10)), nodes.STRAIGHT)
    array = labels_in((6, 8, 10))
    detailed = nodes.volume(numbers((12, 16, 20)), fine, "Fine")
    found = nodes.segmentation({"A": np.kron(array == 1, np.ones((2, 2, 2))) > 0}, detailed)
    write_labels(found, coarse, {segment_id(found, "A"): 1}, tmp_path / "o.nrrd")
    # Each voxel's center lies in the middle of eight fine ones that agree.
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), array == 1)


def test_a_cropped_or_larger_grid_is_followed_exactly(tmp_path):
    node = nodes.volume()
    found = nodes.segmentation({"A": labels_in() == 1}, node)
    first = np.array([2, -3, 1])
    place = OBLIQUE.copy()
    place[:3, 3] += OBLIQUE[:3, :3] @ first
    other = nodes.volume(numbers((9, 14, 6)), place, "Other")
    write_labels(found, other, {segment_id(found, "A"): 1}, tmp_path / "o.nrrd")
    expected = np.zeros((9, 14, 6), np.uint8)
    expected[0:6, 3:14, 0:6] = (labels_in() == 1)[1:7, 0:11, 2:8]
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), expected)


def test_segments_that_lie_beside_the_volume_are_written_as_nothing(tmp_path):
    node = nodes.volume()
    found = nodes.segmentation({"A": labels_in() == 1}, node)
    place = OBLIQUE.copy()
    place[:3, 3] += OBLIQUE[:3, :3] @ (100, 0, 0)
    other = nodes.volume(numbers((9, 14, 6)), place, "Other")
    assert write_labels(found, other, {segment_id(found, "A"): 1}, tmp_path / "o.nrrd") == []
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), np.zeros((9, 14, 6)))


def test_transforms_of_both_are_followed_when_writing(tmp_path):
    node = nodes.volume()
    found = nodes.segmentation({"A": labels_in() == 1}, node)
    turn = nodes.turned(90, (0, 0, 0))
    # The volume turned by its transform lies where a volume with a turned matrix would.
    found.SetAndObserveTransformNodeID(nodes.transform(turn).GetID())
    other = nodes.volume(ijk_to_ras=turn @ OBLIQUE, name="Turned")
    write_labels(found, other, {segment_id(found, "A"): 1}, tmp_path / "o.nrrd")
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), labels_in() == 1)
    bent = nodes.transform(None)
    for both in (found, node):
        both.SetAndObserveTransformNodeID(bent.GetID())
    write_labels(found, node, {segment_id(found, "A"): 1}, tmp_path / "o.nrrd")
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), labels_in() == 1)


def test_a_bending_transform_of_the_segmentation_alone_moves_its_voxels(tmp_path):
    block = np.zeros((30, 30, 30), bool)
    block[8:22, 8:22, 8:22] = True
    node = nodes.volume(numbers(block.shape), np.diag([2.0, 2, 2, 1]))
    found = nodes.segmentation({"A": block}, node)
    bent = nodes.transform(None)
    found.SetAndObserveTransformNodeID(bent.GetID())
    write_labels(found, node, {segment_id(found, "A"): 1}, tmp_path / "o.nrrd")
    written = nodes.voxels(tmp_path / "o.nrrd") > 0
    center = np.argwhere(block).mean(0)[::-1] * 2
    moved = np.array(bent.GetTransformToParent().TransformPoint(center))
    found_at = np.argwhere(written).mean(0)[::-1] * 2
    assert np.linalg.norm(moved - center) > 1
    assert np.linalg.norm(found_at - moved) < 0.5 * np.linalg.norm(moved - center)


def test_surfaces_are_written_as_voxels(tmp_path):
    block = np.zeros((20, 20, 20), bool)
    block[5:15, 5:15, 5:15] = True
    node = nodes.volume(numbers(block.shape), np.diag([2.0, 2, 2, 1]))
    found = nodes.segmentation({"A": block}, node)
    found.CreateClosedSurfaceRepresentation()
    found.GetSegmentation().SetSourceRepresentationName("Closed surface")
    found.RemoveBinaryLabelmapRepresentation()
    write_labels(found, node, {segment_id(found, "A"): 4}, tmp_path / "o.nrrd")
    written = nodes.voxels(tmp_path / "o.nrrd")
    overlap = 2 * ((written == 4) & block).sum() / ((written > 0).sum() + block.sum())
    assert overlap > 0.9
    assert not found.GetSegmentation().ContainsRepresentation("Binary labelmap")


@pytest.mark.parametrize(("value", "said"), [(0, "1 to 32767"), (40000, "1 to 32767"), (-2, "1 to 32767")])
def test_values_that_no_label_map_has_are_refused(tmp_path, value, said):
    node = nodes.volume()
    found = nodes.segmentation({"A": labels_in() == 1}, node)
    with pytest.raises(InputError, match=said):
        write_labels(found, node, {segment_id(found, "A"): value}, tmp_path / "o.nrrd")
    with pytest.raises(InputError, match="no segment gone any more"):
        write_labels(found, node, {"gone": 1}, tmp_path / "o.nrrd")
