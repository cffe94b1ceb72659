"""Segment behind other jobs: a work of the scene in the queue of the second process."""

import pytest
import slicer
from patients import noise
from segment_driver import segmentations

SECONDS = 90


@pytest.fixture
def busy(drive, scene):
    """A queue in which something runs; calling it ends that."""
    from ContrastiveSegPanel.workflows.queue import Entry

    entry = Entry("Other", lambda: None, lambda: None, lambda: None)
    drive.session.queue.add(entry)
    drive.settle()
    yield lambda: drive.session.queue.end(entry, "done")
    if entry.state == "running":
        drive.session.queue.end(entry, "done")


def states(drive):
    return [(entry.title, entry.state) for entry in drive.session.queue.entries]


def add(drive):
    drive.wait_for(lambda: drive.segment.segmentQueueButton.enabled)
    drive.segment.segmentQueueButton.click()


def ended(drive):
    drive.wait_for(lambda: not drive.session.queue.busy, SECONDS)


def test_the_button_is_there_only_while_something_runs(drive, busy, volume):
    drive.settle()
    assert drive.segment.segmentQueueButton.visible
    assert drive.segment.segmentButton.visible
    busy()
    drive.wait_for(lambda: not drive.segment.segmentQueueButton.visible)


def test_a_volume_is_segmented_when_its_turn_has_come_and_can_be_undone(drive, busy, volume):
    drive.settle()
    add(drive)
    assert states(drive) == [("Other", "running"), ("Segment MRHead", "waiting")]
    assert segmentations() == []
    busy()
    ended(drive)
    assert states(drive)[-1] == ("Segment MRHead", "done")
    (made,) = segmentations()
    assert made.GetName() == "MRHead segmentation"
    assert drive.segment.outputSelector.currentNode() is made
    assert drive.segment.statusLabel.text.startswith("Done: 1 from the queue")
    assert not list(drive.session.folder().glob("segment-*"))
    drive.segment.undoButton.click()
    assert segmentations() == []


def test_several_volumes_are_looked_at_afterwards(drive, busy, volume):
    second = noise((12, 16, 16), "Second")
    drive.segment.inputsComboBox.setCurrentIndex(2)
    drive.settle()
    add(drive)
    busy()
    ended(drive)
    assert len(segmentations()) == 2
    quality = drive.panel.sections["batch"]._quality
    assert {case.name for case in quality._looked.cases} == {"MRHead", "Second"}
    place = next(case for case in quality._looked.cases if case.name == "Second")
    assert quality._looked.volume(place) is second


def test_a_volume_that_was_removed_while_its_work_waited_is_named(drive, busy, volume, scene, dialogs):
    drive.settle()
    add(drive)
    scene.RemoveNode(volume)
    busy()
    ended(drive)
    assert states(drive)[-1] == ("Segment MRHead", "failed")
    assert dialogs.errors() == ["MRHead is no longer in the scene."]
    assert not list(drive.session.folder().glob("segment-*"))


def test_a_waiting_work_that_is_taken_out_leaves_nothing(drive, busy, volume):
    drive.settle()
    add(drive)
    drive.session.queue.cancel(drive.session.queue.waiting[0])
    assert states(drive)[0] == ("Segment MRHead", "cancelled")
    assert not list(drive.session.folder().glob("segment-*"))


@pytest.mark.parametrize("running", [False, True])
def test_nothing_comes_into_the_next_scene(drive, busy, volume, scene, running):
    drive.settle()
    add(drive)
    if running:
        busy()
        drive.wait_for(lambda: drive.panel.sections["segment"]._queued._batches.task.state == "running", SECONDS)
    scene.Clear(0)
    next_volume = noise((12, 16, 16), "MRHead")
    busy()
    ended(drive)
    assert segmentations() == []
    assert slicer.mrmlScene.GetNodeByID(next_volume.GetID()) is next_volume
    assert drive.panel.sections["batch"]._quality._looked is None
