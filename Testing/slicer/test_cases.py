"""Which volumes of the scene are cases, what is learned from them, and whether the user's choices last."""

import numpy as np
import pytest
import slicer
import vtk
from patients import add_patient, add_segmentation, add_volume

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.errors import InputError


def roles(cases):
    return {case.name: case.role for case in cases.rows()}


def pairs(cases):
    return {case.name: case.segmentation_id for case in cases.rows()}


def without_reference(segmentation):
    segmentation.SetNodeReferenceID(segmentation.GetReferenceImageGeometryReferenceRole(), None)


def test_a_segmentation_pairs_with_the_volume_it_was_made_on(cases):
    first, second = add_volume("CT 1"), add_volume("CT 2")
    segmentation = add_segmentation(second, name="CT 1 looks like mine, but is not")
    assert pairs(cases) == {"CT 1": None, "CT 2": segmentation.GetID()}
    assert roles(cases) == {"CT 1": "unlabeled", "CT 2": "train"}
    assert first.GetAttribute("ContrastiveSeg.Role") is None


def test_without_a_reference_the_longest_fitting_name_pairs(cases):
    add_volume("CT 1"), add_volume("CT 12")
    segmentation = add_segmentation(add_volume("elsewhere"), name="ct_12-seg")
    without_reference(segmentation)
    assert pairs(cases) == {"CT 1": None, "CT 12": segmentation.GetID(), "elsewhere": None}


def test_without_reference_or_name_the_only_volume_on_its_grid_pairs(cases):
    volume, other = add_volume("CT"), add_volume("MR")
    other.SetOrigin(5, 0, 0)
    segmentation = add_segmentation(volume, name="something")
    without_reference(segmentation)
    assert pairs(cases) == {"CT": segmentation.GetID(), "MR": None}
    other.SetOrigin(0, 0, 0)
    assert pairs(cases) == {"CT": None, "MR": None}


def test_label_maps_maps_and_empty_volumes_are_no_cases(cases):
    scene = slicer.mrmlScene
    volume = add_volume("CT")
    for name in ("vtkMRMLLabelMapVolumeNode", "vtkMRMLVectorVolumeNode"):
        scene.AddNewNodeByClass(name, name).SetAndObserveImageData(volume.GetImageData())
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing in it")
    hidden = add_volume("hidden")
    hidden.SetHideFromEditors(True)
    assert list(roles(cases)) == ["CT"]


def test_a_prediction_is_not_learned_from_unless_the_user_says_so(cases):
    from ContrastiveSegPanel.workflows.pairing import PREDICTED

    volume, segmentation = add_patient("CT", 0)
    segmentation.SetAttribute(PREDICTED, "starter")
    (case,) = cases.rows()
    assert case.role == "unlabeled"
    assert "checkpoint made" in case.note
    cases.set_role(volume.GetID(), "train")
    assert roles(cases) == {"CT": "train"}


def test_what_people_drew_pairs_before_what_a_checkpoint_made(cases):
    from ContrastiveSegPanel.workflows.pairing import PREDICTED

    volume, predicted = add_patient("CT", 0)
    predicted.SetAttribute(PREDICTED, "starter")
    drawn = add_segmentation(volume)
    assert pairs(cases) == {"CT": drawn.GetID()}


def test_choices_outlive_renaming_and_other_nodes_coming_and_going(cases):
    volume, segmentation = add_patient("CT", 0)
    other = add_segmentation(add_volume("MR"))
    cases.set_role(volume.GetID(), "validation")
    cases.set_segmentation(volume.GetID(), other.GetID())
    volume.SetName("renamed")
    slicer.mrmlScene.RemoveNode(segmentation)
    add_volume("later")
    assert roles(cases)["renamed"] == "validation"
    assert pairs(cases)["renamed"] == other.GetID()


def test_a_role_waits_for_its_segmentation(cases):
    volume, segmentation = add_patient("CT", 0)
    cases.set_role(volume.GetID(), "validation")
    slicer.mrmlScene.RemoveNode(segmentation)
    (case,) = cases.rows()
    assert (case.role, case.segmentation_id) == ("unlabeled", None)
    assert "needs a segmentation" in case.note
    add_segmentation(volume)
    assert roles(cases) == {"CT": "validation"}


def test_choices_are_saved_with_the_scene(cases, tmp_path):
    volume, _segmentation = add_patient("CT", 0)
    other = add_segmentation(add_volume("MR"), name="other")
    cases.set_role(volume.GetID(), "validation")
    cases.set_segmentation(volume.GetID(), other.GetID())
    file = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(file, None)
    slicer.mrmlScene.Clear(0)
    add_volume("here before")
    slicer.mrmlScene.ReadFromMRB(file, False)
    found = {case.name: case for case in cases.rows()}
    assert found["CT"].role == "validation"
    assert slicer.mrmlScene.GetNodeByID(found["CT"].segmentation_id).GetName() == "other"


@pytest.mark.parametrize(
    "change",
    [
        lambda volume, segmentation: volume.SetName("new"),
        lambda volume, segmentation: add_volume("further"),
        lambda volume, segmentation: slicer.mrmlScene.RemoveNode(volume),
        lambda volume, segmentation: slicer.mrmlScene.RemoveNode(segmentation),
        lambda volume, segmentation: segmentation.GetSegmentation().AddEmptySegment("", "third"),
        lambda volume, segmentation: segmentation.GetSegmentation().GetNthSegment(0).SetName("other"),
        lambda volume, segmentation: segmentation.GetSegmentation().RemoveSegment(
            segmentation.GetSegmentation().GetNthSegmentID(0)
        ),
        lambda volume, segmentation: slicer.mrmlScene.Clear(0),
    ],
)
def test_changes_are_told(cases, change):
    volume, segmentation = add_patient("CT", 0)
    cases.rows()
    told = []
    cases.changed.connect(lambda: told.append(1))
    change(volume, segmentation)
    assert told


def test_painting_is_no_change(cases):
    volume, segmentation = add_patient("CT", 0)
    cases.rows()
    told = []
    cases.changed.connect(lambda: told.append(1))
    identifier = segmentation.GetSegmentation().GetNthSegmentID(0)
    array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentation, identifier)
    array[:] = 1 - array
    segmentation.GetSegmentation().GetSegment(identifier).Modified()
    slicer.util.arrayFromVolumeModified(volume)
    assert len(told) <= 2


def test_nothing_is_told_after_cleanup(cases):
    volume, _segmentation = add_patient("CT", 0)
    cases.rows()
    cases.cleanup()
    told = []
    cases.changed.connect(lambda: told.append(1))
    volume.SetName("new")
    add_volume("further")
    assert not told


def test_a_removed_volume_is_let_go(cases):
    volume, segmentation = add_patient("CT", 0)
    cases.rows()
    gone = []
    for node in (volume, segmentation):
        node.AddObserver("DeleteEvent", lambda caller, event: gone.append(event))
        slicer.mrmlScene.RemoveNode(node)
    cases.rows()
    del volume, segmentation, node
    assert gone == ["DeleteEvent", "DeleteEvent"]


def test_names_that_differ_in_case_and_spacing_are_one_structure(cases):
    add_patient("A", 0, ("Left kidney", "liver"))
    add_patient("B", 1, ("left_Kidney", "Tumor"))
    found = {s.name: s.cases for s in cases.structures()}
    assert found == {"Left kidney": 2, "liver": 1, "Tumor": 1}


def test_unlabeled_and_ignored_cases_teach_no_structures(cases):
    first, _segmentation = add_patient("A", 0, ("liver",))
    add_patient("B", 1, ("tumor",))
    cases.set_role(first.GetID(), "ignore")
    assert [s.name for s in cases.structures()] == ["tumor"]


def test_two_names_may_be_learned_as_one(cases):
    from ContrastiveSegPanel.workflows.cases import labels_to_learn, segment_values

    _first, one = add_patient("A", 0, ("Leber", "spleen"))
    _second, two = add_patient("B", 1, ("Liver", "spleen"))
    cases.set_learn_as("leber", "  Liver ")
    structures = cases.structures()
    labels = labels_to_learn(structures)
    assert [(label.value, label.name) for label in labels] == [(1, "Liver"), (2, "spleen")]
    for segmentation in (one, two):
        ids = list(segmentation.GetSegmentation().GetSegmentIDs())
        assert segment_values(structures, labels, segmentation.GetID()) == {ids[0]: 1, ids[1]: 2}


def test_a_structure_left_out_is_background(cases):
    from ContrastiveSegPanel.workflows.cases import labels_to_learn, segment_values

    _volume, segmentation = add_patient("A", 0)
    cases.set_learn("liver", False)
    structures = cases.structures()
    labels = labels_to_learn(structures)
    assert [label.name for label in labels] == ["Spleen"]
    assert list(segment_values(structures, labels, segmentation.GetID()).values()) == [1]


def test_labels_the_checkpoint_knows_keep_their_values(cases):
    from ContrastiveSegPanel.workflows.cases import labels_to_learn

    add_patient("A", 0, ("Tumor", "LIVER"))
    known = (Label(1, "liver", (1, 2, 3)), Label(2, "kidney"))
    labels = labels_to_learn(cases.structures(), known)
    assert [(label.value, label.name) for label in labels] == [(1, "liver"), (2, "Tumor")]
    assert labels[0] is known[0]


def test_more_labels_than_a_head_can_have_are_refused(cases):
    from ContrastiveSegPanel.workflows.cases import Structure, labels_to_learn

    many = [Structure(str(n), str(n), str(n), True, 1, (0, 0, 0), "", ()) for n in range(256)]
    with pytest.raises(InputError, match="at most 255"):
        labels_to_learn(many)
    assert len(labels_to_learn(many[:255], (Label(255, "7"),))) == 255


def test_choices_about_structures_go_to_text_and_back(cases):
    add_patient("A", 0)
    cases.set_learn_as("liver", "Leber")
    cases.set_learn("spleen", False)
    text = cases.choices()
    cases.restore("")
    assert [(s.learn_as, s.learn) for s in cases.structures()] == [("Liver", True), ("Spleen", True)]
    cases.restore(text)
    assert [(s.learn_as, s.learn) for s in cases.structures()] == [("Leber", True), ("Spleen", False)]
    cases.set_learn_as("liver", " ")
    assert cases.structures()[0].learn_as == "Liver"


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "7",
        '["learn_as"]',
        '{"learn_as": 7, "left_out": 7}',
        '{"learn_as": ["liver"], "left_out": {"liver": 1}}',
        '{"learn_as": {"liver": 7, "spleen": " "}, "left_out": [["liver"]]}',
    ],
)
def test_choices_that_were_not_written_by_us_are_none(cases, text):
    add_patient("A", 0)
    cases.restore(text)
    assert [(s.learn_as, s.learn) for s in cases.structures()] == [("Liver", True), ("Spleen", True)]


def test_a_hundred_cases_are_listed_quickly(cases):
    import time

    array = np.zeros((2, 2, 2), np.int16)
    for number in range(100):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"CT {number}")
        slicer.util.updateVolumeFromArray(node, array)
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"drawn {number}")
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
        segmentation.GetSegmentation().AddEmptySegment("", "liver")
    cases.rows()
    start = time.process_time()
    cases.rows(), cases.structures()
    assert time.process_time() - start < 0.05


def test_label_maps_that_are_not_used_are_named(scene):
    from ContrastiveSegPanel.workflows.case_hints import label_maps_hint

    assert label_maps_hint() == ""
    add_label_map("liver labels", add_volume("CT"))
    assert label_maps_hint().startswith("Not used: label map liver labels. To learn from it, convert it")


def add_label_map(name, volume):
    """Two boxes of the values 1 and 3 on the volume's grid."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    array = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.int16)
    array[2:6, 3:9, 4:9], array[8:12, 3:9, 12:20] = 1, 3
    slicer.util.updateVolumeFromArray(node, array)
    node.CopyOrientation(volume)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    return node


def test_a_label_map_is_converted_to_a_segmentation_of_its_volume(cases):
    from ContrastiveSegPanel.workflows.conversion import convert, to_convert

    turned = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turned")
    volume, other = add_volume("CT 1"), add_volume("CT 2", 1)
    for node in (volume, other):
        node.SetAndObserveTransformNodeID(turned.GetID())
    label_map = add_label_map("CT 2 labels", other)
    made = convert(label_map)
    segmentation = made.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 2
    for number, value in enumerate((1, 3)):
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(made, segmentation.GetNthSegmentID(number), other)
        assert ((mask > 0) == (slicer.util.arrayFromVolume(label_map) == value)).all()
    assert made.GetTransformNodeID() == turned.GetID()
    assert pairs(cases) == {"CT 1": None, "CT 2": made.GetID()}
    assert roles(cases)["CT 2"] == "train"
    assert slicer.mrmlScene.GetNodeByID(label_map.GetID()) is label_map
    # It is offered again when the segmentation is gone.
    assert to_convert() == []
    slicer.mrmlScene.RemoveNode(made)
    assert to_convert() == [label_map]


def test_a_label_map_that_belongs_to_no_volume_is_converted_all_the_same(cases):
    from ContrastiveSegPanel.workflows.conversion import convert

    volume = add_volume("CT")
    label_map = add_label_map("loose", volume)
    label_map.SetOrigin(1000, 0, 0)
    made = convert(label_map)
    assert made.GetSegmentation().GetNumberOfSegments() == 2
    assert made.GetNodeReferenceID(made.GetReferenceImageGeometryReferenceRole()) is None
    assert pairs(cases) == {"CT": None}


def test_a_label_map_of_vectors_is_refused(scene):
    from ContrastiveSegPanel.workflows.conversion import convert

    label_map = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "colors")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 5, 6)
    image.AllocateScalars(vtk.VTK_SHORT, 3)
    label_map.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="3 values a voxel"):
        convert(label_map)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_the_button_converts_what_the_hint_names(kept, module, wait_for):
    ui = module.panel.sections["fineTune"].ui
    module.panel.ui.fineTuneSection.collapsed = False
    assert not ui.convertButton.isVisibleTo(module.panel.widget)
    volume = add_volume("CT")
    add_label_map("CT labels", volume)
    wait_for(lambda: ui.convertButton.isVisibleTo(module.panel.widget))
    ui.convertButton.click()
    wait_for(lambda: not ui.convertButton.isVisibleTo(module.panel.widget))
    wait_for(lambda: ui.structuresTable.rowCount == 2)
    assert ui.casesTable.cellWidget(0, 2).currentText == "Train"
    assert "Not used" not in ui.casesHint.text
