"""The run report: what a job was given, did and made, whether it ended well or not."""

import dataclasses
import hashlib
import json
import re
import shutil
import typing
from pathlib import Path

import numpy as np
import pytest

import contrastiveseg
from contrastiveseg.checkpoints.header import digest
from contrastiveseg.cli import main
from contrastiveseg.descriptions import FinetuneJob, PretrainJob, SegmentJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Log, Stage, StageStarted
from contrastiveseg.jobs import reported_files
from contrastiveseg.jobs.report import RunReport
from contrastiveseg.jobs.run import run
from contrastiveseg.serialization import from_json

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "run-report.md"
COMMON = {"precision": "32", "threads": 1}


def read(path) -> RunReport:
    """Strictly: unknown or missing keys are refused."""
    return from_json(RunReport, json.loads(Path(path).read_text()))


def sha256(path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def hashes(files, role) -> list[str]:
    return sorted(one.sha256 for one in files if one.role == role)


@pytest.fixture
def job(segmenter, dataset, tmp_path):
    return SegmentJob(
        checkpoint=str(segmenter),
        input=(str(dataset / "imagesTr"),),
        output=str(tmp_path / "out"),
        uncertainty=str(tmp_path / "unsure"),
        report=str(tmp_path / "report.json"),
        **COMMON,
    )


def test_a_segmentation_reports_what_went_in_and_out(job, segmenter, dataset, tmp_path):
    run(job)
    report = read(job.report)
    assert (report.kind, report.status, report.error, report.device) == ("segment", "done", None, "cpu")
    assert report.model.sha256 == digest(segmenter)
    assert hashes(report.inputs, "input") == sorted(map(sha256, (dataset / "imagesTr").iterdir()))
    for role, folder in (("output", "out"), ("uncertainty", "unsure")):
        assert hashes(report.outputs, role) == sorted(map(sha256, (tmp_path / folder).iterdir()))
    assert {one.name for one in (*report.inputs, *report.outputs)} == {None}
    assert report.software["contrastiveseg"] == contrastiveseg.__version__
    assert re.match(r"\d+\.\d+", report.software["torch"])
    assert set(report.stages) == {"import", "load", "segment"}
    assert sum(report.stages.values()) <= report.seconds
    assert report.options["pieces"] == "auto"
    assert not {"input", "output", "checkpoint", "report", "timings"} & set(report.options)


def test_an_input_that_is_replaced_meanwhile_is_marked(job, dataset, tmp_path):
    scans = tmp_path / "scans"
    shutil.copytree(dataset / "imagesTr", scans)
    first, *others = sorted(scans.iterdir())
    before = sha256(first)

    def replaced(event):
        said.append(event)
        if event == StageStarted(Stage.SEGMENT):
            shutil.copy(others[0], first)

    said = []
    run(dataclasses.replace(job, input=(str(scans),), keep_names=True), replaced)
    marked = [(one.name, one.sha256) for one in read(job.report).inputs if one.changed]
    assert marked == [(first.name, before)]
    assert [e.text for e in said if isinstance(e, Log) and "1 of the inputs changed" in e.text]


def test_names_are_in_it_where_they_are_kept(job, dataset):
    run(dataclasses.replace(job, keep_names=True))
    report = read(job.report)
    names = sorted(path.name for path in (dataset / "imagesTr").iterdir())
    assert sorted(one.name for one in report.inputs if one.role == "input") == names
    assert sorted(one.name for one in report.outputs if one.role == "output") == names
    assert str(dataset) not in Path(job.report).read_text()


def test_a_batch_of_which_a_part_failed_and_one_that_goes_on(job, dataset, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "broken.nii.gz").write_bytes(b"no volume")
    (bad / "gone.nii.gz").symlink_to("nowhere")
    job = dataclasses.replace(job, input=(*job.input, str(bad)), uncertainty=None)
    run(job)
    report = read(job.report)
    assert report.status == "partly failed"
    assert len(hashes(report.outputs, "output")) == 4
    broken = sha256(bad / "broken.nii.gz")
    # What cannot be read does not hide the others, and is named as such.
    assert {broken, None, *map(sha256, (dataset / "imagesTr").iterdir())} == {
        one.sha256 for one in report.inputs if one.role == "input"
    }
    assert [(one.sha256, one.name, one.what) for one in report.failures] == [(broken, None, None), (None, None, None)]
    run(dataclasses.replace(job, keep_names=True, overwrite=True))
    assert [one.name for one in read(job.report).failures] == ["broken.nii.gz", "gone.nii.gz"]
    assert "is a link to nowhere" in read(job.report).failures[1].what
    assert str(tmp_path) not in Path(job.report).read_text()
    with pytest.raises(InputError, match=r"report\.json exists already"):
        run(job)
    job = dataclasses.replace(job, input=job.input[:1])
    run(dataclasses.replace(job, continue_=True))
    assert read(job.report).outputs == report.outputs
    Path(job.report).write_text('{"mine": 1}')
    with pytest.raises(InputError, match=r"report\.json exists already"):
        run(dataclasses.replace(job, continue_=True))


def test_a_cancelled_and_a_failed_run_report_how_far_they_came(job, dataset, tmp_path):
    done = tmp_path / "out" / "synthetic_00000.nii.gz"
    with pytest.raises(Cancelled):
        run(dataclasses.replace(job, uncertainty=None), cancelled=done.exists)
    report = read(job.report)
    assert (report.status, report.error.kind, report.error.exit_code) == ("cancelled", "Cancelled", 130)
    # The second volume may be computed before the first one is written.
    written = list((tmp_path / "out").iterdir())
    assert done in written
    assert len(written) <= 2
    assert hashes(report.outputs, "output") == sorted(map(sha256, written))
    missing = {"input": (str(tmp_path / "none.nii.gz"),), "overwrite": True}
    for keep, text in ((False, None), (True, f"{tmp_path.name}/none.nii.gz does not exist.")):
        with pytest.raises(InputError, match="does not exist"):
            run(dataclasses.replace(job, **missing, keep_names=keep))
        report = read(job.report)
        assert (report.status, report.error.kind, report.inputs) == ("failed", "InputError", ())
        assert text is None or report.error.what == "none.nii.gz does not exist."
        assert text is not None or report.error.what is None
    # Who has corrected the command need not clear away what the failure left.
    with pytest.raises(InputError, match=r"none\.nii\.gz does not exist"):
        run(dataclasses.replace(job, input=missing["input"]))
    with pytest.raises(ZeroDivisionError):
        run(dataclasses.replace(job, overwrite=True), lambda event: 1 / 0)
    assert (read(job.report).status, read(job.report).error.exit_code) == ("failed", 1)


def test_a_cancelled_run_reads_no_further_inputs_for_its_report(job, monkeypatch):
    asked, read_ = [], []
    monkeypatch.setattr(reported_files, "content_digest", lambda paths: read_.append(paths) or "0" * 64)

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 2

    with pytest.raises(Cancelled):
        run(job, cancelled=cancelled)
    assert len(read_) == 2
    assert (read(job.report).status, read(job.report).inputs) == ("cancelled", ())


def test_a_training_reports_its_data_seed_and_checkpoint(dataset, pretrained, tmp_path):
    job = FinetuneJob(
        checkpoint=str(pretrained),
        images=(str(dataset),),
        output=str(tmp_path / "organs.safetensors"),
        steps=1,
        seed=7,
        validation="synthetic_00001",
        report=str(tmp_path / "report.json"),
        **COMMON,
    )
    run(job)
    report = read(job.report)
    assert (report.status, report.seed, report.model.kind) == ("done", 7, "pretrained")
    for role, folder in (("images", "imagesTr"), ("labels", "labelsTr")):
        assert hashes(report.inputs, role) == sorted(map(sha256, (dataset / folder).iterdir()))
    assert hashes(report.inputs, "checkpoint") == [digest(pretrained)]
    assert hashes(report.outputs, "output") == [digest(Path(job.output))]
    assert hashes(report.outputs, "metrics.jsonl") == [sha256(f"{job.output}.metrics.jsonl")]
    assert len(report.outputs) == 2
    assert "validation" not in report.options
    assert "synthetic_00001" not in Path(job.report).read_text()


def test_pre_training_and_evaluation_report_too(dataset, tmp_path):
    pretrain = PretrainJob(
        images=(str(dataset / "imagesTr"),),
        output=str(tmp_path / "a.safetensors"),
        method="macl",
        steps=1,
        report=str(tmp_path / "a.json"),
        **COMMON,
    )
    run(pretrain)
    assert (read(pretrain.report).model, len(hashes(read(pretrain.report).inputs, "images"))) == (None, 4)
    labels, scores = str(dataset / "labelsTr"), str(tmp_path / "scores.json")
    words = ["evaluate", "--predictions", labels, "--references", labels, "--output", scores]
    assert main([*words, "--report", str(tmp_path / "b.json")]) == 0
    report = read(tmp_path / "b.json")
    assert hashes(report.inputs, "predictions") == hashes(report.inputs, "references")
    assert hashes(report.outputs, "output") == [sha256(scores)]


def test_a_report_replaces_nothing_and_names_no_other_output(job, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for report, says in (("mine.txt", "exists already"), ("out", "read and to be written")):
        with pytest.raises(InputError, match=says):
            run(dataclasses.replace(job, report=str(tmp_path / report)))
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt"}


def test_only_the_first_process_reports(job, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run(job)
    assert not Path(job.report).exists()


def test_every_field_is_documented():
    text = PAGE.read_text(encoding="utf-8")

    def check(cls):
        for name, hint in typing.get_type_hints(cls).items():
            assert f"`{name}`" in text
            for part in (hint, *typing.get_args(hint)):
                if dataclasses.is_dataclass(part):
                    check(part)

    check(RunReport)
    assert np.all([f"`{status}`" in text for status in ("done", "partly failed", "failed", "cancelled")])
