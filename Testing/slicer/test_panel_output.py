"""Where the section Segment writes: what is replaced, undone and kept, by real clicks on the real module."""

import numpy as np
from patients import noise
from segment_driver import segmentations
from test_panel_segment import segment_names, voxels


def test_the_output_removed_leaves_no_other_segmentation_to_be_written_into(drive, volume, scene):
    drawn = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawn by hand")
    drive.click_segment()
    assert drive.segment.outputSelector.currentNode() not in (None, drawn)
    drive.segment.undoButton.click()
    assert segmentations() == [drawn]
    assert drive.segment.outputSelector.currentNode() is None


def correct(segmentation, volume):
    """Paint the whole volume with the first segment, as a user's correction."""
    import slicer

    identifier = segmentation.GetSegmentation().GetNthSegmentID(0)
    array = np.ones(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, segmentation, identifier, volume)


def test_undo_asks_before_it_throws_corrections_away(drive, volume, dialogs):
    drive.click_segment()
    (segmentation,) = segmentations()
    correct(segmentation, volume)
    dialogs.answer(False, True)
    drive.segment.undoButton.click()
    assert segmentations() == [segmentation]
    assert drive.segment.undoButton.enabled
    drive.segment.undoButton.click()
    assert segmentations() == []
    assert [question for question in dialogs.texts() if "corrections" in question] == dialogs.texts()
    assert drive.segment.statusLabel.text == "Undone."


def test_redo_brings_back_what_undo_took_away(drive, volume, dialogs):
    from ContrastiveSegPanel.workflows.pairing import PREDICTED

    drive.segment.uncertaintyCheckBox.setChecked(True)
    drive.click_segment()
    (segmentation,) = segmentations()
    correct(segmentation, volume)
    corrected = voxels(segmentation, volume).copy()
    dialogs.answer(True)
    drive.segment.undoButton.click()
    assert segmentations() == []
    assert drive.segment.redoButton.visible
    assert not drive.segment.undoButton.visible
    drive.segment.redoButton.click()
    (again,) = segmentations()
    np.testing.assert_array_equal(voxels(again, volume), corrected)
    assert again.GetName() == "MRHead segmentation"
    assert again.GetAttribute(PREDICTED)
    assert again.GetDisplayNode() is not None
    assert drive.segment.outputSelector.currentNode() is again
    assert slicer_node("MRHead uncertainty").GetDisplayNode() is not None
    assert drive.segment.undoButton.enabled
    dialogs.answer(True)
    drive.segment.undoButton.click()
    assert segmentations() == []


def slicer_node(name):
    import slicer

    return slicer.util.getNode(name)


def test_redo_into_a_segmentation_that_was_there(drive, volume, scene, dialogs):
    import slicer

    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    mine.CreateDefaultDisplayNodes()
    mine.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identifier = mine.GetSegmentation().AddEmptySegment("", "kidney")
    drawn = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    drawn[:3] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, mine, identifier, volume)
    drive.segment.outputSelector.setCurrentNode(mine)
    dialogs.answer(True)
    drive.click_segment()
    made = voxels(mine, volume).copy()
    for _turn in range(2):
        drive.segment.undoButton.click()
        assert segment_names(mine) == ["kidney"]
        np.testing.assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(mine, identifier, volume), drawn)
        drive.segment.redoButton.click()
        assert segment_names(mine) == ["kidney", "chamber", "chamber wall"]
        np.testing.assert_array_equal(voxels(mine, volume), made)


def enter(box):
    """Answers a question by the key Enter."""
    import qt
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    box.show()
    QTest.keyClick(box, Qt.Key.Key_Return)
    return box.clickedButton() is box.button(qt.QMessageBox.Yes)


def test_enter_keeps_corrections(drive, volume, dialogs):
    drive.click_segment()
    (segmentation,) = segmentations()
    correct(segmentation, volume)
    dialogs.answer(enter, enter)
    drive.segment.undoButton.click()
    drive.settle()
    drive.segment.segmentButton.click()
    assert not drive.task.busy
    assert segmentations() == [segmentation]
    assert len(dialogs.texts()) == 2


def test_segmenting_again_asks_before_it_replaces_corrections(drive, volume, dialogs):
    drive.click_segment()
    (segmentation,) = segmentations()
    made = voxels(segmentation, volume).copy()
    correct(segmentation, volume)
    corrected = voxels(segmentation, volume).copy()
    dialogs.answer(False, True)
    drive.settle()
    drive.segment.segmentButton.click()
    assert not drive.task.busy
    np.testing.assert_array_equal(voxels(segmentation, volume), corrected)
    assert ["chamber, chamber wall" in question for question in dialogs.texts()] == [True]
    drive.click_segment()
    np.testing.assert_array_equal(voxels(segmentation, volume), made)
    # As it was made, it is replaced without a question.
    drive.click_segment()
    assert len(dialogs.texts()) == 2


def test_older_results_too_are_replaced_unasked_unless_they_were_corrected(drive, volume, dialogs):
    drive.click_segment()
    other = noise((12, 16, 16), "Other")
    drive.choose_volume(other)
    drive.click_segment()
    first, second = segmentations()
    correct(second, other)
    drive.choose_volume(volume)
    drive.segment.outputSelector.setCurrentNode(first)
    drive.click_segment()
    assert dialogs.texts() == []
    drive.choose_volume(other)
    drive.segment.outputSelector.setCurrentNode(second)
    drive.settle()
    dialogs.answer(False)
    drive.segment.segmentButton.click()
    assert not drive.task.busy
    assert len(dialogs.texts()) == 1


def test_a_result_in_somebodys_segmentation_is_not_learned_from_unasked(drive, volume, scene, dialogs):
    from ContrastiveSegPanel.workflows.cases import ROLE, TRAIN
    from ContrastiveSegPanel.workflows.pairing import PREDICTED

    drawn = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
    drawn.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    volume.SetAttribute(ROLE, TRAIN)
    drive.segment.outputSelector.setCurrentNode(drawn)
    drive.click_segment()
    assert segmentations() == [drawn]
    assert drawn.GetAttribute(PREDICTED)
    assert volume.GetAttribute(ROLE) is None
    drive.segment.undoButton.click()
    assert drawn.GetAttribute(PREDICTED) is None
    assert volume.GetAttribute(ROLE) == TRAIN


def test_undo_tells_what_it_could_not_undo(drive, scene, dialogs):
    for name in ("First", "Second"):
        noise((12, 16, 16), name)
    drive.segment.inputsComboBox.setCurrentIndex(2)
    drive.settle()
    drive.click_segment()
    scene.RemoveNode(segmentations()[1])
    drive.segment.undoButton.click()
    assert segmentations() == []
    assert "removed since" in dialogs.errors()[0]
    assert "Not everything" in drive.segment.statusLabel.text


def test_the_next_click_replaces_the_result_and_another_volume_gets_its_own(drive, volume):
    drive.click_segment()
    drive.click_segment()
    assert len(segmentations()) == 1
    other = noise((12, 16, 16), "Other")
    drive.segment.inputSelector.setCurrentNode(other)
    assert drive.segment.outputSelector.currentNode() is None
    drive.click_segment()
    assert [s.GetName() for s in segmentations()] == ["MRHead segmentation", "Other segmentation"]


def test_a_volume_chosen_while_another_one_is_segmented_gets_its_own(drive, volume):
    other = noise((12, 16, 16), "Other")
    drive.start()
    drive.segment.inputSelector.setCurrentNode(other)
    drive.finish()
    assert drive.segment.outputSelector.currentNode() is None
    drive.click_segment()
    assert [s.GetName() for s in segmentations()] == ["MRHead segmentation", "Other segmentation"]


def test_a_segmentation_of_another_volume_is_not_written_into_unasked(drive, volume, dialogs):
    drive.click_segment()
    (first,) = segmentations()
    other = noise((12, 16, 16), "Other")
    drive.segment.inputSelector.setCurrentNode(other)
    drive.segment.outputSelector.setCurrentNode(first)
    dialogs.answer(False)
    drive.click_segment()
    assert "was made on another volume" in dialogs.texts()[-1]
    assert [s.GetName() for s in segmentations()] == ["MRHead segmentation", "Other segmentation"]
    drive.segment.outputSelector.setCurrentNode(first)
    for answer in (True, True):  # into that segmentation, and over its segments
        dialogs.answer(answer)
    drive.click_segment()
    assert len(segmentations()) == 2


def test_a_result_whose_volume_is_gone_is_not_replaced_unasked(drive, volume, scene, dialogs):
    drive.click_segment()
    (segmentation,) = segmentations()
    other = noise((12, 16, 16), "Other")
    scene.RemoveNode(volume)
    drive.segment.inputSelector.setCurrentNode(other)
    drive.segment.outputSelector.setCurrentNode(segmentation)
    drive.settle()
    dialogs.answer(False)
    drive.segment.segmentButton.click()
    assert not drive.task.busy
    assert len(dialogs.texts()) == 1


def test_corrections_made_meanwhile_stay(drive, volume):
    drive.click_segment()
    (segmentation,) = segmentations()
    drive.start()
    correct(segmentation, volume)
    corrected = voxels(segmentation, volume).copy()
    drive.finish()
    np.testing.assert_array_equal(voxels(segmentation, volume), corrected)
    assert segmentations() == [segmentation, drive.segment.outputSelector.currentNode()]
    assert "new segmentation" in drive.segment.statusLabel.text
    drive.segment.undoButton.click()
    assert segmentations() == [segmentation]


def test_an_empty_template_is_filled_unasked(drive, volume, scene, dialogs):
    template = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Template")
    template.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in ("chamber", "chamber wall"):
        template.GetSegmentation().AddEmptySegment("", name)
    drive.segment.outputSelector.setCurrentNode(template)
    drive.click_segment()
    assert segmentations() == [template]
    assert voxels(template, volume).any()
    assert dialogs.texts() == []


def test_an_output_that_takes_no_result_is_refused_before_anything_is_computed(drive, volume, scene, dialogs):
    surface = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surface")
    surface.GetSegmentation().SetSourceRepresentationName("Closed surface")
    drive.segment.outputSelector.setCurrentNode(surface)
    drive.settle()
    drive.segment.segmentButton.click()
    assert not drive.task.busy
    (error,) = dialogs.errors()
    assert "choose a new segmentation" in error
