"""Label maps of the engine as Slicer's segmentation files (.seg.nrrd): with names, colors and terminology."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.files import replacing, stem

from . import slicer_core
from .grids import read_image, write_node
from .scene import read_labels_into

#: Tag of a segment in the file: license and citation of the weights that made it.
TERMS_TAG = "ContrastiveSeg.Terms"


def write_segmentation(label_map: Path, labels: Sequence[Label], output: Path, terms: str = "") -> None:
    """Write the label map as a segmentation on the same grid; what ``labels`` do not name is refused.

    Args:
        terms: license and citation of the weights that made it, for every segment.

    Raises:
        InputError: the label map cannot be read, holds other values, or ``output`` cannot be written.
    """
    slicer_core.start()
    volume = slicer.mrmlScene.AddNode(read_image(label_map))
    volume.SetName(stem(output))
    node: Any = None
    try:
        node, _undo = read_labels_into(label_map, labels, volume, name=stem(output))
        segmentation = node.GetSegmentation()
        for identifier in segmentation.GetSegmentIDs() if terms else ():
            # Slicer parts tags with this sign.
            segmentation.GetSegment(identifier).SetTag(TERMS_TAG, terms.replace("|", "/"))
        # The file is to stand for itself: the volume it names would be a file that is gone.
        node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), None)
        with replacing(output) as temporary:
            storage = slicer.vtkMRMLSegmentationStorageNode()
            storage.SetFileName(str(temporary))
            storage.SetUseCompression(1)
            write_node(node, storage, output)
    finally:
        for made in (node and node.GetDisplayNode(), node, volume):
            if made is not None:
                slicer.mrmlScene.RemoveNode(made)
