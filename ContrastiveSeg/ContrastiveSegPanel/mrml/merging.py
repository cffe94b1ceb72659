"""Several segments as one label map on a volume's grid."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import slicer
import vtk

from contrastiveseg.errors import InputError

from ..translation import _
from .grids import Grid, array_of
from .label_arrays import HIGHEST_VALUE, box_of
from .segments import image_to_world, layer_name, segments_of, volume_to_segmentation

#: A part of a grid along k, j and i.
Box: TypeAlias = tuple[slice, ...]


def merged(node: Any, volume: Any, grid: Grid, values: Mapping[str, int]) -> tuple[np.ndarray, list[str]]:
    """(k, j, i) label values of the segments in ``values`` on the volume's ``grid``, later segments over earlier ones.

    Returns:
        The array, uint8 or int16, and a sentence for every two values of which one hides voxels of the other.

    Raises:
        InputError: a segment is missing, or a value not in 1..32767.
    """
    names = {segment.id: segment.name for segment in segments_of(node)}
    missing = [identifier for identifier in values if identifier not in names]
    if missing:
        raise InputError(_("{name} has no segment {segment} any more.").format(name=node.GetName(), segment=missing[0]))
    wrong = [value for value in values.values() if not 0 < value <= HIGHEST_VALUE]
    if wrong:
        raise InputError(
            _("Label values must be 1 to {highest}; one is {wrong}.").format(highest=HIGHEST_VALUE, wrong=wrong[0])
        )
    array = np.zeros(grid.shape, np.uint8 if max(values.values(), default=0) <= 255 else np.int16)
    segmentation = _with_layers(node, grid)
    hidden: Counter[tuple[int, int]] = Counter()
    placed: dict[Any, tuple[Box, np.ndarray]] = {}
    named: dict[int, list[str]] = {}
    for identifier in (i for i in names if i in values):
        segment, value = segmentation.GetSegment(identifier), values[identifier]
        named.setdefault(value, []).append(names[identifier])
        layer = segment.GetRepresentation(layer_name())
        if layer is None or layer.IsEmpty():
            continue
        if layer not in placed:
            placed[layer] = _on_grid(layer, node, volume, grid)
        box, there = placed[layer]
        inside = there == segment.GetLabelValue()
        part = array[box]
        below = part[inside]
        # Mostly there is none, and sorting all of it would take long.
        below, counts = np.unique(below[below > 0], return_counts=True)
        hidden.update({(value, int(b)): int(n) for b, n in zip(below, counts, strict=True) if b != value})
        part[inside] = value
    sentences = [
        _("{above} hides {count} voxels of {below}, which it overlaps.").format(
            above=_(" and ").join(named[above]), count=count, below=_(" and ").join(named[below])
        )
        for (above, below), count in hidden.items()
    ]
    return array, sentences


def _with_layers(node: Any, grid: Grid) -> Any:
    """The node's segmentation, or a copy with layers of the grid's resolution if it is made of surfaces or contours."""
    segmentation = node.GetSegmentation()
    source = segmentation.GetSourceRepresentationName()
    if source == layer_name():
        return segmentation
    converter = slicer.vtkSegmentationConverter
    copy = slicer.vtkSegmentation()
    copy.SetSourceRepresentationName(source)
    copy.CopyConversionParameters(segmentation)
    copy.SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(), converter.SerializeImageGeometry(_reference(grid))
    )
    for identifier in segmentation.GetSegmentIDs():
        copy.CopySegmentFromSegmentation(segmentation, identifier)
    if not copy.CreateRepresentation(layer_name()):
        raise InputError(
            _('{name} is stored as "{source}", which cannot be turned into voxels.').format(
                name=node.GetName(), source=source
            )
        )
    return copy


def _on_grid(layer: Any, node: Any, volume: Any, grid: Grid) -> tuple[Box, np.ndarray]:
    """A layer's values at the grid's voxels: copied where grids coincide, else those of the nearest voxels.

    Returns:
        The part of the grid (k, j, i) outside of which they are 0, and the values there.
    """
    moved = slicer.vtkOrientedImageData()
    moved.ShallowCopy(layer)
    matrix, transform = volume_to_segmentation(volume, node), None
    if matrix is None:
        transform = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
            node.GetParentTransformNode(), volume.GetParentTransformNode(), transform
        )
    elif not np.array_equal(matrix, np.eye(4)):
        # Moving the grid instead of resampling keeps voxels exact where one transform undoes the other.
        there = np.linalg.inv(matrix) @ image_to_world(layer)
        moved.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(there))
    box = _box_on(grid, moved) if transform is None else tuple(slice(0, n) for n in grid.shape)
    if any(part.start >= part.stop for part in box):
        return box, np.zeros([max(0, part.stop - part.start) for part in box], np.uint8)
    placed = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        moved, _reference(grid, box), placed, False, False, transform
    )
    return box, array_of(placed)


def _box_on(grid: Grid, layer: Any) -> Box:
    """The part of the grid that the layer's voxels reach into: all of a volume need not be looked at for a stroke."""
    # Layers that Slicer imports are as large as their volume, whatever is painted.
    painted = np.array(box_of(array_of(layer))[::-1])
    extent = np.array(layer.GetExtent()[::2])[:, None] + painted + (-0.5, 0.5)
    corners = np.array(np.meshgrid(*extent, [1.0], indexing="ij")).reshape(4, -1)
    reached = (np.linalg.inv(grid.ijk_to_ras) @ image_to_world(layer) @ corners)[2::-1]
    first, last = np.floor(reached.min(axis=1)).astype(int), np.ceil(reached.max(axis=1)).astype(int) + 1
    return tuple(slice(max(0, a), max(0, min(b, n))) for a, b, n in zip(first, last, grid.shape, strict=True))


def _reference(grid: Grid, box: Box | None = None) -> Any:
    """An image without voxels that says where those of the grid, or of a part of it, are."""
    k, j, i = box or tuple(slice(0, n) for n in grid.shape)
    reference = slicer.vtkOrientedImageData()
    reference.SetExtent(i.start, i.stop - 1, j.start, j.stop - 1, k.start, k.stop - 1)
    reference.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(grid.ijk_to_ras))
    return reference
