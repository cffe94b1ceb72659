"""Volumes between scene and files, voxel for voxel, and the names of those files."""

from pathlib import Path

import nodes
import numpy as np
import pytest
import slicer
import vtk
from ContrastiveSegPanel.mrml.scene import (
    FILE_ENDING,
    load_volume,
    read_labels_into,
    safe_names,
    segments_of,
    write_labels,
    write_volume,
)
from nodes import GRIDS, LABELS, LIVER, OBLIQUE, SHAPE, labels_in, numbers, segment_id
from numpy.testing import assert_allclose, assert_array_equal
from vtk.util import numpy_support

from contrastiveseg.errors import InputError


@pytest.fixture(autouse=True)
def _scene(scene):
    """Every test has an empty scene."""


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
def test_colors_vectors_and_time_points_are_refused(tmp_path, kind, components):
    node = slicer.mrmlScene.AddNewNodeByClass(kind, "V")
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, components)
    node.SetAndObserveImageData(image)
    with pytest.raises(InputError, match=f"V has {components} values a voxel"):
        write_volume(node, tmp_path / "a.nrrd")


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


def test_segments_are_told_with_colors_and_codes():
    node = nodes.volume()
    found = nodes.segmentation({"A": labels_in() == 1}, node)
    segment = found.GetSegmentation().GetSegment(segment_id(found, "A"))
    segment.SetColor(1.0, 0.5, 0.0)
    segment.SetTerminology(LIVER)
    (told,) = segments_of(found)
    assert (told.id, told.name, told.color, told.terminology) == (segment_id(found, "A"), "A", (255, 128, 0), LIVER)


def test_the_engine_reads_what_is_written(tmp_path):
    from contrastiveseg.volumes.reading import read_volume

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
