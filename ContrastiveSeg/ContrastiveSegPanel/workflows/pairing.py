"""Which segmentation of the scene belongs to which volume."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import slicer
import vtk

#: Attribute of a segmentation that a checkpoint made: it is not learned from unless the user says so.
PREDICTED = "ContrastiveSeg.Predicted"
#: Attribute of a segmentation: license and citation of the weights that made it, as a sentence.
TERMS = "ContrastiveSeg.Terms"
#: Attribute of a volume: its role as the user has chosen it (:mod:`.cases`).
ROLE = "ContrastiveSeg.Role"
#: Node reference of a volume to the segmentation that the user has paired it with.
SEGMENTATION = "ContrastiveSeg.Segmentation"

#: Node reference of an uncertainty map to the volume that it is of.
MAP_OF = "ContrastiveSeg.MapOf"


def same_name(name: str) -> str:
    """``name`` without case and spacing: what makes two names one."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def volume_of(segmentation: Any) -> Any:
    """The volume a segmentation was made on: the one it names, else the one it pairs with; or None."""
    volumes = filled_volumes()
    identifier = _named_volume(segmentation, volumes)
    return next((volume for volume in volumes if volume.GetID() == identifier), None)


def segmentation_of(volume: Any) -> Any:
    """The segmentation that the table shows beside ``volume``, or None."""
    return next((paired for one, paired in pairs(scalar_volumes(), segmentations()) if one is volume), None)


def segmentations() -> list[Any]:
    """The scene's segmentation nodes that users see."""
    return _nodes("vtkMRMLSegmentationNode")


def scalar_volumes() -> list[Any]:
    """The scene's scalar volumes that users see, with or without voxels; uncertainty maps are none."""
    # Exactly this class: label maps, vector and diffusion volumes inherit from it.
    nodes = [v for v in _nodes("vtkMRMLScalarVolumeNode") if v.GetClassName() == "vtkMRMLScalarVolumeNode"]
    return [v for v in nodes if v.GetNodeReference(MAP_OF) is None]


def filled_volumes() -> list[Any]:
    """Those of :func:`scalar_volumes` with voxels."""
    return [volume for volume in scalar_volumes() if volume.GetImageData()]


def uncertainty_map_of(volume: Any) -> Any:
    """The last uncertainty map that was made of a volume, or None."""
    maps = [n for n in _nodes("vtkMRMLScalarVolumeNode") if n.GetNodeReference(MAP_OF) is volume and n.GetImageData()]
    return maps[-1] if maps else None


def label_maps() -> list[Any]:
    """The scene's label map volumes that users see."""
    return _nodes("vtkMRMLLabelMapVolumeNode")


def _nodes(class_name: str) -> list[Any]:
    return [node for node in slicer.util.getNodesByClass(class_name) if not node.GetHideFromEditors()]


def pairs(volumes: Sequence[Any], segmentations: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Each volume with its segmentation or None.

    The user's choice counts first; then the reference volume a segmentation names; then, for one that names none, a
    volume of its name or else the only one on its grid. Of several, those drawn by users come before predictions.
    """
    candidates: dict[str, list[Any]] = {volume.GetID(): [] for volume in volumes}
    for segmentation in sorted(segmentations, key=lambda s: bool(s.GetAttribute(PREDICTED))):
        candidates.get(_named_volume(segmentation, volumes) or "", []).append(segmentation)
    by_id = {segmentation.GetID(): segmentation for segmentation in segmentations}
    return [
        (volume, by_id.get(volume.GetNodeReferenceID(SEGMENTATION)) or next(iter(candidates[volume.GetID()]), None))
        for volume in volumes
    ]


def _named_volume(segmentation: Any, volumes: Sequence[Any]) -> str | None:
    reference = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentation.GetNodeReferenceID(reference) or _same_name_or_grid(segmentation, volumes)


def _same_name_or_grid(segmentation: Any, volumes: Sequence[Any]) -> str | None:
    named = [v for v in volumes if same_name(segmentation.GetName()).startswith(same_name(v.GetName()))]
    if named:
        # CT 1 and CT 12 both begin CT 12's name.
        return max(named, key=lambda v: len(same_name(v.GetName()))).GetID()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    grid = _numbers(segmentation.GetSegmentation().GetConversionParameter(name))
    on_grid = [v for v in volumes if grid and _close(grid, _grid_of(v))]
    return on_grid[0].GetID() if len(on_grid) == 1 else None


def _grid_of(volume: Any) -> list[float]:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return _numbers(slicer.vtkSegmentationConverter.SerializeImageGeometry(matrix, volume.GetImageData()))


def _numbers(geometry: str) -> list[float]:
    """A serialized image geometry: 16 numbers of the IJK to RAS matrix, 6 of the extent."""
    return [float(part) for part in geometry.split(";") if part]


def _close(first: Sequence[float], second: Sequence[float]) -> bool:
    # A thousandth of a millimeter is what files of several formats differ by.
    return len(first) == len(second) and all(abs(a - b) < 1e-3 for a, b in zip(first, second, strict=True))
