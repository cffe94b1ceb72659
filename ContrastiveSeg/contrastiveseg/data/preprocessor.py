"""From a volume as it was stored to the array that a network sees: the same for training and for segmenting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..planning.normalize import normalize
from ..planning.plan import Plan
from ..volumes.orientation import canonical_axes
from ..volumes.resample import resample_image, resample_labels, resampled_shape
from ..volumes.volume import Geometry, LabelMap, Volume


@dataclass(frozen=True)
class Preprocessor:
    """Turns volumes to the canonical orientation, normalizes their intensities and resamples them, as ``plan`` says."""

    plan: Plan

    def image(self, volume: Volume) -> np.ndarray:
        """``volume`` as (C, z, y, x) float32: canonical orientation, normalized, at the plan's spacing.

        Raises:
            InputError: the volume has another number of channels than the plan.
        """
        normalized = normalize(canonical_axes(volume.geometry).apply(volume.array), self.plan.channels)
        return resample_image(normalized, self.working_shape(volume.geometry))

    def labels(self, label_map: LabelMap, geometry: Geometry) -> np.ndarray:
        """``label_map`` (z, y, x), which lies on the grid ``geometry`` of its image, on the grid of :meth:`image`."""
        return resample_labels(canonical_axes(geometry).apply(label_map.array), self.working_shape(geometry))

    def working_shape(self, geometry: Geometry) -> tuple[int, int, int]:
        """Voxels (z, y, x) at the plan's spacing of a volume on ``geometry``; in 2D the slice axis stays as it is."""
        axes = canonical_axes(geometry)
        spacing = axes.spacing_zyx(geometry)
        target = list(self.plan.spacing)
        if self.plan.dimensions == 2:
            target[self.plan.slice_axis] = spacing[self.plan.slice_axis]
        return resampled_shape(axes.shape_zyx(geometry), spacing, target)
