"""The last result is written while the next one is computed: in order, and failures where they belong."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.segmentation import batch as segmenting
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.segment import segment
from contrastiveseg.segmentation.write_behind import WriteBehind


@pytest.fixture
def batch(segmenter, image, tmp_path) -> SegmentJob:
    """Three volumes."""
    images = []
    for n in range(3):
        images.append(tmp_path / f"case{n}.nii.gz")
        images[-1].write_bytes(Path(image).read_bytes())
    more = {"threads": 1, "precision": "32"}
    return SegmentJob(checkpoint=str(segmenter), input=tuple(map(str, images)), output=str(tmp_path / "out"), **more)


def names(paths) -> list[str]:
    return [Path(path).name for path in paths]


def test_writing_goes_on_while_the_caller_does_and_is_told_of_in_order():
    may_end, told = threading.Event(), []

    def write(item: int) -> None:
        assert may_end.wait(30)
        if item == 2:
            raise InputError("full")

    with WriteBehind(write, lambda item, problem: told.append((item, str(problem)))) as writing:
        writing.put(1)
        assert told == []  # put returns although nothing can be written yet
        may_end.set()
        writing.put(2)
        assert told == [(1, "None")]
        writing.finish()
        writing.finish()
    assert told == [(1, "None"), (2, "full")]


def test_the_next_volume_is_computed_before_the_last_one_is_written(batch, monkeypatch):
    second, original, predict = threading.Event(), segmenting.write_labels, Predictor.predict
    begun: list[str] = []

    def predicting(self, volume, **more):
        begun.append(volume.name)
        if len(begun) == 2:
            second.set()
        return predict(self, volume, **more)

    def waiting(*arguments):
        assert second.wait(30)
        original(*arguments)

    monkeypatch.setattr(Predictor, "predict", predicting)
    monkeypatch.setattr(segmenting, "write_labels", waiting)
    assert names(segment(batch).written) == ["case0.nii.gz", "case1.nii.gz", "case2.nii.gz"]


def test_the_same_bytes_as_one_by_one(batch, tmp_path):
    segment(batch)
    for given in batch.input:
        segment(replace(batch, input=(given,), output=str(tmp_path / "alone") + "/"))
        name = Path(given).name
        assert (tmp_path / "alone" / name).read_bytes() == (Path(batch.output) / name).read_bytes()


def failing(monkeypatch, name: str, problem: Exception) -> None:
    """Writing ``name`` fails."""
    original = segmenting.write_labels

    def write(path, *more):
        if path.name == name:
            raise problem
        original(path, *more)

    monkeypatch.setattr(segmenting, "write_labels", write)


def test_what_cannot_be_written_fails_in_its_turn_and_the_rest_is_written(batch, monkeypatch):
    failing(monkeypatch, "case0.nii.gz", InputError("The disk is full."))
    Path(batch.input[1]).write_bytes(b"not a volume")
    result = segment(batch)
    assert names(failure.input for failure in result.failures) == ["case0.nii.gz", "case1.nii.gz"]
    assert result.failures[0].what == "The disk is full."
    assert names(result.written) == ["case2.nii.gz"]


def test_an_error_of_ours_while_writing_ends_the_batch(batch, monkeypatch):
    failing(monkeypatch, "case0.nii.gz", KeyError("a bug"))
    with pytest.raises(KeyError, match="a bug"):
        segment(batch)


def test_a_cancelled_batch_counts_what_was_being_written(batch, monkeypatch):
    computed = []
    predict = Predictor.predict

    def counting(self, *arguments, **more):
        found = predict(self, *arguments, **more)
        computed.append(found)
        return found

    monkeypatch.setattr(Predictor, "predict", counting)
    with pytest.raises(Cancelled, match="after 1 of 3 volumes"):
        segment(batch, cancelled=lambda: len(computed) == 1)
    assert names(Path(batch.output).iterdir()) == ["case0.nii.gz"]
