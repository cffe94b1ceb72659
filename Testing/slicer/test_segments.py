"""Label maps that become segments, voxel for voxel, or are refused."""

import nodes
import numpy as np
import pytest
import slicer
import vtk
from bench import failures
from ContrastiveSegPanel.mrml.hierarchy import place_beside
from ContrastiveSegPanel.mrml.scene import (
    load_volume,
    read_labels_into,
    reference_volume,
    segments_of,
    write_labels,
)
from nodes import GRIDS, LABELS, LIVER, OBLIQUE, SHAPE, labels_in, mask_of, segment_id
from numpy.testing import assert_allclose, assert_array_equal

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.errors import InputError


@pytest.fixture(autouse=True)
def _scene(scene):
    """Every test has an empty scene."""


def parent_of(node):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ending", ["mha", "nrrd", "nii.gz"])
def test_a_label_map_becomes_segments_voxel_for_voxel(tmp_path, grid, ending):
    array = labels_in()
    node = nodes.volume(ijk_to_ras=GRIDS[grid])
    file = nodes.label_file(tmp_path / f"l.{ending}", array.astype(np.uint8), GRIDS[grid])
    found, _ = read_labels_into(file, LABELS, node, name="Organs")
    assert found.GetName() == "Organs"
    assert [(s.name, s.color) for s in segments_of(found)] == [(label.name, label.color) for label in LABELS]
    assert segments_of(found)[0].terminology == LIVER
    for label in LABELS:
        assert_array_equal(mask_of(found, label.name, node), array == label.value)
    assert reference_volume(found) is node
    assert found.GetDisplayNode() is not None


def test_nothing_but_the_segmentation_and_its_display_comes_into_the_scene(tmp_path):
    node = nodes.volume()
    count = slicer.mrmlScene.GetNumberOfNodes()
    read_labels_into(nodes.label_file(tmp_path / "l.nrrd", labels_in().astype(np.uint8)), LABELS, node)
    assert slicer.mrmlScene.GetNumberOfNodes() == count + 2


def test_segments_follow_the_values_not_the_order(tmp_path):
    values = (700, 4, 31000)
    array = labels_in(values=values)
    node = nodes.volume()
    labels = [Label(31000, "C"), Label(4, "A"), Label(700, "B")]
    for dtype, ending in ((np.int16, "nrrd"), (np.int32, "nrrd"), (np.uint16, "nrrd"), (np.int64, "nii")):
        file = nodes.label_file(tmp_path / f"l.{ending}", array.astype(dtype))
        found, _ = read_labels_into(file, labels, node)
        assert [s.name for s in segments_of(found)] == ["C", "A", "B"]
        for label in labels:
            assert_array_equal(mask_of(found, label.name, node), array == label.value)


def test_a_label_without_voxels_becomes_an_empty_segment(tmp_path):
    node = nodes.volume()
    file = nodes.label_file(tmp_path / "l.nrrd", np.where(labels_in() == 2, 2, 0).astype(np.uint8))
    found, _ = read_labels_into(file, LABELS, node)
    assert [s.name for s in segments_of(found)] == ["Liver", "Spleen", "Kidney"]
    assert not mask_of(found, "Liver", node).any()
    assert_array_equal(mask_of(found, "Spleen", node), labels_in() == 2)
    found.CreateClosedSurfaceRepresentation()
    assert found.GetClosedSurfaceInternalRepresentation(segment_id(found, "Liver")).GetNumberOfPoints() == 0


def test_a_label_map_without_any_label_becomes_empty_segments(tmp_path):
    node = nodes.volume()
    found, _ = read_labels_into(nodes.label_file(tmp_path / "l.nrrd", np.zeros(SHAPE, np.uint8)), LABELS, node)
    assert not any(mask_of(found, label.name, node).any() for label in LABELS)
    # The user can draw in them, each for itself.
    drawn = labels_in() == 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn.astype(np.uint8), found, segment_id(found, "Liver"), node)
    assert_array_equal(mask_of(found, "Liver", node), drawn)
    assert not mask_of(found, "Spleen", node).any()


def test_labels_of_one_name_become_a_segment_each(tmp_path):
    array = labels_in(values=(1, 2))
    node = nodes.volume()
    file = nodes.label_file(tmp_path / "l.nrrd", array.astype(np.uint8))
    labels = [Label(1, "Cyst"), Label(2, "Cyst")]
    found, _ = read_labels_into(file, labels, node)
    again, _ = read_labels_into(file, labels, node, found)
    first, second = (s.id for s in segments_of(again))
    assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(again, first, node) > 0, array == 1)
    assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(again, second, node) > 0, array == 2)


def test_label_maps_that_do_not_fit_are_refused_before_anything_is_made(tmp_path):
    node = nodes.volume()
    count = slicer.mrmlScene.GetNumberOfNodes()
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.1
    flipped = OBLIQUE @ np.array([[-1, 0, 0, SHAPE[2] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    array = labels_in().astype(np.uint8)
    for name, file, said in (
        ("shape", nodes.label_file(tmp_path / "s.nrrd", labels_in((7, 13, 11)).astype(np.uint8)), "11 x 13 x 7"),
        ("moved", nodes.label_file(tmp_path / "m.nrrd", array, moved), "lies elsewhere"),
        ("flipped", nodes.label_file(tmp_path / "f.nrrd", array, flipped), "lies elsewhere"),
        ("unknown", nodes.label_file(tmp_path / "u.nrrd", labels_in(values=(1, 9)).astype(np.uint8)), "of value 9"),
        ("negative", nodes.label_file(tmp_path / "n.nrrd", -array.astype(np.int16)), "of value -3, -2, -1"),
        ("fractions", nodes.label_file(tmp_path / "x.nrrd", array.astype(np.float32)), "float32"),
        ("missing", tmp_path / "none.nrrd", "does not exist"),
    ):
        with pytest.raises(InputError, match=said):
            read_labels_into(file, LABELS, node)
        assert slicer.mrmlScene.GetNumberOfNodes() == count, name
    between = nodes.label_file(tmp_path / "b.nrrd", labels_in(values=(1, 2, 3)).astype(np.uint8))
    with pytest.raises(InputError, match="of value 2,"):
        read_labels_into(between, [Label(1, "A"), Label(3, "B")], node)
    with pytest.raises(InputError, match="each once"):
        read_labels_into(tmp_path / "m.nrrd", [Label(1, "A"), Label(1, "B")], nodes.volume(ijk_to_ras=moved))


def test_files_that_slicer_does_not_read_are_refused(tmp_path):
    node = nodes.volume()
    file = nodes.label_file(tmp_path / "l.nrrd", labels_in().astype(np.uint8))
    file.write_bytes(b"no image")
    with pytest.raises(InputError, match="no NRRD file"):
        read_labels_into(file, LABELS, node)
    damaged = tmp_path / "l.nii"
    damaged.write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read"):
        read_labels_into(damaged, LABELS, node)
    assert failures.take(), "VTK says why in Slicer's log"
    # Slicer's reader would crash.
    with pytest.raises(InputError, match="64-bit"):
        read_labels_into(nodes.label_file(tmp_path / "w.nrrd", labels_in()), LABELS, node)


@pytest.mark.parametrize("bent", [False, True], ids=["linear", "grid"])
def test_a_volume_under_a_transform_gives_its_segmentation_the_same_transform(tmp_path, bent):
    node = nodes.volume()
    moved = nodes.transform(None if bent else nodes.turned(30, (5, 6, 7)))
    node.SetAndObserveTransformNodeID(moved.GetID())
    array = labels_in()
    found, _ = read_labels_into(nodes.label_file(tmp_path / "l.nrrd", array.astype(np.uint8)), LABELS, node)
    assert found.GetTransformNodeID() == moved.GetID()
    for label in LABELS:
        layer = found.GetSegmentation().GetSegment(segment_id(found, label.name)).GetRepresentation("Binary labelmap")
        place = vtk.vtkMatrix4x4()
        layer.GetImageToWorldMatrix(place)
        assert_allclose(slicer.util.arrayFromVTKMatrix(place), OBLIQUE, atol=1e-6)
        assert_array_equal(mask_of(found, label.name, node), array == label.value)


def test_a_segmentation_under_another_linear_transform_takes_the_voxels_unchanged(tmp_path):
    node = nodes.volume()
    node.SetAndObserveTransformNodeID(nodes.transform(nodes.turned(30, (5, 6, 7))).GetID())
    other = nodes.segmentation({"Mine": labels_in() == 3}, node)
    other.SetAndObserveTransformNodeID(nodes.transform(nodes.turned(-50, (1, 2, 3))).GetID())
    array = labels_in(seed=4)
    file = nodes.label_file(tmp_path / "l.nrrd", array.astype(np.uint8))
    found, _ = read_labels_into(file, LABELS, node, other)
    assert found is other
    assert write_labels(found, node, {segment_id(found, x.name): x.value for x in LABELS}, tmp_path / "o.nrrd") == []
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), array)


@pytest.mark.parametrize("bent", [False, True], ids=["sheared", "grid"])
def test_a_segmentation_that_would_need_resampling_is_refused(tmp_path, bent):
    node = nodes.volume()
    other = nodes.segmentation({"Mine": labels_in() == 3}, node)
    shear = np.eye(4)
    shear[0, 1] = 0.3
    other.SetAndObserveTransformNodeID(nodes.transform(None if bent else shear).GetID())
    before = mask_of(other, "Mine", node)
    with pytest.raises(InputError, match="another transform"):
        read_labels_into(nodes.label_file(tmp_path / "l.nrrd", labels_in().astype(np.uint8)), LABELS, node, other)
    assert [s.name for s in segments_of(other)] == ["Mine"]
    assert_array_equal(mask_of(other, "Mine", node), before)


def test_a_segmentation_of_surfaces_is_refused_with_what_to_do(tmp_path):
    node = nodes.volume()
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Contours")
    other.GetSegmentation().SetSourceRepresentationName("Closed surface")
    file = nodes.label_file(tmp_path / "l.nrrd", labels_in().astype(np.uint8))
    with pytest.raises(InputError, match="Contours is stored as"):
        read_labels_into(file, LABELS, node, other)


def test_an_empty_segmentation_takes_the_volumes_place(tmp_path):
    node = nodes.volume()
    node.SetAndObserveTransformNodeID(nodes.transform(nodes.turned(30, (5, 6, 7))).GetID())
    other = nodes.segmentation({}, nodes.volume(name="Other"))
    found, _ = read_labels_into(
        nodes.label_file(tmp_path / "l.nrrd", labels_in().astype(np.uint8)), LABELS, node, other
    )
    assert found is other
    assert found.GetTransformNodeID() == node.GetTransformNodeID()
    assert reference_volume(found) is node
    assert_array_equal(mask_of(found, "Kidney", node), labels_in() == 3)


@pytest.mark.parametrize("name", ["Volume", "", "x" * 300])
def test_a_new_segmentation_stands_with_its_volume(tmp_path, name):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = nodes.volume(name=name)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    file = nodes.label_file(tmp_path / "l.nrrd", labels_in().astype(np.uint8))
    found, _ = read_labels_into(file, LABELS, node)
    uncertainty = load_volume(file, node, "Uncertainty")
    assert parent_of(found) == parent_of(uncertainty) == study


def test_without_subject_hierarchy_items_a_segmentation_is_made_all_the_same(tmp_path):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = nodes.volume()
    hierarchy.RemoveItem(hierarchy.GetItemByDataNode(node), False, False)
    found, _ = read_labels_into(nodes.label_file(tmp_path / "l.nrrd", labels_in().astype(np.uint8)), LABELS, node)
    assert len(segments_of(found)) == 3
    assert parent_of(found) == hierarchy.GetSceneItemID()
    place_beside(slicer.vtkMRMLSegmentationNode(), nodes.volume())


def test_names_colors_and_codes_survive_a_seg_nrrd(tmp_path):
    node = nodes.volume()
    file = nodes.label_file(tmp_path / "l.nrrd", labels_in().astype(np.uint8))
    found, _ = read_labels_into(file, LABELS, node)
    storage = found.CreateDefaultStorageNode()
    storage.SetFileName(str(tmp_path / "organs.seg.nrrd"))
    assert storage.WriteData(found)
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Again")
    assert storage.ReadData(again)
    told = [(s.name, s.color, s.terminology) for s in segments_of(found)]
    assert [(s.name, s.color, s.terminology) for s in segments_of(again)] == told
    assert told[0] == ("Liver", (221, 130, 101), LIVER)
    for label in LABELS:
        assert_array_equal(mask_of(again, label.name, node), labels_in() == label.value)
    values = {segment_id(again, label.name): label.value for label in LABELS}
    write_labels(again, node, values, tmp_path / "o.nrrd")
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), labels_in())
