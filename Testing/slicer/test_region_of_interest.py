"""Segment in a Markups ROI: its box in the volume's own coordinates, and what comes into the scene."""

import numpy as np
import pytest
import slicer
from nodes import turned
from patients import noise
from segment_driver import segmentations

from contrastiveseg.errors import InputError


def place(center, size, degrees=0.0, name="R"):
    """An ROI, turned about S at its center."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.SetSize(*size)
    matrix = slicer.util.vtkMatrixFromArray(turned(degrees, center, axis=2))
    node.SetAndObserveObjectToNodeMatrix(matrix)
    return node


def under_transform(node, move):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turned(0, move)))
    node.SetAndObserveTransformNodeID(transform.GetID())


def test_the_box_of_a_region(scene):
    from ContrastiveSegPanel.mrml.region import region_in

    volume = noise((12, 16, 16), "CT")
    assert region_in(place((10, 20, 30), (4, 6, 8)), volume) == pytest.approx((8, 12, 17, 23, 26, 34))
    # Turned by 90 degrees, R and A change places; by 45, the box holds the corners.
    assert region_in(place((10, 20, 30), (4, 6, 8), 90), volume) == pytest.approx((7, 13, 18, 22, 26, 34))
    half = (4 + 6) / 2 / np.sqrt(2)
    assert region_in(place((0, 0, 0), (4, 6, 8), 45), volume)[:4] == pytest.approx((-half, half, -half, half))
    with pytest.raises(InputError, match="not placed yet"):
        region_in(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "empty"), volume)


def test_which_voxels_lie_in_a_turned_region(scene):
    from ContrastiveSegPanel.mrml.grids import grid_of
    from ContrastiveSegPanel.mrml.region import inside

    volume = noise((5, 20, 20), "CT")
    grid = grid_of(volume)
    # Of the noise's grid the center of voxel (k, j, i).
    center = (grid.ijk_to_ras @ (10, 10, 2, 1))[:3]
    spacing = grid.spacing()
    diamond = inside(place(center, (8.2 * spacing[0] / np.sqrt(2),) * 2 + (spacing[2],), 45), volume, grid)
    j, i = np.mgrid[:20, :20]
    expected = np.zeros((5, 20, 20), bool)
    expected[2] = abs(j - 10) + abs(i - 10) <= 4
    assert (diamond == expected).all()
    with pytest.raises(InputError, match="No voxel of CT lies in the region far"):
        inside(place((900, 0, 0), (4, 6, 8), name="far"), volume, grid)


def test_transforms_of_region_and_volume_count(scene):
    from ContrastiveSegPanel.mrml.region import region_in
    from ContrastiveSegPanel.workflows.segmenting import region_of

    first, second = noise((12, 16, 16), "CT 1"), noise((12, 16, 16), "CT 2")
    roi = place((10, 20, 30), (4, 6, 8))
    under_transform(roi, (100, 0, 0))
    assert region_in(roi, first)[:2] == pytest.approx((108, 112))
    under_transform(first, (50, 0, 0))
    assert region_in(roi, first)[:2] == pytest.approx((58, 62))
    assert region_of(None, [first, second]) is None
    with pytest.raises(InputError, match="different transforms"):
        region_of(roi, [first, second])


def test_only_the_region_is_segmented(drive, dialogs, module, screenshot):
    volume = noise((12, 16, 16), "CT")
    drive.choose_volume(volume)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    selector = drive.segment.roiSelector
    # A region that comes into the scene is not taken by itself.
    assert selector.currentNode() is None
    selector.setCurrentNode(empty)
    drive.settle()
    drive.segment.segmentButton.click()
    assert dialogs.errors() == ["The region R is not placed yet."]
    assert not drive.task.busy
    # Voxels of 20 mm: 3 to 6 along R, 4 to 8 along A, 5 to 7 along S.
    roi = place((90, 120, 120), (70, 90, 50), name="placed")
    selector.setCurrentNode(roi)
    drive.segment.optionsGroupBox.collapsed = False
    drive.settle()
    screenshot(module.parent, "segment-region")
    drive.click_segment()
    assert "Only the region was segmented" in drive.segment.statusLabel.text
    (segmentation,) = segmentations()
    found = np.zeros((12, 16, 16), bool)
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    for identifier in ids:
        found |= slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, volume) > 0
    assert found.any()
    outside = np.ones_like(found)
    outside[5:8, 4:9, 3:7] = False
    assert not found[outside].any()
    # The scene remembers the region, and forgets it with the node.
    assert drive.session.parameters.roi is roi
    slicer.mrmlScene.RemoveNode(roi)
    drive.settle()
    assert drive.session.parameters.roi is not roi
