"""The status of segments, as Slicer's tables of segments show it."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import slicer


class Status(IntEnum):
    """As ``vtkSlicerSegmentationsModuleLogic`` counts them."""

    NOT_STARTED = 0
    IN_PROGRESS = 1
    COMPLETED = 2
    FLAGGED = 3


def segment_status(node: Any, identifier: str) -> Status:
    """The status of a segment; one that a terminology of the user's adds counts as in progress."""
    number = slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentStatus(node.GetSegmentation().GetSegment(identifier))
    return Status(number) if number in set(Status) else Status.IN_PROGRESS


def set_segment_status(node: Any, identifier: str, status: Status) -> None:
    """Give a segment a status."""
    segment = node.GetSegmentation().GetSegment(identifier)
    slicer.vtkSlicerSegmentationsModuleLogic.SetSegmentStatus(segment, int(status))
