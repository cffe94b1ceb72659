"""Results that users correct: the status of their segments is the queue, and says which are learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..mrml.segment_status import Status, segment_status, set_segment_status
from ..mrml.segments import Segment, segments_of
from .pairing import PREDICTED, ROLE


@dataclass(frozen=True)
class Correction:
    """A segmentation that a checkpoint made.

    Attributes:
        status: of all its segments: completed where all are, flagged or in progress where any is.
        completed: how many of its segments are, of how many (``segments``).
        taught: whether it is learned from, as its volume's role says.
    """

    volume_id: str
    segmentation_id: str
    name: str
    status: Status
    completed: int
    segments: int
    taught: bool


def correction_of(volume: Any, segmentation: Any, taught: bool) -> Correction | None:
    """The segmentation of ``volume`` in the queue; None where a checkpoint did not make it, or it has no segments."""
    statuses = [segment_status(segmentation, segment.id) for segment in segments_of(segmentation)]
    if not segmentation.GetAttribute(PREDICTED) or not statuses:
        return None
    if len(set(statuses)) == 1:
        status = statuses[0]
    else:
        status = Status.FLAGGED if Status.FLAGGED in statuses else Status.IN_PROGRESS
    completed = statuses.count(Status.COMPLETED)
    identifiers = volume.GetID(), segmentation.GetID()
    return Correction(*identifiers, volume.GetName(), status, completed, len(statuses), taught)


def set_status(correction: Correction, status: Status) -> None:
    """Give all segments of a result a status, which says from now on whether it is learned from."""
    volume = slicer.mrmlScene.GetNodeByID(correction.volume_id)
    if volume is not None:
        volume.RemoveAttribute(ROLE)
    node = slicer.mrmlScene.GetNodeByID(correction.segmentation_id)
    if node is not None:
        for segment in segments_of(node):
            set_segment_status(node, segment.id, status)


def completed_segments(segmentation: Any) -> list[Segment]:
    """Those that the user has marked as completed."""
    return [s for s in segments_of(segmentation) if segment_status(segmentation, s.id) == Status.COMPLETED]


def taught_segments(segmentation: Any) -> list[Segment]:
    """The segments that are learned from: of a result with completed segments these, else all."""
    completed = completed_segments(segmentation) if segmentation.GetAttribute(PREDICTED) else []
    return completed or segments_of(segmentation)


def status_words(status: Status) -> str:
    """A status in words for the user."""
    return {
        Status.NOT_STARTED: _("Not started"),
        Status.IN_PROGRESS: _("In progress"),
        Status.COMPLETED: _("Completed"),
        Status.FLAGGED: _("Flagged"),
    }[status]


def queue_words(queue: Sequence[Correction]) -> str:
    """What is learned from and what is not, in a sentence or two."""
    if not queue:
        return _("Segment a volume and correct the result; then its status says whether it is learned from.")
    waiting = [correction for correction in queue if not correction.taught]
    text = _("{count} of {total} results are learned from: what is completed in them.")
    text = text.format(count=len(queue) - len(waiting), total=len(queue))
    parts = [
        f"{sum(c.status == status for c in waiting)} {status_words(status).lower()}"
        for status in Status
        if any(c.status == status for c in waiting)
    ]
    return text + " " + _("Not learned from: {parts}.").format(parts=", ".join(parts)) if parts else text
