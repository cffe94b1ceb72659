"""Taking back, in one step, what was written into a segmentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

import slicer

from contrastiveseg.errors import InputError

from ..translation import _
from .hierarchy import place_beside
from .segment_editor import editor
from .segments import (
    layer_name,
    layers_of,
    notify_of_new_voxels,
    surface_name,
    surfaces_kept,
    surfaces_of,
    take_out,
    without,
)

#: Segment ID -> its layer and when that was changed last: differs as soon as the layer is changed or replaced.
State: TypeAlias = dict[str, tuple[Any, int]]


class Change(Protocol):
    """A change of the scene that a call makes; the call returns the opposite change."""

    @property
    def edited_since(self) -> bool:
        """Whether the user has changed meanwhile what the call would throw away."""

    def __call__(self) -> Change:
        """Make it.

        Raises:
            InputError: why it cannot be made any more.
        """


class Undo:
    """Made before a segmentation is written into and finished after it; called once, it restores what was there.

    What the user changed meanwhile in other segments stays. Nothing is copied: written segments get new layers, so the
    old ones only need to be kept.

    Args:
        created: the node was made for this; undoing removes it.

    Attributes:
        written: IDs of the segments that were written.
    """

    def __init__(self, node: Any, created: bool) -> None:
        self._node = node
        self._created = created
        self._done = False
        segmentation = node.GetSegmentation()
        self._order = segmentation.GetSegmentIDs()
        self._said = {identifier: _said(segmentation.GetSegment(identifier)) for identifier in self._order}
        self._layers = layers_of(segmentation)
        self._surfaces = surfaces_of(segmentation, self._order)
        self._conversion = segmentation.SerializeAllConversionParameters()
        self._transform_id = node.GetTransformNodeID()
        self._reference_id = node.GetNodeReferenceID(_reference_role())
        self._geometry = segmentation.GetConversionParameter(_geometry())
        self.written: set[str] = set()
        self._after: State = {}
        _save_for_segment_editor(node)

    def finish(self, written: Sequence[str]) -> None:
        """Note which segments were written; everything else must be as before."""
        segmentation = self._node.GetSegmentation()
        self.written = set(written)
        self._after = states(segmentation, {*segmentation.GetSegmentIDs(), *written})

    @property
    def refusal(self) -> str | None:
        """Why it cannot be undone any more, as a sentence; None if it can."""
        if self._done:
            return _("This was undone already.")
        if self._node.GetScene() is None:
            return _("The segmentation was removed since, so there is nothing to undo.")
        return None

    @property
    def as_written(self) -> State:
        """Of the written segments, for :func:`is_as_written`."""
        return {identifier: self._after[identifier] for identifier in self.written}

    @property
    def edited_since(self) -> bool:
        """Whether the user has changed written voxels meanwhile, which undoing would throw away."""
        return not self.refusal and not is_as_written(self._node.GetSegmentation(), self.written, self._after)

    def reopen(self) -> None:
        """What was undone is there again, as it was."""
        self._done = False

    def __call__(self) -> Change:
        """Restore what was there.

        Returns:
            What brings back what is taken away now, corrections included.

        Raises:
            InputError: :attr:`refusal`.
        """
        if self.refusal:
            raise InputError(self.refusal)
        self._done = True
        segmentation = self._node.GetSegmentation()
        if self._created and set(segmentation.GetSegmentIDs()) <= self.written:
            removed = _Removed(self._node, self)
            slicer.mrmlScene.RemoveNode(self._node)
            return removed
        again = Undo(self._node, created=False)
        with slicer.util.NodeModify(self._node), surfaces_kept(segmentation, self.written) as surfaces:
            if segmentation.SerializeAllConversionParameters() == self._conversion:
                surfaces.update({i: surface for i, surface in self._surfaces.items() if i in self.written})
            take_out(segmentation, self.written)
            for layer, members in self._layers.items():
                self._restore(layer, members)
            for identifier in self.written.intersection(segmentation.GetSegmentIDs()).difference(self._order):
                # Removing a segment would search the layer it shares; it shares none after this.
                segmentation.GetSegment(identifier).AddRepresentation(layer_name(), slicer.vtkOrientedImageData())
                segmentation.RemoveSegment(identifier)
            later = [i for i in segmentation.GetSegmentIDs() if i not in self._order]
            segmentation.ReorderSegments([*self._order, *later])
            if not later:
                self._restore_place()
            notify_of_new_voxels(segmentation)
        again.finish(list(self.written))
        return again

    def _restore(self, layer: Any, members: Sequence[str]) -> None:
        """Put a layer back into those of its segments that were written, and into all if none was changed since."""
        segmentation = self._node.GetSegmentation()
        back: Sequence[str] = [i for i in members if i in self.written]
        if not back:
            return
        if is_as_written(segmentation, [i for i in members if i not in back], self._after):
            back = members
        else:
            values = {i: self._said[i].GetLabelValue() for i in members}
            layer = without(layer, {values[i] for i in members if i not in back} - {values[i] for i in back})
        # Slicer's own undo takes an image older than its last saved copy for unchanged. Told before anyone observes it.
        layer.Modified()
        for identifier in back:
            segment = segmentation.GetSegment(identifier)
            if segment is None:
                segment = slicer.vtkSegment()
                segment.AddRepresentation(layer_name(), layer)
                segmentation.AddSegment(segment, identifier)
            if identifier in self.written:
                segment.DeepCopyMetadata(self._said[identifier])
            segment.AddRepresentation(layer_name(), layer)

    def _restore_place(self) -> None:
        self._node.SetAndObserveTransformNodeID(self._transform_id)
        self._node.SetNodeReferenceID(_reference_role(), self._reference_id)
        self._node.GetSegmentation().SetConversionParameter(_geometry(), self._geometry)


class _Removed:
    """Brings back a segmentation that an undo has removed from the scene."""

    edited_since = False

    def __init__(self, node: Any, undo: Undo) -> None:
        self._node, self._undo = node, undo
        self._segments = _set_aside(node.GetSegmentation())
        # Coming back with it, the node would tell Slicer's subject hierarchy of it before it has an item there.
        displays = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
        node.RemoveAllDisplayNodeIDs()
        for display in displays:
            slicer.mrmlScene.RemoveNode(display)

    def __call__(self) -> Undo:
        slicer.mrmlScene.AddNode(self._node)
        self._node.CreateDefaultDisplayNodes()
        for identifier, segment in self._segments:
            self._node.GetSegmentation().AddSegment(segment, identifier)
        volume = self._node.GetNodeReference(_reference_role())
        if volume is not None:
            place_beside(self._node, volume)
        self._undo.reopen()
        return self._undo


def _set_aside(segmentation: Any) -> list[tuple[str, Any]]:
    """Take all segments out, with their IDs: Slicer's subject hierarchy removes those of a segmentation that leaves the
    scene, and their voxels from the layer they share."""
    aside = []
    for identifier in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(identifier)
        kept = _said(segment)
        for name in (layer_name(), surface_name()):
            if segment.GetRepresentation(name) is not None:
                kept.AddRepresentation(name, segment.GetRepresentation(name))
        aside.append((identifier, kept))
    for identifier, _kept in aside:
        segmentation.GetSegment(identifier).AddRepresentation(layer_name(), slicer.vtkOrientedImageData())
    segmentation.RemoveAllSegments()
    return aside


def is_as_written(segmentation: Any, identifiers: Iterable[str], then: State) -> bool:
    """Whether all these segments are among those of ``then``, and unchanged since."""
    return all(state == then.get(identifier) for identifier, state in states(segmentation, identifiers).items())


def states(segmentation: Any, identifiers: Iterable[str]) -> State:
    """Of these segments as they are now, for :func:`is_as_written`."""
    current: State = {}
    for identifier in identifiers:
        segment = segmentation.GetSegment(identifier)
        layer = None if segment is None else segment.GetRepresentation(layer_name())
        current[identifier] = (layer, layer.GetMTime() if layer is not None else 0)
    return current


def _said(segment: Any) -> Any:
    """A copy of a segment's name, color, value and tags, without its voxels."""
    copy = slicer.vtkSegment()
    copy.DeepCopyMetadata(segment)
    return copy


def _save_for_segment_editor(node: Any) -> None:
    """If the Segment Editor shows the node, its own undo should reach back over this change as well."""
    widget = editor()
    if not hasattr(widget, "saveStateForUndo"):
        return
    shown = widget.segmentationNode()
    if shown is not None and shown.GetID() == node.GetID():
        widget.saveStateForUndo()


def _reference_role() -> str:
    return slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()


def _geometry() -> str:
    return slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
