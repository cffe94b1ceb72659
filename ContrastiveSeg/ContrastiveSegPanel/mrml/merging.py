"""Several segments as one label map on a volume's grid."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk

from contrastiveseg.errors import InputError

from ..translation import _
from .grids import Grid, array_of
from .segments import HIGHEST_VALUE, layer_name, segments_of, volume_to_segmentation


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
    placed: dict[Any, np.ndarray] = {}
    named: dict[int, list[str]] = {}
    for identifier in (i for i in names if i in values):
        segment, value = segmentation.GetSegment(identifier), values[identifier]
        named.setdefault(value, []).append(names[identifier])
        layer = segment.GetRepresentation(layer_name())
        if layer is None or layer.IsEmpty():
            continue
        if layer not in placed:
            placed[layer] = _on_grid(layer, node, volume, grid)
        inside = placed[layer] == segment.GetLabelValue()
        below, counts = np.unique(array[inside], return_counts=True)
        hidden.update({(value, int(b)): int(n) for b, n in zip(below, counts, strict=True) if b not in (0, value)})
        array[inside] = value
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


def _on_grid(layer: Any, node: Any, volume: Any, grid: Grid) -> np.ndarray:
    """A layer's values at the grid's voxels: copied where grids coincide, else those of the nearest voxels."""
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
        there = vtk.vtkMatrix4x4()
        layer.GetImageToWorldMatrix(there)
        moved.SetGeometryFromImageToWorldMatrix(
            slicer.util.vtkMatrixFromArray(np.linalg.inv(matrix) @ slicer.util.arrayFromVTKMatrix(there))
        )
    placed = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        moved, _reference(grid), placed, False, False, transform
    )
    return array_of(placed)


def _reference(grid: Grid) -> Any:
    """An image without voxels that says where the grid's are."""
    k, j, i = grid.shape
    reference = slicer.vtkOrientedImageData()
    reference.SetExtent(0, i - 1, 0, j - 1, 0, k - 1)
    reference.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(grid.ijk_to_ras))
    return reference
