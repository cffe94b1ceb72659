"""Which volume the slice views show, and which segmentations over it."""

import pytest
import slicer
from patients import noise
from segment_driver import pick, segmentations


@pytest.fixture
def volumes(scene, tmp_path):
    """Three volumes, loaded from files one after the other as Slicer does: the views show the last one."""
    loaded = []
    for seed, name in enumerate(("First", "Second", "Third")):
        node = noise((12, 16, 16), name, seed)
        slicer.util.exportNode(node, str(tmp_path / f"{name}.nrrd"), {})
        scene.RemoveNode(node)
        loaded.append(slicer.util.loadVolume(str(tmp_path / f"{name}.nrrd")))
    return loaded


def drawn_on(volume):
    """A reference of the volume, without voxels."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volume.GetName()} drawn")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("", "chamber")
    return node


def backgrounds():
    return {c.GetBackgroundVolumeID() for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}


def visible():
    return [s.GetName() for s in segmentations() if s.GetDisplayNode().GetVisibility()]


def choose(drive, volume):
    """Choose a volume in the box as a user does."""
    selector = drive.segment.inputSelector
    pick(selector._combo, selector._ids.index(volume.GetID()))
    drive.settle()


def show(drive, volume):
    """Show a volume by Slicer's own means."""
    slicer.util.setSliceViewerLayers(background=volume)
    drive.settle()


def test_a_volume_that_is_chosen_is_shown_with_its_segmentations_alone(drive, volumes):
    for volume in volumes:
        drawn_on(volume)
    slicer.util.setSliceViewerLayers(foreground=volumes[1])
    choose(drive, volumes[0])
    assert backgrounds() == {volumes[0].GetID()}
    assert {c.GetForegroundVolumeID() for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")} == {None}
    assert visible() == ["First drawn"]
    choose(drive, volumes[2])
    assert visible() == ["Third drawn"]


def test_a_segmentation_that_the_user_hides_stays_hidden(drive, volumes):
    first, _second = drawn_on(volumes[0]), drawn_on(volumes[1])
    first.GetDisplayNode().SetVisibility(False)
    choose(drive, volumes[1])
    choose(drive, volumes[0])
    assert visible() == []


def test_a_segmentation_that_belongs_to_no_volume_stays_visible(drive, volumes, scene):
    loose = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Loose")
    loose.CreateDefaultDisplayNodes()
    choose(drive, volumes[0])
    assert visible() == ["Loose"]


def test_the_volume_box_starts_at_the_displayed_volume(kept, models, volumes, request):
    module = request.getfixturevalue("module")
    assert module.panel.sections["segment"].ui.inputSelector.currentNode() is volumes[2]


def test_the_volume_box_follows_the_views_but_not_to_an_uncertainty_map(drive, volumes):
    from ContrastiveSegPanel.workflows.cases import IGNORE, ROLE

    show(drive, volumes[1])
    assert drive.segment.inputSelector.currentNode() is volumes[1]
    volumes[2].SetAttribute(ROLE, IGNORE)
    show(drive, volumes[2])
    assert drive.segment.inputSelector.currentNode() is volumes[1]


def test_a_segmentation_stays_visible_over_the_uncertainty_map_of_its_volume(drive, volumes):
    drive.segment.uncertaintyCheckBox.setChecked(True)
    choose(drive, volumes[0])
    drive.click_segment()
    show(drive, slicer.util.getNode("First uncertainty"))
    assert visible() == ["First segmentation"]
    assert drive.segment.inputSelector.currentNode() is volumes[0]
    # It is no case to learn from.
    cases = drive.panel.sections["fineTune"]._cases.rows()
    assert [case.name for case in cases] == ["First", "Second", "Third"]


def test_the_segmentation_of_the_volume_in_the_foreground_stays_visible(drive, volumes):
    drawn_on(volumes[0])
    slicer.util.setSliceViewerLayers(background=volumes[1], foreground=volumes[0])
    drive.settle()
    assert visible() == ["First drawn"]


def test_a_result_is_shown_over_its_own_volume(drive, volumes):
    drawn_on(volumes[1])
    drive.settle()
    drive.segment.inputSelector.setCurrentNode(volumes[0])
    drive.click_segment()
    drive.settle()
    assert backgrounds() == {volumes[0].GetID()}
    assert visible() == ["First segmentation"]


def test_the_result_of_a_volume_that_is_no_longer_chosen_waits_for_it(drive, volumes):
    choose(drive, volumes[0])
    drive.start()
    choose(drive, volumes[1])
    drive.finish()
    drive.settle()
    assert backgrounds() == {volumes[1].GetID()}
    assert visible() == []
    choose(drive, volumes[0])
    assert visible() == ["First segmentation"]


def test_results_of_all_volumes_are_not_stacked_on_one(drive, volumes):
    seen = set()
    drive.panel.sections["segment"].task.status.connect(lambda text: seen.add(tuple(visible())))
    drive.segment.inputsComboBox.setCurrentIndex(2)
    drive.click_segment()
    drive.settle()
    assert len(segmentations()) == 3
    assert visible() == ["Third segmentation"]
    # Nor are they while the others are still to come.
    assert seen <= {(), ("Third segmentation",)}
    show(drive, volumes[1])
    assert visible() == ["Second segmentation"]


def test_in_another_module_nothing_is_hidden_but_what_was_hidden_comes_back(drive, volumes):
    for volume in volumes:
        drawn_on(volume)
    choose(drive, volumes[0])
    slicer.util.selectModule("")
    show(drive, volumes[1])
    assert visible() == ["First drawn", "Second drawn"]


def test_the_views_are_not_reset_for_a_volume_that_they_show(drive, volumes):
    choose(drive, volumes[0])
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.SetFieldOfView(17, 17, 1)
    choose(drive, volumes[0])
    drive.click_segment()
    assert red.GetFieldOfView()[:2] == (17, 17)


def edited():
    """What the Segment Editor edits: the segmentation and the volume."""
    widget = slicer.modules.SegmentEditorWidget.editor
    return widget.segmentationNode(), widget.sourceVolumeNode()


def test_correct_opens_the_segment_editor_on_the_result_and_its_volume(drive, volumes, segment_editor):
    drawn_on(volumes[0])
    # Opened by hand it edits another case's segmentation.
    slicer.util.selectModule("SegmentEditor")
    assert edited()[0].GetName() == "First drawn"
    slicer.util.selectModule("ContrastiveSeg")
    choose(drive, volumes[1])
    assert not drive.segment.correctButton.enabled
    assert "Segment it first" in drive.segment.correctButton.toolTip
    drive.click_segment()
    drive.settle()
    drive.segment.correctButton.click()
    assert slicer.util.selectedModule() == "SegmentEditor"
    assert [node.GetName() for node in edited()] == ["Second segmentation", "Second"]
    assert backgrounds() == {volumes[1].GetID()}


def test_correct_takes_the_displayed_result_of_several(drive, volumes, segment_editor):
    drive.segment.inputsComboBox.setCurrentIndex(2)
    drive.click_segment()
    show(drive, volumes[0])
    drive.segment.correctButton.click()
    assert [node.GetName() for node in edited()] == ["First segmentation", "First"]
    assert visible() == ["First segmentation"]
