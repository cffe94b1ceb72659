"""What segmenting may cost, in counts that do not depend on the machine: tiles, voxels, passes, memory, files."""

from __future__ import annotations

import builtins
import dataclasses
from collections import Counter
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch

from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.segmentation import predictor as predicting
from contrastiveseg.segmentation import tiled_logits
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.segment import segment
from contrastiveseg.segmentation.tiles import fit_tiles
from contrastiveseg.volumes.reading import read_volume

#: Volume, divisor and patch of plans as they are made, and the most network voxels for one of the volume.
VOLUMES = [
    ((100, 256, 256), (8, 8, 8), (56, 64, 64), 1.75),
    ((100, 256, 256), (8, 8, 8), (48, 64, 64), 2.25),
    ((300, 512, 512), (8, 8, 8), (48, 64, 64), 2.0),
    ((20, 512, 512), (4, 8, 8), (20, 96, 96), 1.73),
]


@pytest.mark.parametrize(("shape", "divisor", "patch", "most"), VOLUMES)
def test_the_network_computes_no_more_voxels_than_it_did(shape, divisor, patch, most) -> None:
    tiling = fit_tiles(shape, divisor, patch)
    assert tiling.count * prod(tiling.tile) / prod(shape) <= most + 0.005


@pytest.fixture
def predictor(segmenter) -> Predictor:
    return Predictor.open(segmenter, torch.device("cpu"), None)


def test_each_tile_goes_through_the_network_once(predictor, monkeypatch) -> None:
    seen: list[tuple[int, ...]] = []
    predictor.network.register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape)))
    patch = predictor.card.plan.patch
    image = torch.randn(1, *(n + n // 2 for n in patch))
    tiling = fit_tiles(image.shape[1:], predictor.network.backbone.total_stride, patch)
    assert tiling.count == 8
    predictor.logits(image)
    assert seen == [(1, 1, *patch)] * tiling.count


def test_who_notes_every_tile_sees_every_tile(predictor) -> None:
    seen: list[int] = []
    predictor.network.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    flat = torch.ones(1, *(n + n // 2 for n in predictor.card.plan.patch))
    predictor.logits(flat)
    assert sum(seen) == 1
    predictor.logits(flat, every_tile=True)
    assert sum(seen) == 1 + 8


def test_preparing_segmenting_and_restoring_are_done_once(predictor, image, monkeypatch) -> None:
    calls: Counter[str] = Counter()

    def counted(owner, name):
        original = getattr(owner, name)

        def call(*arguments, **more):
            calls[name] += 1
            return original(*arguments, **more)

        monkeypatch.setattr(owner, name, call)

    for owner, name in ((predictor, "prepare"), (tiled_logits, "sliding_window"), (predicting, "restore")):
        counted(owner, name)
    predictor.predict(read_volume(image))
    assert calls == {"prepare": 1, "sliding_window": 1, "restore": 1}


def test_blending_takes_the_memory_of_the_logits_once(predictor, monkeypatch) -> None:
    sizes: list[int] = []
    zeros = torch.zeros

    def allocating(size, *more, **how):
        sizes.append(prod(size) if isinstance(size, tuple) else size)
        return zeros(size, *more, **how)

    monkeypatch.setattr(torch, "zeros", allocating)
    image = torch.randn(1, *(2 * n for n in predictor.card.plan.patch))
    logits = predictor.logits(image)
    assert sorted(sizes)[-1] == logits.numel()
    assert sum(size >= logits.numel() // 8 for size in sizes) == 1


def test_the_given_volume_is_not_changed(predictor, image) -> None:
    volume = read_volume(image)
    array = np.array(volume.array)
    frozen = volume.array.view()
    frozen.flags.writeable = False
    predictor.predict(dataclasses.replace(volume, array=frozen))
    assert np.array_equal(volume.array, array)


def test_files_are_opened_as_often_as_their_parts_need(segmenter, image, tmp_path, monkeypatch) -> None:
    opened: Counter[str] = Counter()
    original = builtins.open

    def opening(file, mode="r", *more, **how):
        if "r" in mode and isinstance(file, (str, Path)):
            opened[Path(file).name] += 1
        return original(file, mode, *more, **how)

    monkeypatch.setattr(builtins, "open", opening)
    job = SegmentJob(checkpoint=str(segmenter), input=(str(image),), output=str(tmp_path / "out.nii.gz"), threads=1)
    segment(dataclasses.replace(job, precision="32"))
    first = Counter(opened)
    segment(dataclasses.replace(job, precision="32", overwrite=True))
    again = opened - first
    assert first[Path(image).name] <= 3, "its voxels, its digest and its header"
    assert first[Path(segmenter).name] <= 2, "its tensors and its digest"
    assert again[Path(segmenter).name] == 0, "a network that is loaded is known by when its file was written"
