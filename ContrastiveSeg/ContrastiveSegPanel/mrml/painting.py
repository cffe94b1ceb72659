"""How segments are painted: throughout, on some slices only, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contrastiveseg.volumes.orientation import canonical_axes
from contrastiveseg.volumes.painted_slices import PaintedSlices, structure_in_slices

from .grids import Grid, array_of, grid_of
from .segments import image_to_world, layer_name


@dataclass(frozen=True)
class Painting:
    """What is painted of a segment.

    Attributes:
        empty: it has no voxels.
        slices: the painted ones, where it seems to be painted on some slices only.
    """

    empty: bool
    slices: PaintedSlices | None = None


def painting_of(node: Any, identifier: str, volume: Any) -> Painting:
    """How the segment ``identifier`` of the segmentation ``node`` is painted over ``volume``.

    A segment that is stored as a surface counts as painted throughout.
    """
    segmentation = node.GetSegmentation()
    if segmentation.GetSourceRepresentationName() != layer_name():
        return Painting(empty=False)
    segment = segmentation.GetSegment(identifier)
    layer = segment.GetRepresentation(layer_name())
    if layer is None or layer.IsEmpty():
        return Painting(empty=True)
    mask = array_of(layer) == segment.GetLabelValue()
    if not mask.any():
        return Painting(empty=True)
    grid, whole = Grid(mask.shape, image_to_world(layer)).geometry(), grid_of(volume).geometry()
    axes = canonical_axes(grid)
    # The layer is cut down to what is painted: the volume says of how many slices.
    shape = canonical_axes(whole).shape_zyx(whole)
    return Painting(False, structure_in_slices(axes.apply(mask), shape, axes.spacing_zyx(grid)))


def layer_state(node: Any, identifier: str) -> tuple[int, int]:
    """Differs as soon as the segment has other voxels."""
    segment = node.GetSegmentation().GetSegment(identifier)
    layer = segment.GetRepresentation(layer_name())
    # Not the layer itself: what is kept here would stay in memory with all its voxels.
    return (layer.GetMTime() if layer is not None else 0, segment.GetLabelValue())
