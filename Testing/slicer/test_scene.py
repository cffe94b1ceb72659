"""Volumes and label maps between scene and files, voxel for voxel."""

from pathlib import Path

import nodes
import numpy as np
import pytest
import slicer
import vtk
from bench import failures
from ContrastiveSegPanel.hierarchy import place_beside
from ContrastiveSegPanel.scene import (
    FILE_ENDING,
    load_volume,
    read_labels_into,
    reference_volume,
    safe_names,
    segments_of,
    write_labels,
    write_volume,
)
from nodes import GRIDS, OBLIQUE, SHAPE, labels_in, mask_of, numbers, segment_id
from numpy.testing import assert_allclose, assert_array_equal
from vtk.util import numpy_support

from ContrastiveSegLib.checkpoints.card import Label
from ContrastiveSegLib.errors import InputError

LIVER = "Segmentation category and type~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~regions~^^~^^"
LABELS = (
    Label(1, "Liver", (221, 130, 101), LIVER),
    Label(2, "Spleen", (157, 108, 162)),
    Label(3, "Kidney", (185, 102, 83)),
)


@pytest.fixture(autouse=True)
def _scene(scene):
    """Every test has an empty scene."""


def parent_of(node):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    return hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ending", ["mha", "nrrd", "nii"])
def test_a_volume_is_written_on_its_own_grid(tmp_path, grid, ending):
    path = tmp_path / f"a.{ending}"
    node = nodes.volume(ijk_to_ras=GRIDS[grid])
    node.SetAndObserveTransformNodeID(nodes.transform(nodes.turned(30, (5, 6, 7))).GetID())
    write_volume(node, path)
    assert_array_equal(nodes.voxels(path), numbers())
    assert_allclose(nodes.ijk_to_ras_of(path), GRIDS[grid], atol=1e-5 if ending == "nii" else 1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("ending", ["mha", "nrrd"])
def test_a_volume_keeps_its_kind_of_number(tmp_path, dtype, ending):
    array = numbers(dtype=np.int32).astype(dtype)
    node = nodes.volume(numbers())
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*SHAPE[::-1])
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(array.ravel(), deep=True))
    node.SetAndObserveImageData(image)
    write_volume(node, tmp_path / f"a.{ending}")
    written = nodes.voxels(tmp_path / f"a.{ending}")
    assert written.dtype == (np.int32 if dtype is np.int64 else dtype)
    assert_array_equal(written, array)


@pytest.mark.parametrize(("ending", "raw"), [(FILE_ENDING, b"CompressedData = False"), (".nrrd", b"encoding: raw")])
def test_writing_leaves_the_volume_and_the_scene_as_they_were(tmp_path, ending, raw):
    node = nodes.volume(name="Jane Doe")
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    count, changed = slicer.mrmlScene.GetNumberOfNodes(), node.GetMTime()
    write_volume(node, tmp_path / f"a{ending}")
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert node.GetMTime() == changed
    assert node.GetStorageNode() is None
    head = (tmp_path / f"a{ending}").read_bytes()[:1000]
    assert b"1.2.3" not in head
    assert raw in head


def test_voxels_counted_from_elsewhere_than_zero_stay_where_they_are(tmp_path):
    node = nodes.volume(ijk_to_ras=OBLIQUE)
    node.GetImageData().SetExtent(2, 14, -3, 7, 5, 11)
    write_volume(node, tmp_path / "a.nrrd")
    moved = OBLIQUE.copy()
    moved[:3, 3] += OBLIQUE[:3, :3] @ (2, -3, 5)
    assert_allclose(nodes.ijk_to_ras_of(tmp_path / "a.nrrd"), moved, atol=1e-9)
    assert_array_equal(nodes.voxels(tmp_path / "a.nrrd"), numbers())
    file = nodes.label_file(tmp_path / "l.nrrd", labels_in().astype(np.uint8), moved)
    found, _ = read_labels_into(file, LABELS, node)
    for label in LABELS:
        layer = found.GetSegmentation().GetSegment(segment_id(found, label.name)).GetRepresentation("Binary labelmap")
    place = vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(place)
    assert_allclose(slicer.util.arrayFromVTKMatrix(place) @ [*layer.GetExtent()[::2], 1], moved @ (1, 1, 1, 1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: None, "No volume is chosen"),
        (lambda: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "V"), "V holds no voxels"),
        (lambda: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "V"), "V is no volume"),
        (lambda: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "V"), "V is a sequence"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, make, said):
    with pytest.raises(InputError, match=said):
        write_volume(make(), tmp_path / "a.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_an_image_without_voxels_is_refused(tmp_path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "V")
    node.SetAndObserveImageData(slicer.vtkOrientedImageData())
    with pytest.raises(InputError, match="V holds no voxels"):
        write_volume(node, tmp_path / "a.nrrd")


@pytest.mark.parametrize(("kind", "components"), [("vtkMRMLVectorVolumeNode", 3), ("vtkMRMLScalarVolumeNode", 4)])
def test_colours_vectors_and_time_points_are_refused(tmp_path, kind, components):
    node = slicer.mrmlScene.AddNewNodeByClass(kind, "V")
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, components)
    node.SetAndObserveImageData(image)
    with pytest.raises(InputError, match=f"V has {components} values a voxel"):
        write_volume(node, tmp_path / "a.nrrd")


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ending", ["mha", "nrrd", "nii.gz"])
def test_a_label_map_becomes_segments_voxel_for_voxel(tmp_path, grid, ending):
    array = labels_in()
    node = nodes.volume(ijk_to_ras=GRIDS[grid])
    file = nodes.label_file(tmp_path / f"l.{ending}", array.astype(np.uint8), GRIDS[grid])
    found, _ = read_labels_into(file, LABELS, node, name="Organs")
    assert found.GetName() == "Organs"
    assert [(s.name, s.colour) for s in segments_of(found)] == [(label.name, label.colour) for label in LABELS]
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


def test_names_colours_and_codes_survive_a_seg_nrrd(tmp_path):
    node = nodes.volume()
    file = nodes.label_file(tmp_path / "l.nrrd", labels_in().astype(np.uint8))
    found, _ = read_labels_into(file, LABELS, node)
    storage = found.CreateDefaultStorageNode()
    storage.SetFileName(str(tmp_path / "organs.seg.nrrd"))
    assert storage.WriteData(found)
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Again")
    assert storage.ReadData(again)
    told = [(s.name, s.colour, s.terminology) for s in segments_of(found)]
    assert [(s.name, s.colour, s.terminology) for s in segments_of(again)] == told
    assert told[0] == ("Liver", (221, 130, 101), LIVER)
    for label in LABELS:
        assert_array_equal(mask_of(again, label.name, node), labels_in() == label.value)
    values = {segment_id(again, label.name): label.value for label in LABELS}
    write_labels(again, node, values, tmp_path / "o.nrrd")
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), labels_in())


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
    found = nodes.segmentation({"Liver": low, "Tumour": high}, node)
    liver, tumour = (segment_id(found, name) for name in ("Liver", "Tumour"))
    told = write_labels(found, node, {tumour: 1, liver: 2}, tmp_path / "o.nrrd")
    assert told == ["Tumour hides 32 voxels of Liver, which it overlaps."]
    assert_array_equal(nodes.voxels(tmp_path / "o.nrrd"), np.where(high, 1, np.where(low, 2, 0)))
    assert write_labels(found, node, {tumour: 2, liver: 2}, tmp_path / "o.nrrd") == []
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
    # Each voxel's centre lies in the middle of eight fine ones that agree.
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
    centre = np.argwhere(block).mean(0)[::-1] * 2
    moved = np.array(bent.GetTransformToParent().TransformPoint(centre))
    found_at = np.argwhere(written).mean(0)[::-1] * 2
    assert np.linalg.norm(moved - centre) > 1
    assert np.linalg.norm(found_at - moved) < 0.5 * np.linalg.norm(moved - centre)


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


def test_an_uncertainty_map_is_placed_like_its_volume(tmp_path):
    node = nodes.volume()
    node.SetAndObserveTransformNodeID(nodes.transform(nodes.turned(30, (5, 6, 7))).GetID())
    array = np.random.default_rng(0).random(SHAPE, np.float32)
    file = nodes.label_file(tmp_path / "u.nii.gz", array)
    found = load_volume(file, node, "Uncertainty")
    assert found.GetName() == "Uncertainty"
    assert_array_equal(slicer.util.arrayFromVolume(found), array)
    theirs, ours = (vtk.vtkMatrix4x4() for _ in range(2))
    node.GetIJKToRASMatrix(theirs)
    found.GetIJKToRASMatrix(ours)
    assert_array_equal(slicer.util.arrayFromVTKMatrix(ours), slicer.util.arrayFromVTKMatrix(theirs))
    assert found.GetTransformNodeID() == node.GetTransformNodeID()
    assert found.GetDisplayNode() is not None
    with pytest.raises(InputError, match="one grid"):
        load_volume(nodes.label_file(tmp_path / "w.nrrd", array[1:]), node, "Wrong")


def test_files_numbered_alike_are_not_read_as_slices(tmp_path):
    node = nodes.volume()
    first = nodes.label_file(tmp_path / f"case_1{FILE_ENDING}", labels_in(seed=1).astype(np.uint8))
    nodes.label_file(tmp_path / f"case_2{FILE_ENDING}", labels_in(seed=2).astype(np.uint8))
    assert_array_equal(slicer.util.arrayFromVolume(load_volume(first, node, "U")), labels_in(seed=1))


def test_case_names_are_safe_and_unique():
    names = [
        "MR brain",
        "MR/brain",
        "mr-BRAIN",
        "Ärzte: <1>",
        "",
        "CON",
        "scan_0000",
        "scan_0001",
        "..",
        "病人",
        "a" * 300,
    ]
    names.append("a" * 300)
    given = [nodes.volume() for _ in names]
    for node, name in zip(given, names, strict=True):
        node.SetName(name)
    found = [safe_names(given)[node.GetID()] for node in given]
    assert len({name.lower() for name in found}) == len(names)
    assert found[:4] == ["MR-brain", "MR-brain-2", "mr-BRAIN-3", "Arzte-1"]
    assert found[4:9] == ["case", "CON-2", "scan-0000", "scan-0001", "case-2"]
    assert all(name.isascii() and len(name) <= 64 and Path(name).name == name for name in found)


def test_segments_are_told_with_colours_and_codes():
    node = nodes.volume()
    found = nodes.segmentation({"A": labels_in() == 1}, node)
    segment = found.GetSegmentation().GetSegment(segment_id(found, "A"))
    segment.SetColor(1.0, 0.5, 0.0)
    segment.SetTerminology(LIVER)
    (told,) = segments_of(found)
    assert (told.id, told.name, told.colour, told.terminology) == (segment_id(found, "A"), "A", (255, 128, 0), LIVER)


def test_the_engine_reads_what_is_written(tmp_path):
    from ContrastiveSegLib.volumes.reading import read_volume

    node = nodes.volume()
    write_volume(node, tmp_path / f"a{FILE_ENDING}")
    assert_array_equal(np.squeeze(read_volume(tmp_path / f"a{FILE_ENDING}").array), numbers())


@pytest.mark.parametrize("ending", [FILE_ENDING, ".nrrd"])
def test_a_sheared_grid_is_kept_as_it_is(tmp_path, ending):
    """As of a CT with tilted gantry that was not straightened."""
    sheared = OBLIQUE.copy()
    sheared[:3, 2] += 0.4 * OBLIQUE[:3, 1]
    node = nodes.volume(ijk_to_ras=sheared)
    write_volume(node, tmp_path / f"a{ending}")
    assert_allclose(nodes.ijk_to_ras_of(tmp_path / f"a{ending}"), sheared, atol=1e-9)
    file = nodes.label_file(tmp_path / f"l{ending}", labels_in().astype(np.uint8), sheared)
    found, _ = read_labels_into(file, LABELS, node)
    values = {segment_id(found, label.name): label.value for label in LABELS}
    write_labels(found, node, values, tmp_path / f"o{ending}")
    assert_array_equal(nodes.voxels(tmp_path / f"o{ending}"), labels_in())
