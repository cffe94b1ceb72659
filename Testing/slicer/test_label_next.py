"""Label next, by real clicks on the real module and with the real engine behind it."""

import dataclasses

import numpy as np
import pytest
from patients import add_patient, add_volume

SECONDS = 90


class Driver:
    def __init__(self, module, wait_for):
        self.panel, self.wait_for = module.panel, wait_for
        self.session = module.panel.session
        self.ui = module.panel.sections["fineTune"].ui
        self.task = module.panel.sections["fineTune"]._label_next.task

    def rank(self):
        self.wait_for(lambda: self.ui.rankButton.enabled)
        self.ui.rankButton.click()
        assert self.task.busy
        self.wait_for(lambda: not self.task.busy, SECONDS)

    def click(self, row):
        from PySide6.QtCore import Qt
        from PySide6.QtTest import QTest

        table = self.ui.rankTable
        place = table.visualItemRect(table.item(row, 0)).center()
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)

    def names(self):
        return [self.ui.rankTable.item(row, 0).text() for row in range(self.ui.rankTable.rowCount)]


@pytest.fixture
def drive(kept, module, wait_for, segmenter, tmp_path):
    driver = Driver(module, wait_for)
    driver.session.set_models_folder(tmp_path / "models")
    driver.session.refresh_catalog(driver.session.catalog.add(segmenter))
    driver.panel.ui.fineTuneSection.collapsed = False
    driver.ui.labelNextGroupBox.collapsed = False
    return driver


def shown():
    """The volume in the background of each slice view, and where the views are (RAS)."""
    import slicer

    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    places = {node.GetName(): [node.GetSliceToRAS().GetElement(row, 3) for row in range(3)] for node in nodes}
    return [c.GetBackgroundVolumeID() for c in composites], places


def test_the_unlabeled_are_ranked_and_a_click_shows_the_place(drive):
    import slicer

    add_patient("CT 0", 0)
    volumes = {name: add_volume(name, number) for number, name in enumerate(("CT 1", "CT 2"), 1)}
    turn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turned")
    turn.SetMatrixTransformToParent(matrix(turned()))
    volumes["CT 2"].SetAndObserveTransformNodeID(turn.GetID())
    drive.wait_for(lambda: drive.ui.casesTable.rowCount == 3)
    drive.rank()
    assert sorted(drive.names()) == ["CT 1", "CT 2"]
    # Another checkpoint may be chosen beside the table.
    assert drive.ui.rankStatusLabel.text.startswith(f"Ranked with {drive.session.checkpoint.name}.")
    scores = [float(drive.ui.rankTable.item(row, 1).text()) for row in range(2)]
    assert scores == sorted(scores, reverse=True)
    drive.wait_for(lambda: not list(drive.session.folder().rglob("*")))
    ranked = drive.panel.sections["fineTune"]._label_next._ranked
    for row, name in enumerate(drive.names()):
        drive.click(row)
        backgrounds, places = shown()
        assert set(backgrounds) == {volumes[name].GetID()}
        x, y, z = ranked[row][1][0].point
        local = np.array([-x, -y, z, 1.0])
        world = (turned() @ local if name == "CT 2" else local)[:3]
        # Centered on the place: every view goes through it.
        assert places
        for place in places.values():
            assert place == pytest.approx(world, abs=1e-3)


def test_the_place_is_inside_the_volume(drive):
    import slicer

    add_patient("CT 0", 0)
    volume = add_volume("CT 1", 1)
    volume.SetOrigin(100, -50, 30)
    drive.wait_for(lambda: drive.ui.casesTable.rowCount == 2)
    drive.rank()
    drive.click(0)
    _backgrounds, places = shown()
    bounds = [0.0] * 6
    slicer.util.getNode("CT 1").GetRASBounds(bounds)
    place = next(iter(places.values()))
    assert all(low <= at <= high for at, low, high in zip(place, bounds[::2], bounds[1::2], strict=True))


def test_cancelled_ranking_shows_nothing(drive):
    add_patient("CT 0", 0), add_volume("CT 1", 1)
    drive.wait_for(lambda: drive.ui.rankButton.enabled)
    drive.ui.rankButton.click()
    drive.ui.rankCancelButton.click()
    drive.wait_for(lambda: not drive.task.busy, SECONDS)
    assert drive.names() == []
    assert drive.ui.rankButton.isVisibleTo(drive.panel.widget)


def test_a_volume_removed_after_ranking_is_told(drive):
    import slicer

    add_patient("CT 0", 0)
    volume = add_volume("CT 1", 1)
    drive.wait_for(lambda: drive.ui.casesTable.rowCount == 2)
    drive.rank()
    slicer.mrmlScene.RemoveNode(volume)
    drive.click(0)
    assert "no longer" in drive.ui.rankStatusLabel.text


def test_why_nothing_can_be_ranked(drive):
    drive.wait_for(lambda: "Unlabeled" in drive.ui.rankButton.toolTip)
    add_volume("CT")
    drive.wait_for(lambda: drive.ui.rankButton.enabled)
    entry = drive.session.checkpoint
    plan = dataclasses.replace(entry.card.plan, channels=2 * entry.card.plan.channels)
    drive.session.checkpoint = dataclasses.replace(entry, card=dataclasses.replace(entry.card, plan=plan))
    drive.session.checkpoint_changed.emit()
    drive.wait_for(lambda: f"CT lacks {plan.channels[0].name}" in drive.ui.rankButton.toolTip)
    drive.session.set_checkpoint(None)
    drive.wait_for(lambda: "checkpoint" in drive.ui.rankButton.toolTip)


def turned():
    """A rotation about a slanted axis, and a shift."""
    import vtk

    transform = vtk.vtkTransform()
    transform.Translate(10, 20, -30)
    transform.RotateWXYZ(30, 1, 2, 3)
    found = transform.GetMatrix()
    return np.array([[found.GetElement(row, column) for column in range(4)] for row in range(4)])


def matrix(array):
    import vtk

    made = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            made.SetElement(row, column, array[row, column])
    return made
