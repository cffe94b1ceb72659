"""How a training begins or goes on: by its resume file, by what a killed one has left, or not at all."""

import json
import shutil
from dataclasses import replace

import pytest

from contrastiveseg.checkpoints.format import load
from contrastiveseg.claims import claimed, lock_path
from contrastiveseg.descriptions import FinetuneJob, PretrainJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Event, Metric, never, silent
from contrastiveseg.training.beside import metrics_path, resume_path
from contrastiveseg.training.finetune import finetune
from contrastiveseg.training.setup import cache_folder, open_run


@pytest.fixture
def job(tmp_path):
    return PretrainJob(images=("scans",), output=str(tmp_path / "out.safetensors"), steps=1, threads=1)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.safetensors"


def begun(job):
    with open_run(job, silent, never) as run:
        return run.resume, run.begin_anew, run.replace_curve


@pytest.mark.parametrize(
    ("resume", "there", "opened"),
    [
        (False, [], (False, False, False)),
        ("auto", [], (False, True, False)),
        ("auto", ["resume"], (True, True, False)),
        ("auto", ["lock"], (False, True, True)),
        (True, ["resume"], (True, False, False)),
        (True, ["lock"], (False, False, True)),
        (True, ["lock", "resume", "output"], (True, False, True)),
    ],
)
def test_what_there_is_decides_whether_a_run_begins(job, output, resume, there, opened):
    files = {"resume": resume_path(output), "lock": lock_path(output), "output": output}
    for name in there:
        files[name].write_text("1\n")
    assert begun(replace(job, resume=resume)) == opened
    assert [path for path in output.parent.iterdir() if path != output] == []


@pytest.mark.parametrize(
    ("resume", "there", "words"),
    [
        (True, [], "nothing to resume"),
        (False, ["resume"], "holds an interrupted run"),
        (False, ["output"], "exists already"),
        ("auto", ["output"], "exists already"),
        (True, ["lock", "output"], "exists already"),
    ],
)
def test_what_may_not_be_begun_is_refused(job, output, resume, there, words):
    files = {"resume": resume_path(output), "lock": lock_path(output), "output": output}
    for name in there:
        files[name].write_text("1\n")
    with pytest.raises(InputError, match=words):
        begun(replace(job, resume=resume))


def test_a_second_run_on_one_output_is_refused(job, output):
    resume_path(output).touch()
    with claimed(output), pytest.raises(InputError, match="Another process is running that writes"):
        begun(job)


def test_what_a_killed_run_left_half_written_goes(job, output):
    for name in (output.name, f"{output.name}.resume", f"{output.name}.metrics.jsonl"):
        ending = name[name.rindex(".") :]
        (output.parent / f".{name[:40]}-abcd_123{ending}").touch()
    begun(job)
    assert not list(output.parent.iterdir())


def test_a_folder_of_the_users_that_is_named_like_the_cache_stays(job, output):
    theirs = output.with_name(f"{output.name}.cache") / "thesis.txt"
    theirs.parent.mkdir()
    theirs.write_text("three years")
    with cache_folder(job) as folder:
        (folder / f"{'0' * 32}.npy").touch()
    assert [p.name for p in theirs.parent.iterdir()] == ["thesis.txt"]


def test_one_command_line_begins_goes_on_and_ends_as_an_uninterrupted_run(dataset, tmp_path):
    seen: list[Event] = []
    line = FinetuneJob(
        checkpoint="none",
        images=(str(dataset),),
        output=str(tmp_path / "out.safetensors"),
        steps=4,
        precision="32",
        threads=1,
        resume="auto",
    )
    with pytest.raises(Cancelled, match=r"Stopped after 2 steps\..*holds the .* weights so far; --resume goes on"):
        finetune(line, seen.append, lambda: sum(isinstance(e, Metric) and e.name == "loss" for e in seen) >= 2)
    assert load(tmp_path / "out.safetensors")[0].provenance.steps == 2
    finetune(line)
    finetune(replace(line, output=str(tmp_path / "whole.safetensors")))
    (_, resumed), (_, whole) = (load(tmp_path / f"{name}.safetensors") for name in ("out", "whole"))
    assert resumed.keys() == whole.keys()
    assert all(resumed[name].equal(whole[name]) for name in whole)
    outputs = [tmp_path / f"{name}.safetensors" for name in ("out", "whole")]
    assert sorted(tmp_path.iterdir()) == sorted([*outputs, *map(metrics_path, outputs)])


def test_a_run_does_not_go_on_with_other_cases(dataset, tmp_path):
    """With one less, others are held out: the first half of the run may have learned from them."""
    listing = shutil.copytree(dataset, tmp_path / "data") / "dataset.json"
    line = FinetuneJob(
        checkpoint="none",
        images=(str(listing),),
        output=str(tmp_path / "out.safetensors"),
        steps=2,
        precision="32",
        threads=1,
        validation="1",
    )
    seen: list[Event] = []
    with pytest.raises(Cancelled):
        finetune(line, seen.append, lambda: any(isinstance(e, Metric) and e.name == "loss" for e in seen))
    described = json.loads(listing.read_text())
    listing.write_text(json.dumps({**described, "training": described["training"][1:]}))
    with pytest.raises(InputError, match="label maps were added or changed since"):
        finetune(replace(line, resume=True))
