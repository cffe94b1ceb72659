"""Segments of a segmentation node: what they are, and new voxels for them without touching the others.

A binary label map in a segmentation is a layer: an image that several segments may share, each with a value of its own.
Layers are never changed in place here. Where a layer must lose a segment, its other segments get a copy without it; so
the old layers stay what they were, and undoing is putting them back.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.errors import InputError

from ..translation import _
from .grids import Grid, array_of, fill
from .label_arrays import box_of, values_in
from .segment_status import Status, set_segment_status
from .terminology import known_by_name, name_in

_JOINT_SMOOTHING = "Joint smoothing"


@dataclass(frozen=True)
class Segment:
    """A segment as a checkpoint's card describes labels; ``color`` is (r, g, b), 0 to 255."""

    id: str
    name: str
    color: tuple[int, int, int]
    terminology: str


def segments_of(node: Any) -> list[Segment]:
    """The node's segments, in its order. One without a name has that of its terminology, or else its ID: two of them
    are not one structure."""
    segmentation = node.GetSegmentation()
    found = []
    for identifier in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(identifier)
        red, green, blue = (round(255 * part) for part in segment.GetColor())
        terminology = _terminology(segment)
        name = segment.GetName() if (segment.GetName() or "").strip() else name_in(terminology) or identifier
        found.append(Segment(identifier, name, (red, green, blue), terminology))
    return found


def layer_name() -> str:
    """The name of the representation that holds layers."""
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def surface_name() -> str:
    """The name of the representation that 3D views show."""
    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


def check_takes_labels(node: Any, volume: Any) -> None:
    """Refuse a segmentation into which a label map on the volume's grid cannot be put exactly.

    Raises:
        InputError: saying which and what to do instead.
    """
    name = node.GetName()
    segmentation = node.GetSegmentation()
    source = segmentation.GetSourceRepresentationName()
    if source != layer_name():
        raise InputError(
            _(
                '{name} is stored as "{source}", into which voxels cannot be put. Make "{wanted}" its source '
                "representation in the Segmentations module, or choose a new segmentation."
            ).format(name=name, source=source, wanted=layer_name())
        )
    if segmentation.GetNumberOfSegments() and volume_to_segmentation(volume, node) is None:
        raise InputError(
            _(
                "{name} is under another transform than {volume}, and voxels would have to be resampled to fit. "
                "Put both under the same transform, or choose a new segmentation."
            ).format(name=name, volume=volume.GetName())
        )


def volume_to_segmentation(volume: Any, node: Any) -> np.ndarray | None:
    """The 4 x 4 matrix between the nodes' coordinates; None where voxel grids do not stay grids on the way."""
    theirs, ours = volume.GetParentTransformNode(), node.GetParentTransformNode()
    if theirs is ours:
        return np.eye(4)
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(theirs, ours, transform)
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(transform):
        return None
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(theirs, ours, matrix)
    if slicer.vtkOrientedImageDataResample.DoesTransformMatrixContainShear(matrix):
        return None
    return slicer.util.arrayFromVTKMatrix(matrix)


def put_labels(node: Any, volume: Any, grid: Grid, array: np.ndarray, labels: Sequence[Label]) -> list[str]:
    """Give each label's segment the voxels of its value, in one new layer; add the segments that are missing.

    Args:
        array: (k, j, i) label values on the volume's ``grid``; may become the segmentation's own.

    Returns:
        The IDs of the labels' segments.
    """
    segmentation = node.GetSegmentation()
    node.CreateDefaultDisplayNodes()
    empty = segmentation.GetNumberOfSegments() == 0
    if empty:
        # Before any voxel comes in: a transform set later moves the voxels instead of saying where they are.
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    matrix = volume_to_segmentation(volume, node)
    layer = oriented_image(array, matrix @ grid.ijk_to_ras)
    replaced = replaced_by_name(node, labels)
    written = []
    with slicer.util.NodeModify(node), surfaces_kept(segmentation, replaced.values()):
        take_out(segmentation, replaced.values())
        for label in labels:
            if label.value in replaced:
                identifier = replaced[label.value]
                segment = segmentation.GetSegment(identifier)
                segment.SetLabelValue(label.value)
                segment.AddRepresentation(layer_name(), layer)
            else:
                segment = _new_segment(label)
                segment.AddRepresentation(layer_name(), layer)
                identifier = segmentation.GenerateUniqueSegmentID(label.name)
                segmentation.AddSegment(segment, identifier)
            written.append(identifier)
            set_segment_status(node, identifier, Status.IN_PROGRESS)
        if empty or node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is None:
            node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        notify_of_new_voxels(segmentation)
    return written


def oriented_image(array: np.ndarray, ijk_to_ras: np.ndarray) -> Any:
    """A layer with the voxels (k, j, i), cut down to where they are not 0."""
    (k, last_k), (j, last_j), (i, last_i) = box_of(array)
    oriented = slicer.vtkOrientedImageData()
    fill(oriented, array[k : last_k + 1, j : last_j + 1, i : last_i + 1], (k, j, i))
    oriented.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    return oriented


def image_to_world(layer: Any) -> np.ndarray:
    """The 4 x 4 matrix from a layer's voxel indices (i, j, k) to mm, RAS."""
    matrix = vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def take_out(segmentation: Any, leaving: Collection[str]) -> None:
    """Free segments from the layers they share with others; those get a copy of the layer without them."""
    for layer, members in layers_of(segmentation).items():
        staying = [i for i in members if i not in leaving]
        if not staying or len(staying) == len(members):
            continue
        values = {segmentation.GetSegment(i).GetLabelValue() for i in members if i in leaving}
        values -= {segmentation.GetSegment(i).GetLabelValue() for i in staying}
        rest = without(layer, values)
        for identifier in staying:
            segmentation.GetSegment(identifier).AddRepresentation(layer_name(), rest)


def without(layer: Any, values: set[int]) -> Any:
    """A copy of a layer in which ``values`` are background."""
    copy = slicer.vtkOrientedImageData()
    copy.DeepCopy(layer)
    if copy.GetNumberOfPoints():
        array = array_of(copy)
        array[np.isin(array, list(values))] = 0
    return copy


def layers_of(segmentation: Any) -> dict[Any, list[str]]:
    """Layer -> IDs of the segments in it."""
    found: dict[Any, list[str]] = {}
    for identifier in segmentation.GetSegmentIDs():
        layer = segmentation.GetSegment(identifier).GetRepresentation(layer_name())
        if layer is not None:
            found.setdefault(layer, []).append(identifier)
    return found


@contextmanager
def surfaces_kept(segmentation: Any, changing: Collection[str]) -> Iterator[dict[str, Any]]:
    """If there are surfaces: take them away meanwhile, put back those of unchanged segments, and make the others.

    Slicer makes them itself when a segment is added, one by one and before the voxels are complete.

    Yields:
        Segment ID -> surface to put back; surfaces that are known for changing segments can be added.
    """
    had = segmentation.ContainsRepresentation(surface_name())
    surfaces = surfaces_of(segmentation, [i for i in segmentation.GetSegmentIDs() if i not in changing])
    if had:
        segmentation.RemoveRepresentation(surface_name())
    try:
        yield surfaces
    finally:
        if had:
            # Surfaces that are smoothed jointly depend on their neighbors.
            jointly = segmentation.GetConversionParameter(_JOINT_SMOOTHING) in ("1", "1.0")
            _make_surfaces(segmentation, {} if jointly else surfaces)


def _make_surfaces(segmentation: Any, known: Mapping[str, Any]) -> None:
    """Give each segment its ``known`` surface, and let Slicer make those of the others."""
    for identifier, surface in known.items():
        segment = segmentation.GetSegment(identifier)
        if segment is not None:
            segment.AddRepresentation(surface_name(), surface)
    segmentation.CreateRepresentation(surface_name())


def surfaces_of(segmentation: Any, identifiers: Iterable[str]) -> dict[str, Any]:
    """Segment ID -> surface, of those segments that have one."""
    found = {i: segmentation.GetSegment(i).GetRepresentation(surface_name()) for i in identifiers}
    return {identifier: surface for identifier, surface in found.items() if surface is not None}


def notify_of_new_voxels(segmentation: Any) -> None:
    """The event of Slicer's own editing, so that views and file types follow."""
    segmentation.InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)


def replaced_by_name(node: Any, labels: Sequence[Label]) -> dict[int, str]:
    """Label value -> ID of the segment of that name, whose voxels a result replaces; where names repeat, the first
    label takes the first segment."""
    free = segments_of(node)
    found = {}
    for label in labels:
        segment = next((s for s in free if s.name == label.name), None)
        if segment is not None:
            free.remove(segment)
            found[label.value] = segment.id
    return found


def filled(node: Any, identifiers: Iterable[str]) -> list[str]:
    """Those of the segments that have voxels."""
    segmentation = node.GetSegmentation()
    values: dict[Any, set[int]] = {}
    found = []
    for identifier in identifiers:
        segment = segmentation.GetSegment(identifier)
        layer = segment.GetRepresentation(layer_name())
        if layer is not None and layer not in values:
            values[layer] = set() if layer.IsEmpty() else values_in(array_of(layer))
        if segment.GetLabelValue() in values.get(layer, set()):
            found.append(identifier)
    return found


def _new_segment(label: Label) -> Any:
    segment = slicer.vtkSegment()
    segment.SetName(label.name)
    segment.SetLabelValue(label.value)
    segment.NameAutoGeneratedOff()
    if label.color is not None:
        segment.SetColor(*(part / 255 for part in label.color))
        segment.ColorAutoGeneratedOff()
    # Segments drawn without choosing a code have that of tissue, with which every new segment begins.
    coded = label.terminology if label.terminology != _terminology(segment) else None
    terminology = coded or known_by_name(label.name)
    if terminology:
        if hasattr(segment, "SetTerminology"):
            segment.SetTerminology(terminology)
        else:
            segment.SetTag(segment.GetTerminologyEntryTagName(), terminology)
    return segment


def _terminology(segment: Any) -> str:
    if hasattr(segment, "GetTerminology"):
        return segment.GetTerminology() or ""
    entry = vtk.mutable("")
    segment.GetTag(segment.GetTerminologyEntryTagName(), entry)
    return str(entry)
