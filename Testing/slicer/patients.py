"""Small synthetic patients for the tests of the panel: a volume, and a segmentation that was made on it by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

#: Voxels (k, j, i) of every volume.
SHAPE = (16, 20, 24)


def add_volume(name: str, seed: int = 0) -> Any:
    """A volume with a bright and a dark box in noise, each a little elsewhere for every ``seed``."""
    array = np.random.default_rng(seed).normal(0, 20, SHAPE)
    for value, box in zip((400, -400), boxes(seed), strict=True):
        array[box] += value
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array.astype(np.int16))
    node.SetSpacing(2.0, 2.0, 3.0)
    node.CreateDefaultDisplayNodes()
    return node


def noise(shape: tuple[int, int, int], name: str, seed: int = 0) -> Any:
    """A volume (k, j, i) of noise in voxels of 20 mm, for which the fixtures' checkpoints were made."""
    node = slicer.util.addVolumeFromArray(
        np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16), name=name
    )
    node.SetSpacing(20.0, 20.0, 20.0)
    return node


def add_segmentation(volume: Any, names: tuple[str, ...] = ("Liver", "Spleen"), seed: int = 0, name: str = "") -> Any:
    """A segmentation of the boxes of :func:`add_volume`, with a segment for each of ``names``."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name or f"{volume.GetName()} drawn")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for segment_name, box in zip(names, boxes(seed), strict=False):
        identifier = node.GetSegmentation().AddEmptySegment("", segment_name)
        mask = np.zeros(SHAPE, np.uint8)
        mask[box] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volume)
    return node


def add_patient(name: str, seed: int, names: tuple[str, ...] = ("Liver", "Spleen")) -> tuple[Any, Any]:
    """A volume with its segmentation."""
    volume = add_volume(name, seed)
    return volume, add_segmentation(volume, names, seed)


def boxes(seed: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the two boxes are."""
    k, j, i = np.random.default_rng(1000 + seed).integers(0, 4, 3)
    return (
        (slice(2 + k, 8 + k), slice(3 + j, 11 + j), slice(2 + i, 10 + i)),
        (slice(5 + k, 10 + k), slice(6 + j, 13 + j), slice(12 + i, 19 + i)),
    )
