"""Volumes and segmentations for tests, with known voxels, and label maps as another program would write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from vtk.util import numpy_support

from contrastiveseg.checkpoints.card import Label

LIVER = "Segmentation category and type~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~regions~^^~^^"
LABELS = (
    Label(1, "Liver", (221, 130, 101), LIVER),
    Label(2, "Spleen", (157, 108, 162)),
    Label(3, "Kidney", (185, 102, 83)),
)
SHAPE = (7, 11, 13)
STRAIGHT = np.diag([1.0, 1.0, 1.0, 1.0])
ANISOTROPIC = np.array([[-0.5, 0, 0, 30], [0, -0.75, 0, -20], [0, 0, 4, 5], [0, 0, 0, 1.0]])


def turned(degrees: float, move: Sequence[float], axis: int = 0) -> np.ndarray:
    """A rotation about a coordinate axis followed by a move, 4 x 4."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    made = np.eye(4)
    one, other = (a for a in range(3) if a != axis)
    made[[one, one, other, other], [one, other, one, other]] = c, -s, s, c
    made[:3, 3] = move
    return made


#: Turned about two axes, of three spacings, and left-handed.
OBLIQUE = turned(25, (15, -42, 7)) @ turned(-17, (0, 0, 0), axis=2) @ np.diag([0.7, 0.9, -2.5, 1.0])
GRIDS = {"straight": STRAIGHT, "anisotropic": ANISOTROPIC, "oblique": OBLIQUE}


def matrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    return slicer.util.vtkMatrixFromArray(array)


def numbers(shape: Sequence[int] = SHAPE, dtype: Any = np.int16, seed: int = 0) -> np.ndarray:
    """Voxels that differ from their neighbors."""
    return np.random.default_rng(seed).integers(-500, 500, shape).astype(dtype)


def labels_in(shape: Sequence[int] = SHAPE, values: Sequence[int] = (1, 2, 3), seed: int = 1) -> np.ndarray:
    """A label map with every value somewhere, ragged at the edges; its outermost voxels are background."""
    array = np.zeros(shape, np.int64)
    inside = tuple(slice(1, -1) for _ in shape)
    drawn = np.random.default_rng(seed).choice([0, *values], array[inside].shape)
    array[inside] = drawn
    return array


def volume(array: np.ndarray | None = None, ijk_to_ras: np.ndarray = OBLIQUE, name: str = "Volume") -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, numbers() if array is None else array)
    node.SetIJKToRASMatrix(matrix(ijk_to_ras))
    return node


def transform(array: np.ndarray | None = None, name: str = "Transform") -> Any:
    """A linear transform node; without a matrix a grid transform, which bends."""
    if array is not None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
        node.SetMatrixTransformToParent(matrix(array))
        return node
    field = vtk.vtkImageData()
    field.SetDimensions(4, 4, 4)
    field.SetOrigin(-100, -100, -100)
    field.SetSpacing(70, 70, 70)
    field.AllocateScalars(vtk.VTK_DOUBLE, 3)
    numpy_support.vtk_to_numpy(field.GetPointData().GetScalars())[:] = np.random.default_rng(2).normal(0, 4, (64, 3))
    bent = slicer.vtkOrientedGridTransform()
    bent.SetDisplacementGridData(field)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", name)
    node.SetAndObserveTransformToParent(bent)
    return node


def label_file(path: Path, array: np.ndarray, ijk_to_ras: np.ndarray = OBLIQUE) -> Path:
    """Write labels (k, j, i) by SimpleITK, as the engine does."""
    image = sitk.GetImageFromArray(array)
    lps = np.diag([-1, -1, 1, 1.0]) @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path))
    return path


def voxels(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def ijk_to_ras_of(path: Path) -> np.ndarray:
    """The matrix that SimpleITK reads from a file, in Slicer's coordinates."""
    image = sitk.ReadImage(str(path))
    made = np.eye(4)
    made[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    made[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1.0]) @ made


def segmentation(masks: Mapping[str, np.ndarray], reference: Any, name: str = "Segmentation") -> Any:
    """A node with a segment a mask, in the order given, made as a user's: each through Slicer's own functions."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    for segment, mask in masks.items():
        identifier = node.GetSegmentation().AddEmptySegment("", segment)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, identifier, reference)
    return node


def segment_id(node: Any, name: str) -> str:
    return node.GetSegmentation().GetSegmentIdBySegmentName(name)


def mask_of(node: Any, name: str, reference: Any) -> np.ndarray:
    """The segment's voxels on a volume's grid, read by Slicer's own function."""
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id(node, name), reference) > 0
