"""The features of one volume at several levels, and what a linear classifier needs of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps of a volume, each at the resolution at which it was computed.

    A linear classifier is applied to every map by itself, and only the scores are interpolated. That is the same as
    interpolating all features first, in a tenth of the memory.

    Attributes:
        maps: float16 (channels, z, y, x) in the network's orientation, each of its own size; all cover the same extent.
        groups: of each map; those of one group count as one, however many channels they have together.
        shape: voxels (z, y, x) of the working grid that the volume takes up; ``extent``: of that grid with its padding,
            which the maps cover.
        mean, deviation: (channels of all maps,) over the whole extent.
    """

    maps: tuple[np.ndarray, ...]
    groups: tuple[int, ...]
    shape: tuple[int, int, int]
    extent: tuple[int, int, int]
    mean: np.ndarray
    deviation: np.ndarray

    @functools.cached_property
    def _tensors(self) -> list[Tensor]:
        """The maps as float32: a classifier is fitted to them, then applied."""
        return [_tensor(one) for one in self.maps]

    def scale(self) -> np.ndarray:
        """(channels of all maps,): what standardized features are multiplied by, so that every group has a variance
        of 1 in total, however many channels it has."""
        widths = np.array([len(one) for one in self.maps])
        totals = np.bincount(self.groups, weights=widths)
        return np.repeat(1 / np.sqrt(totals[list(self.groups)]), widths) / self.deviation

    def at(self, voxels: np.ndarray, grid: Sequence[int]) -> np.ndarray:
        """The features (N, channels of all maps), float32, at ``voxels`` (N, 3) of a ``grid`` (z, y, x) over the
        volume in the network's orientation, interpolated linearly."""
        # A voxel's center in the extent, -1 to 1 from edge to edge, x first as torch has it.
        place = (voxels + 0.5) / grid * self.shape / self.extent * 2 - 1
        points = torch.from_numpy(place[:, ::-1].astype(np.float32)).reshape(1, 1, 1, -1, 3)
        columns = [
            F.grid_sample(one[None], points, padding_mode="border", align_corners=False)[0, :, 0, 0].T
            for one in self._tensors
        ]
        return torch.cat(columns, 1).numpy()

    def scores(self, weights: np.ndarray, bias: np.ndarray) -> Tensor:
        """Scores (classes, z, y, x) on the working grid, float32.

        Args:
            weights: (classes, channels of all maps). bias: (classes,).
        """
        z, y, x = self.shape
        total = torch.from_numpy(bias.astype(np.float32)).reshape(-1, 1, 1, 1).expand(-1, z, y, x).clone()
        factors = torch.from_numpy(weights.astype(np.float32)).split([len(one) for one in self.maps], 1)
        by_shape: dict[tuple[int, ...], Tensor] = {}
        for one, factor in zip(self._tensors, factors, strict=True):
            part = (factor @ one.flatten(1)).reshape(-1, *one.shape[1:])
            known = by_shape.get(one.shape[1:])
            by_shape[one.shape[1:]] = part if known is None else known + part
        for part in by_shape.values():
            if tuple(part.shape[1:]) != self.extent:
                part = F.interpolate(part[None], size=self.extent, mode="trilinear", align_corners=False)[0]
            total += part[:, :z, :y, :x]
        return total


def moments(maps: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (channels of all maps,) over each map; a deviation of 0 counts as 1."""
    means, deviations = [], []
    for one in maps:
        values, unused = _tensor(one).flatten(1), torch.zeros(2, len(one))
        # The kernel of batch norm takes a quarter of the time of torch.std_mean.
        mean, variance = torch.batch_norm_update_stats(values[None], unused[0], unused[1], 0.0)
        varies = values.amin(1) < values.amax(1)  # rounding can give a constant channel a variance
        means.append(mean.numpy())
        deviations.append(torch.where(varies, variance.sqrt(), 1.0).numpy())
    return np.concatenate(means), np.concatenate(deviations)


def _tensor(one: np.ndarray) -> Tensor:
    """A map as float32; a copy, since torch does not take memory that cannot be written to."""
    return torch.from_numpy(one.astype(np.float32))
