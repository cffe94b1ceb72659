"""The way of a volume over a GPU, in counts of a fake one: copies, waits, tiles a call, and too little room."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from fake_gpu import GPU, fake_gpu

from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.events import Event, Log
from contrastiveseg.segmentation import predictor as predicting
from contrastiveseg.segmentation import segment as segmenting
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.tile_memory import tiles_at_once
from contrastiveseg.volumes.reading import read_volume
from contrastiveseg.volumes.volume import Volume


@pytest.fixture
def opened(segmenter) -> Predictor:
    return Predictor.open(segmenter, torch.device("cpu"), None)


def on_gpu(opened: Predictor, most: int | None = None) -> tuple[Predictor, list[int]]:
    """The predictor on the fake GPU, which holds ``most`` tiles a call, and the numbers of tiles that were tried."""
    made, tried = Predictor(opened.card, opened.network, GPU, None), []

    def allocate(module, given) -> None:
        tried.append(len(given[0]))
        if most is not None and tried[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    made.network.register_forward_pre_hook(allocate)
    return made, tried


@pytest.fixture
def large(opened) -> Volume:
    """27 tiles or more."""
    shape = [3 * n for n in opened.card.plan.patch]
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Volume.from_array(noise, opened.card.plan.spacing)


def test_a_volume_is_copied_in_once_its_labels_out_once_and_no_tile_is_waited_for(opened, large, monkeypatch):
    expected = opened.predict(large)
    with fake_gpu(monkeypatch) as gpu:
        predictor, tried = on_gpu(opened)
        found = predictor.predict(large)
    assert sum(tried) >= 27
    # The volume and the weights of each of three axes go in, the labels come out, and in the end the means of features.
    assert gpu.counts == {"in": 1 + 3, "out": 1 + 1, "synchronized": 1}
    assert found.distance == pytest.approx(expected.distance, rel=1e-3)
    assert np.mean(found.labels.array == expected.labels.array) > 0.999


@pytest.mark.parametrize(("room", "tiles", "with_two_more"), [(0.5, 1, 1), (2, 1, 2), (7, 3, 4), (1000, 8, 8)])
def test_as_many_tiles_a_call_as_half_of_the_free_memory_holds(room, tiles, with_two_more, monkeypatch):
    needed = 48 * 64 * 64 * 16 * 4 * 10
    with fake_gpu(monkeypatch, int(room * needed)):
        assert tiles_at_once((48, 64, 64), 16, GPU, 3) == tiles
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2 * needed)
        assert tiles_at_once((48, 64, 64), 16, GPU, 3) == with_two_more


def test_without_room_calls_are_halved_down_to_one_tile(opened, large, monkeypatch):
    with fake_gpu(monkeypatch) as gpu:
        predictor, tried = on_gpu(opened, most=1)
        found = predictor.predict(large, tell=lambda text: pytest.fail(text))
    assert tried[:4] == [8, 4, 2, 1]
    assert set(tried[4:]) == {1}
    assert gpu.counts["emptied"] == 3
    np.testing.assert_array_equal(found.labels.array, opened.predict(large).labels.array)


def test_without_room_for_one_tile_the_cpu_computes_and_says_so(opened, large, monkeypatch):
    told: list[str] = []
    expected = opened.predict(large).labels.array
    with fake_gpu(monkeypatch):
        predictor, tried = on_gpu(opened, most=0)
        with pytest.raises(InputError, match="one tile"):
            predictor.predict(large)
        tried.clear()
        monkeypatch.setattr(predicting, "for_inference", lambda network, device: opened.network)
        found = predictor.predict(large, tell=told.append)
    assert tried == [8, 4, 2, 1]
    assert [("cuda:0" in text, "CPU computes instead" in text) for text in told] == [(True, True)]
    np.testing.assert_array_equal(found.labels.array, expected)


def test_a_segment_job_warns_of_the_cpu(opened, segmenter, image, tmp_path, monkeypatch):
    seen: list[Event] = []
    job = SegmentJob(checkpoint=str(segmenter), input=(str(image),), output=str(tmp_path / "out.nii.gz"))
    expected = opened.predict(read_volume(image)).labels.array
    with fake_gpu(monkeypatch):
        predictor, _ = on_gpu(opened, most=0)
        monkeypatch.setattr(segmenting, "_predictor", lambda *arguments: predictor)
        monkeypatch.setattr(predicting, "for_inference", lambda network, device: opened.network)
        segmenting.segment(dataclasses.replace(job, device="cpu"), seen.append)
    assert [e.level for e in seen if isinstance(e, Log) and "CPU computes instead" in e.text] == ["warning"]
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nii.gz").array[0], expected)
