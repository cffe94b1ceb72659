"""What a synthetic subject looks like and how it is imaged."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from .anatomy import LABEL_NAMES, Region
from .appearance import Contrast


@dataclass(frozen=True)
class SyntheticSettings:
    """What a subject looks like and how it is imaged.

    Attributes:
        region: the part of the body in the field of view.
        size: voxels (z, y, x).
        spacing: mm (z, y, x). Slices much thicker than pixels are imaged as such: averaged over their thickness.
        contrast: family of intensities; "random" draws a family, or entirely random tissues, for each subject.
        labels: how many of :data:`.anatomy.LABEL_NAMES` are kept, counted from 1.
        noise: standard deviation as a fraction of the contrast range.
        bias: strength of the multiplicative field (standard deviation of its logarithm); none on CT.
        texture: standard deviation of the tissues' own mottling, as a fraction of the contrast range.
        variation: how much subjects differ in shape; 1 is natural, 0 none.
        zoom: smallest part of the region's extent a subject's field of view may show; below 1 it is a random crop.

    Raises:
        InputError: a size, spacing, zoom or number of labels that cannot be imaged.
    """

    region: Region = "torso"
    size: tuple[int, int, int] = (48, 64, 64)
    spacing: tuple[float, float, float] = (6.0, 5.0, 6.0)
    contrast: Contrast = "cine"
    labels: int = 3
    noise: float = 0.04
    bias: float = 0.15
    texture: float = 0.06
    variation: float = 1.0
    zoom: float = 1.0

    def __post_init__(self) -> None:
        if min(self.size) < 8 or min(self.spacing) <= 0:
            raise InputError(f"A synthetic volume needs 8 voxels an axis and positive spacing, not {self.size}.")
        if not 1 <= self.labels <= len(LABEL_NAMES):
            raise InputError(f"There are 1 to {len(LABEL_NAMES)} synthetic labels to keep, not {self.labels}.")
        if not 0 < self.zoom <= 1:
            raise InputError(f"zoom is a part of the region in (0, 1], not {self.zoom}.")
