"""Previewing: strokes of the scene through the engine and back, as a segmentation beside the user's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card, Label
from contrastiveseg.descriptions import PreviewJob
from contrastiveseg.errors import InputError

from .. import settings
from ..mrml import scene
from ..mrml.hierarchy import place_beside
from ..mrml.segment_editor import edit, editor
from ..mrml.strokes import BACKGROUND, Strokes
from ..mrml.undo import Change
from . import case_channels
from .display import show_case
from .labeled_parts import is_background
from .pairing import PREDICTED, filled_volumes, segmentations, volume_of
from .task import Step

#: Node reference of a preview to the segmentation whose strokes it spreads.
PREVIEW_OF = "ContrastiveSeg.PreviewOf"
#: Slices show a preview lighter than what is painted.
_OPACITY = 0.3


class Previewing:
    """Previews of one segmentation after the other.

    Attributes:
        undo: takes back what :meth:`take` did last; None where there is nothing.
    """

    def __init__(self) -> None:
        self._strokes = Strokes(is_background)
        self._folder: Path | None = None
        #: Number of a channel -> the state of the volume that was written for it.
        self._written: dict[int, Any] = {}
        self._images: list[Path] = []
        self._ids = ("", "")
        self._labels: list[Label] = []
        self.undo: Change | None = None
        self._taken_into = ""
        #: What the segmentation said before of the checkpoint that made it.
        self._made_by: str | None = None

    def steps(self, segmentation: Any, volume: Any, channels: Sequence[Any], within: Path) -> list[Step]:
        """What has to be done before :meth:`job`; volumes are written once.

        Args:
            volume: the one that the strokes lie on. channels: those of its case, itself among them.
            within: a folder for this work's own folder.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="preview-", dir=within))
        # What was previewed before is not to be taken for the preview of these strokes.
        self._output.unlink(missing_ok=True)
        self._ids = (segmentation.GetID(), volume.GetID())
        steps: list[Step] = []
        for index, channel in enumerate(channels):
            if self._written.get(index) != self._state_of(channel):
                words = _("Handing over {name}").format(name=channel.GetName())
                steps.append((words, partial(self._write, index, channel)))
        self._images = [self._folder / f"volume-{index}{scene.FILE_ENDING}" for index in range(len(channels))]
        steps.append((_("Handing over the strokes"), partial(self._look, segmentation, volume)))
        return steps

    def job(self, checkpoint: Path, device: str) -> PreviewJob:
        """The job for the engine."""
        assert self._folder is not None
        return PreviewJob(
            checkpoint=str(checkpoint),
            image=tuple(map(str, self._images)),
            labels=str(self._folder / f"strokes{scene.FILE_ENDING}"),
            background=BACKGROUND,
            output=str(self._output),
            uncompressed=True,
            overwrite=True,
            cache=settings.text("FeatureCache") or None,
            device=device,
        )

    def show(self, checkpoint: Path) -> Any:
        """Put the engine's result into the preview's own segmentation; None where nodes are gone meanwhile.

        Raises:
            InputError: as :func:`.scene.read_labels_into`.
        """
        segmentation, volume = (slicer.mrmlScene.GetNodeByID(identifier) for identifier in self._ids)
        if segmentation is None or volume is None:
            return None
        node = preview_of(segmentation)
        if node is not None:
            names = {label.name for label in self._labels}
            for segment in scene.segments_of(node):
                if segment.name not in names:
                    node.GetSegmentation().RemoveSegment(segment.id)
        name = _("{name} preview").format(name=segmentation.GetName())
        made, _undo = scene.read_labels_into(self._output, self._labels, volume, node, name)
        display = made.GetDisplayNode()
        if node is None:
            made.SetNodeReferenceID(PREVIEW_OF, segmentation.GetID())
            display.SetOpacity2DFill(_OPACITY)
        made.SetAttribute(PREDICTED, checkpoint.name)
        display.SetVisibility(True)
        return made

    def can_take(self, segmentation: Any) -> bool:
        """Whether there is a preview of this segmentation, made here, that can be taken over."""
        made_here = self._folder is not None and self._output.exists() and segmentation.GetID() == self._ids[0]
        return made_here and preview_of(segmentation) is not None

    def overlaps(self, segmentation: Any, volume: Any) -> list[str]:
        """Sentences on painted segments that overlap, which taking the preview would change.

        Raises:
            InputError: as :meth:`.Strokes.look`.
        """
        self._strokes.look(segmentation, volume)
        return self._strokes.overlaps

    def take(self, segmentation: Any, volume: Any) -> None:
        """Copy the preview into the segmentation and hide it. What is painted or erased there stays as it is.

        From now on it is a result to be corrected, which is learned from when its status says so.

        Raises:
            InputError: as :func:`.scene.read_labels_into`; or the volume was changed since.
        """
        assert self._folder is not None
        self._strokes.look(segmentation, volume)
        taken = self._folder / f"taken{scene.FILE_ENDING}"
        self._strokes.write_over(self._output, taken)
        self._taken_into = segmentation.GetID()
        _node, self.undo = scene.read_labels_into(taken, self._strokes.labels(segmentation), volume, segmentation)
        self._strokes.accept(segmentation, volume)
        preview = preview_of(segmentation)
        self._made_by = segmentation.GetAttribute(PREDICTED)
        segmentation.SetAttribute(PREDICTED, preview.GetAttribute(PREDICTED))
        preview.GetDisplayNode().SetVisibility(False)

    def can_take_back(self, segmentation: Any) -> bool:
        """Whether the last :meth:`take`, which :meth:`take_back` undoes, was into this segmentation."""
        return self.undo is not None and segmentation.GetID() == self._taken_into

    def take_back(self, segmentation: Any, volume: Any) -> None:
        """Undo the last :meth:`take`, and show the preview again.

        Raises:
            InputError: why it cannot be undone any more.
        """
        assert self.undo is not None
        undo, self.undo = self.undo, None
        undo()
        if self._made_by is None:
            segmentation.RemoveAttribute(PREDICTED)
        else:
            segmentation.SetAttribute(PREDICTED, self._made_by)
        self._strokes.accept(segmentation, volume)
        node = preview_of(segmentation)
        if node is not None:
            node.GetDisplayNode().SetVisibility(True)

    def close(self) -> None:
        """The scene closes, or the panel: forget it, and remove the files."""
        self._strokes.forget()
        self._ids, self._written, self.undo = ("", ""), {}, None
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _output(self) -> Path:
        assert self._folder is not None
        return self._folder / f"preview{scene.FILE_ENDING}"

    def _write(self, index: int, volume: Any) -> None:
        self._written.pop(index, None)
        scene.write_volume(volume, self._images[index])
        self._written[index] = self._state_of(volume)

    def _look(self, segmentation: Any, volume: Any) -> None:
        assert self._folder is not None
        self._strokes.look(segmentation, volume)
        self._labels = self._strokes.labels(segmentation)
        if not self._labels:
            raise InputError(_("Nothing is painted yet. A few strokes on one slice are enough."))
        self._strokes.write(self._folder / f"strokes{scene.FILE_ENDING}")

    def _state_of(self, volume: Any) -> Any:
        """Differs as soon as the volume has other voxels or another grid."""
        image = volume.GetImageData()
        return (volume.GetID(), image.GetMTime() if image is not None else 0, volume.GetMTime())


def preview_of(segmentation: Any) -> Any:
    """The preview of this segmentation, or None."""
    return next((s for s in segmentations() if s.GetNodeReference(PREVIEW_OF) is segmentation), None)


def paint(volume: Any, chosen: Any) -> Any:
    """Open the Segment Editor on ``volume``: on ``chosen`` where it is of this volume, else on a new segmentation.

    Returns:
        The segmentation that is painted in.
    """
    strokes = chosen
    if chosen is None or volume_of(chosen) is not volume:
        name = slicer.mrmlScene.GenerateUniqueName(_("{name} strokes").format(name=volume.GetName()))
        strokes = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        strokes.CreateDefaultDisplayNodes()
        strokes.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        strokes.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        place_beside(strokes, volume)
    show_case(volume)
    edit(strokes, volume)
    return strokes


def painted_in_editor() -> Any:
    """The segmentation that Slicer's Segment Editor edits, or None; a preview is not painted in."""
    node = editor().segmentationNode() if editor() is not None else None
    return node if node is not None and node.GetNodeReference(PREVIEW_OF) is None else None


def volume_painted_on(segmentation: Any) -> Any:
    """The volume that the strokes lie on: the Segment Editor's, where it edits this segmentation, else its own."""
    widget = editor()
    if widget is not None and widget.segmentationNode() is segmentation and widget.sourceVolumeNode() is not None:
        return widget.sourceVolumeNode()
    return volume_of(segmentation)


def channels_painted_on(card: Card, segmentation: Any) -> list[Any]:
    """The volumes that the checkpoint takes of the case whose strokes these are; None for a channel that is missing."""
    volume, names = volume_painted_on(segmentation), case_channels.channel_names(card, "")
    if len(names) < 2:
        return [volume]
    cases = case_channels.grouped(filled_volumes(), names)
    return next((list(channels) for channels in cases if volume in channels), [None] * len(names))


def obstacle(card: Card, segmentation: Any) -> str:
    """Why these strokes cannot be previewed with this checkpoint, or ""."""
    if segmentation is None:
        return _("Press Paint, or choose the segmentation that you paint in. A few strokes on one slice are enough.")
    if segmentation.GetNodeReference(PREVIEW_OF) is not None:
        return _("{name} is a preview. Choose the segmentation that you paint in.").format(name=segmentation.GetName())
    if volume_painted_on(segmentation) is None:
        text = _("{name} belongs to no volume. Choose its source volume in the Segment Editor.")
        return text.format(name=segmentation.GetName())
    channels, names = channels_painted_on(card, segmentation), case_channels.channel_names(card, "")
    if len(channels) > 1 and (why := case_channels.problem(_("This case"), channels, names)):
        return why + " " + _("Volumes of a case are found by their names, or chosen in the section Fine-tune.")
    return ""
