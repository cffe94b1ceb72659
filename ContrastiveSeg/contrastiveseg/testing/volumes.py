"""Tiny data to test on: volumes of two balls in memory, a plan and a network for them, and a data set in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ..networks.backbone import Backbone
from ..networks.registry import build
from ..networks.spec import NetworkSpec
from ..planning.plan import Channel, Plan
from ..synthetic.dataset import write_dataset
from ..synthetic.settings import SyntheticSettings


class ToyVolumes:
    """A patch source over volumes of two balls in noise, of other size and brightness in each; labels 1 and 2.

    ``labeled`` are the cases with labels, ``data_sets`` the number of each case's data set. With ``partly``, only every
    other slice across z has a label in them, and label 2 was not looked for in the first one.
    """

    def __init__(
        self,
        count: int = 4,
        shape: tuple[int, int, int] = (24, 24, 24),
        labeled: Sequence[int] | None = None,
        data_sets: Sequence[int] = (),
        partly: bool = False,
    ) -> None:
        random = np.random.default_rng(0)
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        self.images: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        for _ in range(count):
            labels = np.zeros(shape, np.int16)
            image = random.normal(0, 0.15, shape)
            for value, side in ((1, -0.4), (2, 0.4)):
                middle = random.uniform(-0.1, 0.1, 3) + np.array([side, 0, 0])
                ball = sum((a - m) ** 2 for a, m in zip(axes, middle, strict=True)) < random.uniform(0.2, 0.4) ** 2
                labels[ball] = value
                image[ball] += random.uniform(0.8, 1.2) * (1.5 if value == 2 else -1)
            self.images.append(image.astype(np.float32))
            self.labels.append(labels)
        self.labeled = tuple(range(count)) if labeled is None else tuple(labeled)
        self.unlabeled = tuple(c for c in range(count) if c not in self.labeled)
        self.data_sets = tuple(data_sets) or (0,) * count
        self.partly = partly
        if partly:
            self.labels[0][self.labels[0] == 2] = 0
            for labels in self.labels:
                labels[::2] = -1

    def __len__(self) -> int:
        return len(self.images)

    def shape(self, case: int) -> tuple[int, int, int]:
        z, y, x = self.images[case].shape
        return (z, y, x)

    def box(self, case: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        z, y, x = self.shape(case)
        return ((0, z), (0, y), (0, x))

    def crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        return _cut(self.images[case], start, size)[None]

    def label_crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        if case not in self.labeled:
            return np.full(tuple(size), -1, np.int16)
        return _cut(self.labels[case], start, size, outside=-1 if self.partly else 0)

    def data_set(self, case: int) -> int:
        return self.data_sets[case]

    def foreground_voxels(self, case: int) -> np.ndarray:
        if case not in self.labeled:
            return np.empty((0, 4), np.int32)
        where = np.argwhere(self.labels[case] > 0)
        return np.concatenate([self.labels[case][tuple(where.T)][:, None], where], 1)

    def labeled_voxels(self, case: int) -> np.ndarray | None:
        return np.argwhere(self.labels[case] >= 0) if self.partly and case in self.labeled else None

    def missing(self, case: int) -> np.ndarray | None:
        return np.array([False, False, True]) if self.partly and case == 0 else None


def _cut(array: np.ndarray, start: Sequence[int], size: Sequence[int], outside: int = 0) -> np.ndarray:
    padded = np.pad(array, 32, constant_values=outside)
    return padded[tuple(slice(s + 32, s + 32 + n) for s, n in zip(start, size, strict=True))]


def toy_plan(dimensions: Literal[2, 3] = 3, size: int = 16) -> Plan:
    """Patches of ``size`` voxels an axis at 1 mm; in 2D slices across z."""
    patch = (size,) * 3 if dimensions == 3 else (1, size, size)
    return Plan(dimensions, (Channel(),), (1.0, 1.0, 1.0), patch, 0)


def toy_backbone(dimensions: Literal[2, 3] = 3, norm: str = "instance", seed: int = 0) -> Backbone:
    """A U-Net of two down-samplings and 8, 16 and 32 channels, with weights that follow from ``seed``."""
    torch.manual_seed(seed)
    arguments = {"widths": [8, 16, 32], "strides": [[2] * dimensions] * 2, "norm": norm}
    return build(NetworkSpec("unet", dimensions, 1, arguments))


def write_tiny_dataset(folder: Path) -> None:
    """imagesTr, labelsTr (labels 1 to 3) and dataset.json in ``folder``: four volumes of 12 x 16 x 16 voxels."""
    write_dataset(folder, 4, 0, SyntheticSettings(size=(12, 16, 16), spacing=(20.0, 20.0, 22.0)))
