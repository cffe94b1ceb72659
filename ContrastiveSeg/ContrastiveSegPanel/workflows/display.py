"""Segmentations are shown over the volumes they were made on, not over another patient's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer

from ..mrml.segment_editor import edit
from ..mrml.slice_views import displayed_volumes, show_volume
from .pairing import MAP_OF, segmentations, volume_of

#: Attribute of a segmentation that was hidden here because another volume was shown; it comes back with its own.
HIDDEN = "ContrastiveSeg.HiddenWithVolume"


def arrange(hide: bool) -> None:
    """Show the segmentations that were hidden with a volume which the slice views show now.

    What the user hides stays hidden, and a segmentation that belongs to no volume stays as it is.

    Args:
        hide: also hide the segmentations of all volumes that the views do not show.
    """
    # A segmentation also lies well over the uncertainty map of its volume.
    displayed = [node.GetNodeReference(MAP_OF) or node for node in displayed_volumes()]
    if not displayed:
        return
    for segmentation in segmentations():
        volume, display = volume_of(segmentation), segmentation.GetDisplayNode()
        if volume is None or display is None:
            continue
        if volume in displayed:
            if segmentation.GetAttribute(HIDDEN):
                segmentation.RemoveAttribute(HIDDEN)
                display.SetVisibility(True)
        elif hide and display.GetVisibility():
            segmentation.SetAttribute(HIDDEN, "1")
            display.SetVisibility(False)


def show_case(volume: Any) -> None:
    """Show a volume with its segmentations, and those of no other volume."""
    show_volume(volume)
    arrange(hide=True)


def correct(segmentation: Any, volume: Any) -> None:
    """Open the Segment Editor with a segmentation over the volume that it was made on."""
    show_case(volume)
    segmentation.CreateDefaultDisplayNodes()
    segmentation.GetDisplayNode().SetVisibility(True)
    edit(segmentation, volume)


def show_results(volume_ids: Sequence[str], chosen: Any) -> None:
    """Results came into the scene: show them over their own volumes.

    Args:
        volume_ids: of the volumes that they were made on.
        chosen: the volume that the user has chosen by now, where there is one to choose. It is shown if it has a
            result. Without a choice, the first volume with a result is shown, unless the views show one of them.
    """
    volumes = [v for v in map(slicer.mrmlScene.GetNodeByID, volume_ids) if v is not None]
    displayed = displayed_volumes()
    if chosen is not None:
        shown = chosen if chosen in volumes else None
    else:
        shown = None if any(v in displayed for v in volumes) else next(iter(volumes), None)
    if shown is not None:
        show_volume(shown)
    arrange(hide=True)
