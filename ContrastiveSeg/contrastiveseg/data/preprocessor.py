"""From a volume as it was stored to the array that a network sees: the same for training and for segmenting."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..planning.normalize import normalize
from ..planning.plan import Plan, millimeters
from ..volumes.memory import free_memory
from ..volumes.orientation import Axes, oriented_axes
from ..volumes.resample import resample_image, resample_labels, resampled_shape
from ..volumes.resample_nnunet import resample_splines, thick_axis
from ..volumes.volume import Geometry, LabelMap, Volume, nonzero_box


@dataclass(frozen=True)
class Preprocessor:
    """Turns volumes to one orientation, normalizes their intensities and resamples them, as ``plan`` says."""

    plan: Plan

    def image(self, volume: Volume) -> np.ndarray:
        """``volume`` as (C, z, y, x) float32: turned to the plan's orientation, normalized, at the plan's spacing.

        Raises:
            InputError: the volume has another number of channels than the plan, or the memory does not hold it at the
                plan's spacing.
        """
        shape = self.working_shape(volume.geometry)
        self._check_memory(volume.geometry, shape, len(volume.array))
        array = self.axes(volume.geometry).apply(volume.array)
        if self.plan.conventions.crop:
            # Outside of the box 0, as around a volume that was cut to it.
            box = (slice(None), *nonzero_box(array))
            normalized = np.zeros(array.shape, np.float32)
            normalized[box] = normalize(array[box], self.plan.channels)
        else:
            normalized = normalize(array, self.plan.channels)
        how = self.plan.conventions.resampling
        if how == "linear":
            return resample_image(normalized, shape)
        return resample_splines(normalized, shape, 3 if how == "nnunet-cubic" else 1, self.thick_axis(volume.geometry))

    def axes(self, geometry: Geometry) -> Axes:
        """How arrays on ``geometry`` turn to the plan's orientation."""
        return oriented_axes(geometry, self.plan.conventions.orientation)

    def thick_axis(self, geometry: Geometry, back: bool = False) -> int | None:
        """The axis along which slices are copied on the way from ``geometry`` to the plan's spacing, or ``back``."""
        if self.plan.conventions.resampling == "linear":
            return None
        steps = self.axes(geometry).spacing_zyx(geometry), self._target(geometry)
        return thick_axis(*(reversed(steps) if back else steps))

    def labels(self, label_map: LabelMap, geometry: Geometry) -> np.ndarray:
        """``label_map`` (z, y, x), which lies on the grid ``geometry`` of its image, on the grid of :meth:`image`."""
        return resample_labels(self.axes(geometry).apply(label_map.array), self.working_shape(geometry))

    def working_shape(self, geometry: Geometry) -> tuple[int, int, int]:
        """Voxels (z, y, x) at the plan's spacing of a volume on ``geometry``; in 2D the slice axis stays as it is."""
        axes = self.axes(geometry)
        return resampled_shape(axes.shape_zyx(geometry), axes.spacing_zyx(geometry), self._target(geometry))

    def _check_memory(self, geometry: Geometry, shape: tuple[int, int, int], channels: int) -> None:
        """Refuse voxel sizes with which the volume would become too large: they are most often of another unit."""
        needed = np.dtype(np.float32).itemsize * channels * math.prod(shape)
        if (free := free_memory(needed)) < needed:
            raise InputError(
                f"With its voxels of {millimeters(geometry.spacing_zyx)} mm, the volume would take "
                f"{needed / 2**30:.3g} GiB at the network's spacing of {millimeters(self.plan.spacing)} mm, and "
                f"{free / 2**30:.3g} GiB of memory are free. Correct the voxel sizes in its header, or crop it."
            )

    def _target(self, geometry: Geometry) -> list[float]:
        """Spacing in mm (z, y, x) of the grid of :meth:`image`."""
        target = list(self.plan.spacing)
        if self.plan.dimensions == 2:
            axis = self.plan.slice_axis
            target[axis] = self.axes(geometry).spacing_zyx(geometry)[axis]
        return target
