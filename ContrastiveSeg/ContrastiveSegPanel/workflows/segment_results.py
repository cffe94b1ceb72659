"""What Segment has made in the open scene: which results may be replaced, and which can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.checkpoints.familiarity import FAR
from contrastiveseg.results import SegmentResult

from ..mrml import scene
from ..mrml.undo import is_as_written
from .pairing import volume_of
from .segmenting import Made, Segmenting


class SegmentResults:
    """The results of the panel's segmentations.

    Attributes:
        last: the work of the last click that changed the scene, to be undone; None if there is none.
        undone: that work after it was undone, to be brought back; None if there is none.
    """

    def __init__(self) -> None:
        self.last: Segmenting | None = None
        self.undone: Segmenting | None = None
        #: ID of a segmentation -> its last result.
        self._made: dict[str, Made] = {}

    @property
    def undo_tip(self) -> str:
        """What undoing does now, as a tool tip."""
        if self.last is None:
            return _("Nothing was segmented yet that could be undone.")
        return _("Put everything back as it was before the last click on Segment")

    def add(self, work: Segmenting) -> None:
        """Take note of a work that has ended."""
        self._made.update(work.as_made)
        if work.changes.there:
            self.last, self.undone = work, None

    def forget(self, segmentation_id: str) -> None:
        """The segmentation leaves the scene."""
        self._made.pop(segmentation_id, None)

    def clear(self) -> None:
        """The scene closes."""
        self.last = self.undone = None
        self._made.clear()

    def to_correct(self, output: Any, displayed: Sequence[Any]) -> tuple[Any, Any] | None:
        """The segmentation to be corrected now and its volume: ``output`` where one is chosen, else the last result on
        one of the ``displayed`` volumes; None if there is none."""
        if output is not None:
            volume = volume_of(output)
            return (output, volume) if volume is not None else None
        by_volume = {made.volume_id: identifier for identifier, made in self._made.items()}
        for volume in displayed:
            segmentation = slicer.mrmlScene.GetNodeByID(by_volume.get(volume.GetID(), ""))
            if segmentation is not None:
                return segmentation, volume
        return None

    def replaced_work(self, segmentation: Any, volume: Any, labels: Sequence[Label]) -> list[str]:
        """Names of the segments that a result of ``volume`` would replace although they are not as Segment made them:
        corrected results and segments of others. [] if nothing would be lost.

        Raises:
            InputError: the segmentation cannot take the result.
        """
        scene.check_takes_labels(segmentation, volume)
        replaced = scene.replaced_by_name(segmentation, labels).values()
        made = self._made.get(segmentation.GetID())
        # The segmentation itself does not name a volume that is gone.
        as_made = made.segments if made is not None and made.volume_id == volume.GetID() else {}
        # Segments prepared without voxels lose nothing; one of ours without them was emptied by the user.
        drawn = scene.filled(segmentation, [i for i in replaced if i not in as_made])
        losing = [i for i in replaced if i in as_made or i in drawn]
        if is_as_written(segmentation.GetSegmentation(), losing, as_made):
            return []
        return [segmentation.GetSegmentation().GetSegment(identifier).GetName() for identifier in losing]


def summary(work: Segmenting, result: SegmentResult, seconds: float) -> str:
    """What was made, for the user; ``seconds`` from the click on."""
    nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in work.segmentation_ids]
    what = _("{count} volumes").format(count=len(nodes))
    if len(nodes) == 1 and nodes[0] is not None:
        what = nodes[0].GetName()
    text = _("Done: {what}, {seconds:.1f} s.").format(what=what, seconds=seconds)
    if work.has_region:
        text += " " + _("Only the region was segmented; the rest is empty.")
    if any(distance > FAR for distance in result.distances.values()):
        text += " " + _("What was segmented looks unlike the volumes of the training, see the log. Look at it closely.")
    return text + " " + _("Islands were left out; the log says of what.") if result.left_out else text


def made_on_another(segmentation: Any, volume: Any) -> bool:
    """Whether the segmentation names another volume than this one as the one it was made on."""
    return scene.reference_volume(segmentation) not in (None, volume)


def next_output(work: Segmenting, volume: Any) -> Any:
    """The segmentation to write into from now on: the only result of ``work``, if it is that of ``volume``; else None.

    Another volume may have been chosen meanwhile, whose result does not belong in there.
    """
    if len(work.segmentation_ids) != 1 or volume is None:
        return None
    node = slicer.mrmlScene.GetNodeByID(work.segmentation_ids[0])
    return node if node is not None and work.as_made[node.GetID()].volume_id == volume.GetID() else None
