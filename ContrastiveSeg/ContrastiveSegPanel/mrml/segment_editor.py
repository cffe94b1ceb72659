"""Slicer's Segment Editor."""

from __future__ import annotations

from typing import Any

import slicer


def editor() -> Any:
    """The widget of the module Segment Editor (``qMRMLSegmentEditorWidget``), or None before the module's first use."""
    return getattr(getattr(slicer.modules, "SegmentEditorWidget", None), "editor", None)


def edit(segmentation: Any, volume: Any) -> None:
    """Go to the module Segment Editor with ``segmentation`` over ``volume``."""
    slicer.util.selectModule("SegmentEditor")
    # By itself it opens with the segmentation it had last, or with the scene's first one.
    editor().setSegmentationNode(segmentation)
    editor().setSourceVolumeNode(volume)
