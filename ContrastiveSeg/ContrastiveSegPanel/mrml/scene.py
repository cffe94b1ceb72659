"""The scene's volumes and segmentations as files of the engine, and its label maps as segments of the scene.

Nothing is resampled on the way to the engine and back: a volume is written on its own voxel grid, without its parent
transform, and a label map on that grid becomes segments whose voxels are the file's.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from contrastiveseg.checkpoints.card import Label

from .grids import FILE_ENDING, check_same_grid, grid_of, read_image, volume_holding, writable, write_image
from .hierarchy import place_beside
from .label_arrays import checked_labels
from .merging import merged
from .region import inside
from .segments import Segment, check_takes_labels, filled, put_labels, replaced_by_name, segments_of
from .undo import Undo

__all__ = [
    "FILE_ENDING",
    "Segment",
    "Undo",
    "check_takes_labels",
    "filled",
    "load_volume",
    "read_labels_into",
    "reference_volume",
    "replaced_by_name",
    "safe_names",
    "segments_of",
    "write_labels",
    "write_volume",
]

#: Names Windows keeps for devices, whatever the ending.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_LONGEST_NAME = 60


def write_volume(volume: Any, path: Path | str) -> None:
    """Write a volume's voxels uncompressed, on its own grid; a parent transform is not applied.

    Raises:
        InputError: it has no voxels, or several values a voxel; or the file cannot be written.
    """
    grid = grid_of(volume)
    write_image(volume_holding(writable(volume.GetImageData()), grid.ijk_to_ras), Path(path))


def write_labels(
    segmentation: Any, volume: Any, values: Mapping[str, int], path: Path | str, outside: tuple[Any, int] | None = None
) -> list[str]:
    """Write segments as one label map on the volume's grid, as uint8 or, for values above 255, int16.

    Segments on the volume's grid are copied as they are, others are resampled (nearest neighbor); parent transforms of
    both nodes are taken into account. Where segments of different values overlap, the one further down the list wins,
    as in Slicer's own export.

    Args:
        values: segment ID -> value in the label map. Several segments may share one.
        outside: a Markups ROI, and the value that voxels outside of it get, whatever is painted there.

    Returns:
        A sentence for every two segments of which one hides voxels of the other.

    Raises:
        InputError: a segment is missing, a value not in 1..32767, the volume has no voxels, or as :func:`.inside`.
    """
    grid = grid_of(volume)
    array, overlaps = merged(segmentation, volume, grid, values)
    if outside is not None:
        roi, value = outside
        array = np.where(inside(roi, volume, grid), array, np.array(value, np.uint8 if value <= 255 else np.int16))
    write_image(volume_holding(array, grid.ijk_to_ras), Path(path))
    return overlaps


def read_labels_into(
    path: Path | str, labels: Sequence[Label], volume: Any, segmentation: Any = None, name: str | None = None
) -> tuple[Any, Undo]:
    """Make segments of a label map that lies on the volume's grid.

    In an existing segmentation, segments with the labels' names get new voxels and keep how the user shows and codes
    them; missing ones are added behind; the others stay as they are, bit for bit.

    Args:
        labels: what the values in the file mean. Labels without voxels become empty segments.
        segmentation: the node to write into; None makes a new one, called ``name``, under the volume's parent transform
            and beside the volume in the subject hierarchy.

    Returns:
        The segmentation node, and what takes the change back in one step.

    Raises:
        InputError: the file is no label map on the volume's grid, has a value without a label, or the segmentation
            cannot take it exactly.
    """
    grid = grid_of(volume)
    image = read_image(Path(path))
    check_same_grid(image, grid, str(path))
    array = checked_labels(image.GetImageData(), labels, str(path))
    if segmentation is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name or f"{volume.GetName()} segmentation")
    else:
        node = segmentation
        check_takes_labels(node, volume)
    undo = Undo(node, created=segmentation is None)
    undo.finish(put_labels(node, volume, grid, array, labels))
    if segmentation is None:
        place_beside(node, volume)
    return node, undo


def load_volume(path: Path | str, like: Any, name: str) -> Any:
    """Load a map (such as the uncertainty) that lies on the grid of the volume ``like``, and place it like that.

    Raises:
        InputError: the file cannot be read, or lies on another grid.
    """
    grid = grid_of(like)
    image = read_image(Path(path))
    check_same_grid(image, grid, str(path))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(image.GetImageData())
    node.CopyOrientation(like)
    node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    place_beside(node, like)
    return node


def reference_volume(segmentation: Any) -> Any:
    """The volume a segmentation was made on, or None."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentation.GetNodeReference(role)


def safe_names(nodes: Iterable[Any]) -> dict[str, str]:
    """Node ID -> a case name that any file system and the engine's naming rules take, unique among ``nodes``."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for node in nodes:
        plain = unicodedata.normalize("NFKD", node.GetName() or "").encode("ascii", "ignore").decode()
        base = re.sub(r"[^A-Za-z0-9_]+", "-", plain)[:_LONGEST_NAME].strip("-_") or "case"
        # CASE_0000 would be read as a channel of CASE.
        base = re.sub(r"_(?=\d{4}$)", "-", base)
        name, count = base, 1
        while name.lower() in taken | _RESERVED:
            count += 1
            name = f"{base}-{count}"
        taken.add(name.lower())
        names[node.GetID()] = name
    return names
