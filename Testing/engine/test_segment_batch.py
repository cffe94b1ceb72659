"""Batches: the next volume is read meanwhile, every file once; several processes share one by parts."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.events import Event, Log, Stage, StageStarted
from contrastiveseg.segmentation import batch as segmenting
from contrastiveseg.segmentation.segment import segment


@pytest.fixture
def batch(segmenter, image, tmp_path) -> SegmentJob:
    """Three volumes."""
    images = [Path(shutil.copy(image, tmp_path / f"case{n}.nii.gz")) for n in range(3)]
    more = {"threads": 1, "precision": "32"}
    return SegmentJob(checkpoint=str(segmenter), input=tuple(map(str, images)), output=str(tmp_path / "out"), **more)


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_every_file_is_read_once(batch, monkeypatch):
    read: Counter[str] = Counter()
    original = segmenting.read_channels

    def counting(paths, channels):
        read.update(path.name for path in paths)
        return original(paths, channels)

    monkeypatch.setattr(segmenting, "read_channels", counting)
    result = segment(batch)
    assert read == {f"case{n}.nii.gz": 1 for n in range(3)}
    assert [Path(path).name for path in result.written] == [f"case{n}.nii.gz" for n in range(3)]


def test_a_volume_that_cannot_be_read_fails_in_its_turn(batch):
    Path(batch.input[1]).write_bytes(b"not a volume")
    result = segment(batch)
    assert [Path(path).name for path in result.written] == ["case0.nii.gz", "case2.nii.gz"]
    assert [failure.input for failure in result.failures] == [batch.input[1]]


def test_a_label_map_among_the_images_is_said(batch, dataset):
    label_map = Path(shutil.copy(dataset / "labelsTr" / "synthetic_00000.nii.gz", Path(batch.input[0]).parent))
    label_map = label_map.rename(label_map.with_name("case0_autolabel.nii.gz"))
    told: list[Event] = []
    segment(replace(batch, input=(batch.input[0], str(label_map))), told.append)
    doubted = [event.text for event in told if isinstance(event, Log) and "looks like a label map" in event.text]
    assert [text.partition(":")[0] for text in doubted] == ["case0_autolabel"]


def test_results_among_the_patients_are_no_patients(batch):
    """The output may lie in the folder that is segmented, and the batch goes on all the same."""
    patients = Path(batch.output).parent / "patients"
    for n in range(3):
        (patients / f"p{n}").mkdir(parents=True)
        shutil.move(batch.input[n], patients / f"p{n}/scan.nii.gz")
    for output in (patients / "results", patients / "old/run1"):
        job = replace(batch, input=(str(patients),), output=str(output))
        written = segment(job).written
        assert [Path(path).name for path in written] == ["p0.nii.gz", "p1.nii.gz", "p2.nii.gz"]
        Path(written[1]).unlink()
        assert [Path(path).name for path in segment(replace(job, continue_=True)).written] == ["p1.nii.gz"]


@pytest.mark.parametrize("going_on", [False, True])
def test_what_another_run_has_written_meanwhile_is_not_replaced(batch, going_on):
    """Two runs of different checkpoints into one folder would leave a mixture of both."""

    def other_run(event: Event) -> None:
        if isinstance(event, StageStarted) and event.name == Stage.SEGMENT:
            Path(batch.output).mkdir()
            Path(batch.output, "case1.nii.gz").write_text("of another run")

    result = segment(replace(batch, continue_=going_on), other_run)
    assert [Path(failure.input).name for failure in result.failures] == ["case1.nii.gz"]
    assert "exists already" in result.failures[0].what
    assert Path(batch.output, "case1.nii.gz").read_text() == "of another run"
    assert [Path(path).name for path in result.written] == ["case0.nii.gz", "case2.nii.gz"]


def test_parts_make_the_whole_and_share_nothing(batch):
    first = segment(replace(batch, shard="1/2"))
    assert names(batch.output) == ["case0.nii.gz", "case2.nii.gz"]
    second = segment(replace(batch, shard="2/2"))
    assert names(batch.output) == ["case0.nii.gz", "case1.nii.gz", "case2.nii.gz"]
    assert set(first.written).isdisjoint(second.written)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "1/0", "a/b"])
def test_a_part_that_there_is_not_is_refused(batch, shard):
    with pytest.raises(InputError, match="Write 1/2"):
        segment(replace(batch, shard=shard))


def test_more_parts_than_volumes_are_refused(batch):
    with pytest.raises(InputError, match="only 3 volumes"):
        segment(replace(batch, shard="4/4"))
