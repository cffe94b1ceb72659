"""What segmenting refuses, and what of a batch goes on without it."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from test_segment import grid, job

from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Event, Log, Progress
from contrastiveseg.segmentation.segment import segment
from contrastiveseg.volumes import reading, writing


def test_a_file_of_a_batch_that_may_not_be_read_is_named(monkeypatch, sharp, dataset, tmp_path):
    read = reading.read_nifti

    def refuse(path, channels):
        if path.name == "synthetic_00001.nii.gz":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path, channels)

    monkeypatch.setattr(reading, "read_nifti", refuse)
    result = segment(job(sharp, dataset / "imagesTr", tmp_path / "out"))
    assert len(result.written) == 3
    (failure,) = result.failures
    assert failure.what.endswith(
        "synthetic_00001.nii.gz cannot be read: Permission denied. Check its rights and its disk."
    )


def test_one_bad_file_of_a_batch_is_named_and_the_rest_is_written(sharp, dataset, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(dataset / "imagesTr", folder)
    (folder / "synthetic_00001.nii.gz").write_bytes((folder / "synthetic_00000.nii.gz").read_bytes()[:200])
    seen: list[Event] = []
    result = segment(job(sharp, folder, tmp_path / "out"), seen.append)
    assert [Path(p).name for p in result.written] == [f"synthetic_0000{i}.nii.gz" for i in (0, 2, 3)]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {Path(p).name for p in result.written}
    (failure,) = result.failures
    assert failure.input.endswith("synthetic_00001.nii.gz")
    assert "cut short" in failure.what
    assert any(isinstance(e, Log) and e.level == "warning" and "synthetic_00001" in e.text for e in seen)
    assert [e.done for e in seen if isinstance(e, Progress)][-1] == 4


@pytest.mark.parametrize("fails", ["probabilities", "uncertainty", "labels"])
def test_a_case_that_cannot_be_written_whole_leaves_nothing(monkeypatch, sharp, dataset, tmp_path, fails):
    def refuse(write):
        def written(path, *more):
            if path.parent.name == fails and path.name == "synthetic_00001.nii.gz":
                raise InputError("No space left.")
            write(path, *more)

        return written

    for name in ("write_labels", "write_maps"):
        monkeypatch.setattr(f"contrastiveseg.segmentation.batch.{name}", refuse(getattr(writing, name)))
    maps = {name: str(tmp_path / name) for name in ("probabilities", "uncertainty")}
    result = segment(job(sharp, dataset / "imagesTr", tmp_path / "labels", **maps))
    assert [failure.what for failure in result.failures] == ["No space left."]
    whole = {Path(path).name for path in result.written}
    assert len(whole) == 3
    for folder in ("labels", *maps):
        assert {path.name for path in (tmp_path / folder).iterdir()} == whole


def test_nothing_could_be_segmented(sharp, image, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"None of the 2 volumes could be segmented\. .*a\.nii\.gz is empty"):
        segment(job(sharp, [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"], tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_outputs_are_not_overwritten_unasked(sharp, image, tmp_path):
    output = tmp_path / "l.nii.gz"
    output.write_text("mine")
    with pytest.raises(InputError, match=r"exists already.*--overwrite"):
        segment(job(sharp, image, output))
    assert output.read_text() == "mine"
    segment(job(sharp, image, output, overwrite=True))
    assert grid(output) == grid(image)


def test_label_maps_of_a_list_are_never_overwritten(sharp, image, tmp_path):
    shutil.copy(image, tmp_path / "scan.nii.gz")
    shutil.copy(image, tmp_path / "p1.nii.gz")
    (tmp_path / "list.json").write_text(json.dumps([{"name": "p1", "image": "scan.nii.gz", "label": "p1.nii.gz"}]))
    with pytest.raises(InputError, match=r"p1\.nii\.gz is to be read and to be written"):
        segment(job(sharp, tmp_path / "list.json", f"{tmp_path}/", overwrite=True))


def test_an_input_is_never_overwritten(sharp, image, tmp_path):
    mine = tmp_path / "case.nii.gz"
    shutil.copy(image, mine)
    for output in (mine, tmp_path):
        with pytest.raises(InputError, match="to be read and to be written"):
            segment(job(sharp, mine, output, overwrite=True))
    with pytest.raises(InputError, match="to be written twice"):
        segment(job(sharp, mine, tmp_path / "out", probabilities=str(tmp_path / "out")))
    assert mine.read_bytes() == image.read_bytes()


def test_several_inputs_do_not_go_into_one_file(sharp, dataset, tmp_path):
    with pytest.raises(InputError, match="4 inputs cannot go into one file"):
        segment(job(sharp, dataset / "imagesTr", tmp_path / "l.nii.gz"))


@pytest.mark.parametrize("option", ["output", "probabilities", "uncertainty"])
def test_a_file_that_is_no_volume_is_not_taken_for_a_folder(sharp, image, tmp_path, option):
    def begin(path: str) -> None:
        segment(job(sharp, image, **({"output": tmp_path / "all"} | {option: path})))

    with pytest.raises(InputError, match=rf"--{option} .*x\.txt is no volume file that can be written"):
        begin(str(tmp_path / "x.txt"))
    with pytest.raises(InputError, match=r"must be one of \.nii\.gz, \.nii, \.nrrd, \.mha"):
        begin(str(tmp_path / "x.mhd"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "there.txt").mkdir()
    for folder in ("there.txt", "new.txt/", "results.2026", "v1.2-beta"):
        shutil.rmtree(tmp_path / "all", ignore_errors=True)
        begin(f"{tmp_path}/{folder}")
        assert [p.name for p in (tmp_path / folder).iterdir()] == [image.name]


def test_cancelling_keeps_what_is_written(sharp, dataset, tmp_path):
    with pytest.raises(Cancelled) as stop:
        segment(
            job(sharp, dataset / "imagesTr", tmp_path / "out"),
            cancelled=lambda: (tmp_path / "out").exists() and len(list((tmp_path / "out").iterdir())) >= 2,
        )
    # The third volume may be computed before the second one is begun to be written.
    written = len(list((tmp_path / "out").iterdir()))
    assert written in (2, 3)
    assert f"Stopped after {written} of 4 volumes" in str(stop.value)


def test_checkpoints_that_cannot_segment(pretrained, sharp, image, tmp_path):
    out = tmp_path / "l.nii.gz"
    with pytest.raises(InputError, match=r"only pre-trained \(macl\).*Fine-tune it first"):
        segment(job(pretrained, image, out))
    copied = tmp_path / "copy.safetensors"
    shutil.copy(sharp, copied)
    segment(job(copied, image, out))
    copied.unlink()
    with pytest.raises(InputError, match="There is no checkpoint at"):
        segment(job(copied, image, out, overwrite=True))
    card, weights = load(sharp)
    save(copied, weights, replace(card, labels=card.labels[:1]))
    with pytest.raises(InputError, match="do not fit the network its card names"):
        segment(job(copied, image, out, overwrite=True))
