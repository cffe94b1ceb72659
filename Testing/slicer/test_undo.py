"""Writing into a segmentation that the user has worked on: what stays, and what undoing brings back."""

from types import SimpleNamespace

import nodes
import numpy as np
import pytest
import slicer
from ContrastiveSegPanel.mrml.scene import read_labels_into, reference_volume
from looked_at import SURFACE, look, of, values_in_layer, without
from nodes import labels_in, mask_of, segment_id
from numpy.testing import assert_array_equal
from vtk.util import numpy_support

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.errors import InputError

LABELS = (Label(1, "Liver", (221, 130, 101), "a~SCT^1^A~SCT^2^B~^^~r~^^~^^"), Label(2, "Spleen", (157, 108, 162)))


@pytest.fixture
def file(scene, tmp_path):
    """A label map with liver and spleen."""
    return nodes.label_file(tmp_path / "l.nrrd", labels_in(values=(1, 2), seed=7).astype(np.uint8))


@pytest.fixture
def volume(scene):
    return nodes.volume()


@pytest.fixture
def mine(volume):
    """Three segments of one layer and one that overlaps them, each shown in its own way; Liver is a label's name."""
    array = labels_in()
    node = nodes.segmentation({"Vessel": array == 1, "Liver": array == 2, "Bone": array == 3}, volume, "Mine")
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    identifier = node.GetSegmentation().AddEmptySegment("", "Body")
    slicer.util.updateSegmentBinaryLabelmapFromArray((array > 0).astype(np.uint8), node, identifier, volume)
    node.GetSegmentation().ReorderSegments([segment_id(node, n) for n in ("Bone", "Body", "Liver", "Vessel")])
    display = node.GetDisplayNode()
    for number, name in enumerate(("Vessel", "Liver", "Bone", "Body")):
        segment = node.GetSegmentation().GetSegment(segment_id(node, name))
        segment.SetColor(0.1 * number, 0.2, 0.3)
        segment.SetTerminology(f"mine~SCT^{number}^N~SCT^{number}^N~^^~r~^^~^^")
        segment.SetTag("note", name)
        display.SetSegmentVisibility(segment_id(node, name), number != 1)
        display.SetSegmentOpacity3D(segment_id(node, name), 0.1 * number)
        display.SetSegmentOpacity2DFill(segment_id(node, name), 0.3)
    return node


def test_other_segments_stay_bit_for_bit(mine, volume, file):
    before = look(mine)
    node, _ = read_labels_into(file, LABELS, volume, mine)
    after = look(node)
    assert [s["name"] for s in after[0]] == ["Bone", "Body", "Liver", "Vessel", "Spleen"]
    assert of(after, "Body") == of(before, "Body")
    for name in ("Bone", "Vessel"):
        # Of the layer they shared with the liver they keep all but the liver's voxels.
        assert without(of(after, name), "voxels", "layer") == without(of(before, name), "voxels", "layer")
        assert_array_equal(mask_of(node, name, volume), labels_in() == (3 if name == "Bone" else 1))
    assert of(after, "Bone")["layer"] == of(after, "Vessel")["layer"]
    assert after[1] == before[1]


def test_a_segment_of_the_same_name_gets_new_voxels_and_keeps_how_it_is_shown(mine, volume, file):
    before = of(look(mine), "Liver")
    read_labels_into(file, LABELS, volume, mine)
    after = of(look(mine), "Liver")
    for key in ("id", "name", "color", "terminology", "visible", "opacity"):
        assert after[key] == before[key]
    array = labels_in(values=(1, 2), seed=7)
    assert_array_equal(mask_of(mine, "Liver", volume), array == 1)
    assert_array_equal(mask_of(mine, "Spleen", volume), array == 2)
    assert after["tags"] == ("Liver", "inprogress")
    assert of(look(mine), "Spleen")["color"] == pytest.approx((157 / 255, 108 / 255, 162 / 255))


def test_voxels_that_leave_a_shared_layer_leave_nothing_behind(mine, volume, file):
    read_labels_into(file, LABELS, volume, mine)
    # Slicer gives a new segment a value that is free in the layer; old voxels of that value would appear in it.
    values = {mine.GetSegmentation().GetSegment(segment_id(mine, n)).GetLabelValue() for n in ("Bone", "Vessel")}
    assert values_in_layer(mine, "Bone") == {0, *values}


def test_segments_that_are_one_in_their_layer_keep_its_voxels(mine, volume, file):
    segmentation = mine.GetSegmentation()
    twin = slicer.vtkSegment()
    twin.DeepCopyMetadata(segmentation.GetSegment(segment_id(mine, "Liver")))
    twin.SetName("Twin")
    layer = segmentation.GetSegment(segment_id(mine, "Liver")).GetRepresentation("Binary labelmap")
    twin.AddRepresentation("Binary labelmap", layer)
    segmentation.AddSegment(twin)
    before = look(mine)
    _, undo = read_labels_into(file, LABELS, volume, mine)
    assert_array_equal(mask_of(mine, "Twin", volume), labels_in() == 2)
    undo()
    assert look(mine) == before


@pytest.mark.parametrize("shown_in_3d", [False, True])
def test_undo_restores_exactly_what_was_there(mine, volume, file, shown_in_3d):
    if shown_in_3d:
        mine.CreateClosedSurfaceRepresentation()
    before = look(mine)
    _, undo = read_labels_into(file, LABELS, volume, mine)
    assert look(mine) != before
    assert not undo.edited_since
    undo()
    assert look(mine) == before


def test_undo_of_several_results_goes_back_step_by_step(mine, volume, file, tmp_path):
    looks, undos = [look(mine)], []
    for seed in (11, 12):
        other = nodes.label_file(tmp_path / f"{seed}.nrrd", labels_in(values=(1, 2), seed=seed).astype(np.uint8))
        undos.append(read_labels_into(other, LABELS, volume, mine)[1])
        looks.append(look(mine))
    undos[1]()
    assert look(mine) == looks[1]
    undos[0]()
    assert look(mine) == looks[0]


def test_undo_of_a_new_segmentation_removes_it_and_its_display(volume, file, scene):
    count = scene.GetNumberOfNodes()
    node, undo = read_labels_into(file, LABELS, volume)
    node.CreateClosedSurfaceRepresentation()
    undo()
    assert scene.GetNumberOfNodes() == count
    assert node.GetScene() is None


def test_undo_of_a_new_segmentation_keeps_what_the_user_drew_in_it(volume, file):
    node, undo = read_labels_into(file, LABELS, volume)
    drawn = labels_in(values=(1, 2), seed=7) == 0
    identifier = node.GetSegmentation().AddEmptySegment("", "Drawn")
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn.astype(np.uint8), node, identifier, volume)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    undo()
    assert values_in_layer(node, "Drawn") == {0, node.GetSegmentation().GetSegment(identifier).GetLabelValue()}
    assert [s["name"] for s in look(node)[0]] == ["Drawn"]
    assert_array_equal(mask_of(node, "Drawn", volume), drawn)
    assert reference_volume(node) is volume


def test_undo_works_once(mine, volume, file):
    _, undo = read_labels_into(file, LABELS, volume, mine)
    assert undo.refusal is None
    undo()
    before = look(mine)
    assert undo.refusal == "This was undone already."
    with pytest.raises(InputError, match="undone already"):
        undo()
    assert look(mine) == before


@pytest.mark.parametrize("how", ["removed", "closed"])
def test_undo_is_refused_when_the_segmentation_is_gone(mine, volume, file, scene, how):
    _, undo = read_labels_into(file, LABELS, volume, mine)
    scene.RemoveNode(mine) if how == "removed" else scene.Clear(0)
    # Another node may have the ID meanwhile.
    again = nodes.segmentation({"Other": labels_in() == 1}, nodes.volume())
    assert undo.refusal == "The segmentation was removed since, so there is nothing to undo."
    assert not undo.edited_since
    with pytest.raises(InputError, match="was removed since"):
        undo()
    assert [s["name"] for s in look(again)[0]] == ["Other"]


def test_undo_keeps_what_was_done_to_other_segments_since(mine, volume, file):
    _, undo = read_labels_into(file, LABELS, volume, mine)
    before = labels_in()
    drawn = labels_in(seed=3) == 1
    bone, new = segment_id(mine, "Bone"), mine.GetSegmentation().AddEmptySegment("", "New")
    for identifier in (bone, new):
        slicer.util.updateSegmentBinaryLabelmapFromArray(drawn.astype(np.uint8), mine, identifier, volume)
    mine.GetSegmentation().RemoveSegment(segment_id(mine, "Vessel"))
    mine.GetSegmentation().GetSegment(bone).SetColor(1, 1, 1)
    assert not undo.edited_since
    undo()
    assert [s["name"] for s in look(mine)[0]] == ["Bone", "Body", "Liver", "New"]
    for name, voxels in (("Bone", drawn), ("New", drawn), ("Liver", before == 2), ("Body", before > 0)):
        assert_array_equal(mask_of(mine, name, volume), voxels, name)
    assert of(look(mine), "Bone")["color"] == (1, 1, 1)


def test_undo_tells_when_it_would_throw_away_corrections(mine, volume, file):
    _, undo = read_labels_into(file, LABELS, volume, mine)
    before = labels_in()
    drawn = labels_in(seed=3) == 1
    liver = segment_id(mine, "Liver")
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn.astype(np.uint8), mine, liver, volume)
    assert undo.edited_since
    undo()
    assert_array_equal(mask_of(mine, "Liver", volume), before == 2)


def test_undo_brings_back_a_segment_that_was_removed_since(mine, volume, file):
    looked = look(mine)
    _, undo = read_labels_into(file, LABELS, volume, mine)
    mine.GetSegmentation().RemoveSegment(segment_id(mine, "Liver"))
    undo()
    shown = ("visible", "opacity")  # went with the segment
    assert [without(s, *shown) for s in look(mine)[0]] == [without(s, *shown) for s in looked[0]]


def test_undo_of_an_empty_segmentation_takes_its_place_back(volume, file):
    volume.SetAndObserveTransformNodeID(nodes.transform(nodes.turned(30, (5, 6, 7))).GetID())
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    node.CreateDefaultDisplayNodes()
    before = look(node)
    _, undo = read_labels_into(file, LABELS, volume, node)
    assert look(node)[1] != before[1]
    undo()
    assert look(node) == before
    assert reference_volume(node) is None


def test_the_reference_of_an_existing_segmentation_stays(mine, volume, file):
    other = nodes.volume(name="Other")
    read_labels_into(file, LABELS, other, mine)
    assert reference_volume(mine) is volume


def test_a_segmentation_without_reference_gets_the_volume(mine, volume, file):
    mine.SetNodeReferenceID(mine.GetReferenceImageGeometryReferenceRole(), None)
    before = look(mine)
    _, undo = read_labels_into(file, LABELS, volume, mine)
    assert reference_volume(mine) is volume
    undo()
    assert look(mine) == before


def surface_of(node, name):
    return node.GetClosedSurfaceInternalRepresentation(segment_id(node, name))


@pytest.mark.parametrize("joint", [False, True])
def test_surfaces_follow_the_voxels(mine, volume, file, joint):
    mine.GetSegmentation().SetConversionParameter("Joint smoothing", "1" if joint else "0")
    mine.CreateClosedSurfaceRepresentation()
    bone = surface_of(mine, "Bone")
    read_labels_into(file, LABELS, volume, mine)
    made = {s["name"]: s["surface"] for s in look(mine)[0]}
    assert set(made) == {"Bone", "Body", "Liver", "Vessel", "Spleen"}
    assert (surface_of(mine, "Bone") is bone) != joint
    kept = {name: numpy_support.vtk_to_numpy(surface_of(mine, name).GetPoints().GetData()) for name in made}
    mine.RemoveClosedSurfaceRepresentation()
    mine.CreateClosedSurfaceRepresentation()
    for name, points in kept.items():
        assert_array_equal(numpy_support.vtk_to_numpy(surface_of(mine, name).GetPoints().GetData()), points, name)


@pytest.mark.parametrize("smoother", [False, True])
def test_undo_puts_old_surfaces_back_unless_they_are_made_otherwise_now(mine, volume, file, smoother):
    mine.CreateClosedSurfaceRepresentation()
    liver = surface_of(mine, "Liver")
    _, undo = read_labels_into(file, LABELS, volume, mine)
    if smoother:
        mine.GetSegmentation().SetConversionParameter("Smoothing factor", "0.1")
    undo()
    assert (surface_of(mine, "Liver") is liver) != smoother


def test_without_surfaces_none_are_made(mine, volume, file):
    _, undo = read_labels_into(file, LABELS, volume, mine)
    assert not mine.GetSegmentation().ContainsRepresentation(SURFACE)
    undo()
    assert not mine.GetSegmentation().ContainsRepresentation(SURFACE)


def test_views_are_told_when_all_voxels_are_there_and_not_before(mine, volume, file):
    seen = {}

    def follow(event):
        def changed(*_):
            seen.setdefault(event, []).append((look(mine)[0][-1]["name"], mask_of(mine, "Liver", volume).sum()))

        return mine.AddObserver(event, changed)

    events = slicer.vtkSegmentation
    tags = [follow(e) for e in (events.SegmentAdded, events.SegmentModified, events.SourceRepresentationModified)]
    read_labels_into(file, LABELS, volume, mine)
    for tag in tags:
        mine.RemoveObserver(tag)
    assert len(seen) == 3
    assert {what for told in seen.values() for what in told} == {
        ("Spleen", (labels_in(values=(1, 2), seed=7) == 1).sum())
    }


class Editor:
    """The part of Slicer's Segment Editor that undo speaks to, with the history Slicer's own has."""

    def __init__(self, node):
        self.node = node
        self.history = slicer.vtkSegmentationHistory()
        self.history.SetSegmentation(node.GetSegmentation())

    def segmentationNode(self):
        return self.node

    def saveStateForUndo(self):
        assert self.history.SaveState()


@pytest.fixture
def editor(mine, monkeypatch):
    made = Editor(mine)
    monkeypatch.setattr(slicer.modules, "SegmentEditorWidget", SimpleNamespace(editor=made), raising=False)
    return made


def test_the_segment_editors_own_undo_reaches_back_over_a_result(mine, volume, file, editor):
    before = look(mine)
    _, undo = read_labels_into(file, LABELS, volume, mine)
    after = look(mine)
    editor.history.RestorePreviousState()
    assert look(mine) == before
    editor.history.RestoreNextState()
    assert look(mine) == after
    # Its layers are copies now, so that ours cannot be told from edited ones; voxels come back all the same.
    undo()
    for name, value in (("Vessel", 1), ("Liver", 2), ("Bone", 3)):
        assert_array_equal(mask_of(mine, name, volume), labels_in() == value)
    assert [s["name"] for s in look(mine)[0]] == [s["name"] for s in before[0]]


def test_the_segment_editors_history_is_right_after_our_undo(mine, volume, file, editor):
    before = look(mine)
    _, undo = read_labels_into(file, LABELS, volume, mine)
    editor.saveStateForUndo()
    undo()
    editor.saveStateForUndo()
    mine.GetSegmentation().RemoveSegment(segment_id(mine, "Liver"))
    editor.history.RestorePreviousState()
    assert [without(s, "visible", "opacity") for s in look(mine)[0]] == [
        without(s, "visible", "opacity") for s in before[0]
    ]


def test_an_editor_that_shows_another_segmentation_is_left_alone(volume, file, editor):
    _, undo = read_labels_into(file, LABELS, volume)
    undo()
    assert editor.history.GetNumberOfStates() == 0
