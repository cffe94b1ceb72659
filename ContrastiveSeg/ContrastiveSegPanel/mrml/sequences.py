"""Time sequences of volumes: their frames as files, and segmentations as another sequence with the same index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slicer

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.errors import InputError

from ..translation import _
from .hierarchy import place_beside
from .scene import read_labels_into


def frame_count(sequence: Any) -> int:
    """The number of frames.

    Raises:
        InputError: there is none, or they are no volumes with one value a voxel.
    """
    count = sequence.GetNumberOfDataNodes()
    if not count:
        raise InputError(_("The sequence {name} has no frames.").format(name=sequence.GetName()))
    # Exactly this class: label maps and color volumes inherit from it.
    if any(sequence.GetNthDataNode(i).GetClassName() != "vtkMRMLScalarVolumeNode" for i in range(count)):
        raise InputError(_("The sequence {name} does not hold scalar volumes.").format(name=sequence.GetName()))
    return count


def new_sequence_like(sequence: Any, name: str) -> Any:
    """An empty sequence with the index (time in s, say) of another one, beside it in the subject hierarchy."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    node.SetIndexName(sequence.GetIndexName())
    node.SetIndexUnit(sequence.GetIndexUnit())
    node.SetIndexType(sequence.GetIndexType())
    place_beside(node, sequence)
    return node


def add_segmentation(results: Any, sequence: Any, index: int, path: Path, labels: Sequence[Label]) -> Any:
    """Put a label map that lies on the grid of the frame ``index`` of ``sequence`` into ``results``, at its time;
    returns the sequence's own node.

    Raises:
        InputError: as :func:`.scene.read_labels_into`.
    """
    frame = sequence.GetNthDataNode(index)
    # A frame is in no scene, and a segmentation is made in one.
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", frame.GetName())
    segmentation = None
    try:
        volume.SetAndObserveImageData(frame.GetImageData())
        volume.CopyOrientation(frame)
        segmentation, _undo = read_labels_into(path, labels, volume, None, results.GetName())
        # The volume goes again.
        segmentation.SetNodeReferenceID(segmentation.GetReferenceImageGeometryReferenceRole(), None)
        return results.SetDataNodeAtValue(segmentation, sequence.GetNthIndexValue(index))
    finally:
        for node in (segmentation, volume):
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)


def browser_of(sequence: Any) -> Any:
    """The browser that shows the sequence, or None."""
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    return next((b for b in browsers if b.IsSynchronizedSequenceNode(sequence, True)), None)


def show_with(sequence: Any, results: Any) -> None:
    """Let the browser of ``sequence``, if there is one, show ``results`` with it."""
    browser = browser_of(sequence)
    if browser is not None:
        browser.AddSynchronizedSequenceNode(results)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)


def shown_frame(sequence: Any, index: int) -> Any:
    """The volume that shows the frame ``index``, after its browser has gone there.

    Raises:
        InputError: no browser shows the sequence.
    """
    browser = browser_of(sequence)
    volume = browser.GetProxyNode(sequence) if browser is not None else None
    if volume is None:
        raise InputError(
            _("{name} is in no sequence browser. Open it in the module Sequences.").format(name=sequence.GetName())
        )
    browser.SetSelectedItemNumber(index)
    return volume
