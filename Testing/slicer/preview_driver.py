"""The section Preview as a user has it before the eyes."""

import numpy as np
import slicer
from nodes import mask_of, segment_id
from patients import SHAPE, add_volume, boxes

SECONDS = 90
LIVER, SPLEEN = boxes(0)


class Driver:
    def __init__(self, module, wait_for, strokes, volume):
        self.panel, self.session, self.wait_for = module.panel, module.panel.session, wait_for
        self.section, self.ui = module.panel.sections["preview"], module.panel.sections["preview"].ui
        self.strokes, self.volume = strokes, volume

    def settle(self):
        self.wait_for(lambda: not self.section._timer.active)

    def finish(self):
        self.wait_for(lambda: not self.section.task.busy, SECONDS)

    def preview(self):
        self.settle()
        self.ui.previewButton.click()
        assert self.section.task.busy
        self.finish()
        return found("Strokes preview")

    def paint(self, name, place, value=1):
        """As the editor does: new voxels of one segment, with its event."""
        mask = mask_of(self.strokes, name, self.volume).astype(np.uint8)
        mask[place] = value
        identifier = segment_id(self.strokes, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, self.strokes, identifier, self.volume)
        segmentation = self.strokes.GetSegmentation()
        segmentation.InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)

    def masks(self):
        return {name: mask_of(self.strokes, name, self.volume) for name in ("Liver", "Spleen", "Background")}


def found(name):
    return slicer.mrmlScene.GetFirstNodeByName(name)


def dice(mask, box):
    truth = np.zeros(SHAPE, bool)
    truth[box] = True
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


def with_strokes(module, wait_for):
    """Strokes on two slices of a bright and a dark box, and on the background."""
    volume = add_volume("CT 1")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Strokes")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in ("Liver", "Spleen", "Background"):
        node.GetSegmentation().AddEmptySegment("", name)
    driver = Driver(module, wait_for, node, volume)
    driver.session.set_checkpoint(
        next(e.path for e in driver.session.catalog.entries() if "synthetic-labels" in e.path.name)
    )
    for name, (k, j, i) in (("Liver", LIVER), ("Spleen", SPLEEN)):
        middle = (k.start + k.stop) // 2
        driver.paint(name, (middle, slice(j.start + 1, j.stop - 1), slice(i.start + 1, i.stop - 1)))
    driver.paint("Background", (slice(1, 4), 1, slice(2, 22)))
    driver.panel.ui.previewSection.collapsed = False
    driver.ui.strokesSelector.setCurrentNode(node)
    return driver
