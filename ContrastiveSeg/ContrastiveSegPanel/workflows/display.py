"""Segmentations are shown over the volumes they were made on, not over another patient's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..mrml.doubt import middle_of, place_of_doubt
from ..mrml.segment_editor import edit
from ..mrml.slice_views import center_on, displayed_volumes, show_volume
from .pairing import MAP_OF, segmentations, uncertainty_map_of, volume_of

#: Attribute of a segmentation that was hidden here because another volume was shown; it comes back with its own.
HIDDEN = "ContrastiveSeg.HiddenWithVolume"
#: How long Slicer's status bar says where the views were led.
_SAID_MS = 15000


def arrange(hide: bool) -> None:
    """Show the segmentations that were hidden with a volume which the slice views show now.

    What the user hides stays hidden, and a segmentation that belongs to no volume stays as it is.

    Args:
        hide: also hide the segmentations of all volumes that the views do not show.
    """
    displayed = _displayed()
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
            _hide(segmentation)


def hide_elsewhere(segmentation: Any, volume: Any) -> None:
    """Hide a new segmentation of a volume that the slice views do not show, until they do."""
    displayed = _displayed()
    if displayed and volume not in displayed:
        _hide(segmentation)


def show_case(volume: Any) -> None:
    """Show a volume with its segmentations, and those of no other volume."""
    show_volume(volume)
    arrange(hide=True)


def correct(segmentation: Any, volume: Any) -> None:
    """Open the Segment Editor with a segmentation over the volume that it was made on, at the place of greatest doubt.

    Without an uncertainty map of the volume, in the middle of a segment; Slicer's status bar says which.
    """
    show_case(volume)
    segmentation.CreateDefaultDisplayNodes()
    segmentation.GetDisplayNode().SetVisibility(True)
    edit(segmentation, volume)
    uncertainty = uncertainty_map_of(volume)
    place: Sequence[float] | None = middle_of(segmentation)
    text = _("This is the middle of a segment. With an uncertainty map, Correct goes where the doubt is greatest.")
    if uncertainty is not None:
        world = [0.0, 0.0, 0.0]
        uncertainty.TransformPointToWorld(place_of_doubt(uncertainty), world)
        place = world
        text = _("Here the checkpoint was least sure.")
    if place is not None:
        center_on(place)
        slicer.util.showStatusMessage(text, _SAID_MS)


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


def _displayed() -> list[Any]:
    # A segmentation also lies well over the uncertainty map of its volume.
    return [node.GetNodeReference(MAP_OF) or node for node in displayed_volumes()]


def _hide(segmentation: Any) -> None:
    segmentation.SetAttribute(HIDDEN, "1")
    segmentation.GetDisplayNode().SetVisibility(False)
