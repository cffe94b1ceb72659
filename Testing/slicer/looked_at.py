"""All of a segmentation that a user or a file can tell, to compare it before and after."""

import numpy as np
import slicer
import vtk
from ContrastiveSegPanel.mrml.scene import reference_volume
from nodes import segment_id
from vtk.util import numpy_support

SURFACE = "Closed surface"
STATUS = "Segmentation.Status"


def look(node):
    """All of a segmentation that a user or a file can tell: segments in order, voxels, surfaces, layers and display."""
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    layers = []
    told = []
    for identifier in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(identifier)
        layer = segment.GetRepresentation("Binary labelmap")
        if layer not in layers:
            layers.append(layer)
        surface = segment.GetRepresentation(SURFACE)
        note, status = vtk.mutable(""), vtk.mutable("")
        segment.GetTag("note", note)
        segment.GetTag(STATUS, status)
        told.append(
            {
                "id": identifier,
                "name": segment.GetName(),
                "color": segment.GetColor(),
                "terminology": segment.GetTerminology(),
                "tags": (str(note), str(status)),
                "value": segment.GetLabelValue(),
                "layer": layers.index(layer),
                "voxels": voxels_of(layer),
                "surface": None if surface is None else surface.GetNumberOfPoints(),
                "visible": display.GetSegmentVisibility(identifier),
                "opacity": (display.GetSegmentOpacity3D(identifier), display.GetSegmentOpacity2DFill(identifier)),
            }
        )
    return told, place(node)


def voxels_of(layer):
    matrix = vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(matrix)
    scalars = layer.GetPointData().GetScalars()
    array = b"" if scalars is None else numpy_support.vtk_to_numpy(scalars).tobytes()
    return layer.GetExtent(), layer.GetScalarType(), slicer.util.arrayFromVTKMatrix(matrix).tolist(), array


def values_in_layer(node, name):
    layer = node.GetSegmentation().GetSegment(segment_id(node, name)).GetRepresentation("Binary labelmap")
    return set(np.unique(numpy_support.vtk_to_numpy(layer.GetPointData().GetScalars())).tolist())


def place(node):
    parameters = node.GetSegmentation().SerializeAllConversionParameters()
    return node.GetTransformNodeID(), reference_volume(node), parameters


def of(looked, name):
    return next(segment for segment in looked[0] if segment["name"] == name)


def without(segment, *keys):
    return {key: value for key, value in segment.items() if key not in keys}
