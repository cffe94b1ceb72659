"""Jobs that Slurm does: the script, following it to its end, and what is said where it ends otherwise."""

import json
import os
import re
from dataclasses import replace

import pytest
from fake_slurm import FakeSlurm

from contrastiveseg.arguments import parser
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.cli import main
from contrastiveseg.command_line import command_line
from contrastiveseg.descriptions import EvaluateJob, FinetuneJob, PretrainJob, SegmentJob
from contrastiveseg.errors import Cancelled, ContrastiveSegError, InputError
from contrastiveseg.events import Error, Log, Result, Stage, StageStarted, to_json
from contrastiveseg.parameters import ParameterError
from contrastiveseg.remote import slurm as slurm_module
from contrastiveseg.remote import submitted
from contrastiveseg.remote.slurm import Slurm, state, submit
from contrastiveseg.remote.submitted import submit_and_follow
from contrastiveseg.serialization import from_json


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    there = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{there.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm_module, "_ASK", 0.0)
    monkeypatch.setattr(submitted, "_SETTLE", 0.0)
    return there


@pytest.fixture
def job(segmenter, dataset, tmp_path):
    return SegmentJob(checkpoint=str(segmenter), input=(str(dataset / "imagesTr"),), output=str(tmp_path / "maps"))


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A function that has jobs print these events, and other lines, in place of doing anything."""
    script, said = tmp_path / "program", tmp_path / "said"
    script.write_text(f'#!/bin/sh\necho "called with $*"\ncat "{said}"\n')
    script.chmod(0o755)
    monkeypatch.setattr(submitted, "command", lambda words, processes: [str(script), f"{processes}x", *words])

    def says(*lines):
        texts = [line if isinstance(line, str) else json.dumps(to_json(line)) for line in lines]
        said.write_text("".join(f"{text}\n" for text in texts))

    return says


DONE = Result({"written": ["a.nii.gz"], "failures": [], "left_out": {}, "seconds": {}, "peak_memory": 0})


def follow(job, slurm=None, cancelled=lambda said: False):
    """The result of the job, or what it raised; and what was said, of which ``cancelled`` is asked."""
    said: list = []
    try:
        result = submit_and_follow(slurm or Slurm(), job, said.append, lambda: cancelled(said))
    except ContrastiveSegError as problem:
        result = problem
    return result, said


def told(said):
    return [event.text for event in said if isinstance(event, Log)]


def test_a_training_is_submitted_and_followed_to_its_end(cluster, dataset, tmp_path, capsys):
    output = tmp_path / "organs.safetensors"
    words = ["finetune", "--checkpoint", "none", "--images", str(dataset), "--output", str(output), "--steps", "2"]
    words += ["--threads", "1", "--precision", "32", "--json", "--submit", "--gpus", "0", "--partition", "short"]
    assert main(words) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["event"] for event in said} >= {"stage", "progress", "metric", "log", "result"}
    assert said[-1]["value"]["checkpoint"] == str(output)
    assert read_card(output).kind == "segmenter"
    assert sorted(path.name for path in (tmp_path / "organs.safetensors.slurm").iterdir()) == ["job.sh", "log.txt"]
    assert cluster.calls("sbatch") == [f"--parsable {output}.slurm/job.sh"]
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().out
    assert len(cluster.calls("sbatch")) == 1


def test_the_script_says_what_was_asked_for(tmp_path):
    asked = Slurm(
        partition="gpu", time="1-12:00:00", gpus=2, account="lab", sbatch=("mem=32G", "--qos=long"), setup=("ml cuda",)
    )
    lines = asked.script("name", tmp_path / "a folder", tmp_path / "50%.txt", ["exec job"]).splitlines()
    assert lines[0] == "#!/bin/bash"
    assert lines[-2:] == ["ml cuda", "exec job"]
    assert [line.removeprefix("#SBATCH ") for line in lines[1:-2]] == [
        "--job-name=name",
        f"--output={tmp_path}/50%%.txt",
        "--open-mode=append",
        f"--chdir='{tmp_path}/a folder'",
        "--signal=B:INT@60",
        "--partition=gpu",
        "--time=1-12:00:00",
        "--account=lab",
        "--gpus=2",
        "--requeue",
        "--mem=32G",
        "--qos=long",
    ]
    with pytest.raises(InputError, match="line break"):
        asked.script("name", tmp_path / "a\nb", tmp_path / "log", [])


@pytest.mark.parametrize(
    "options",
    [
        {"time": "soon"},
        {"partition": "a\nb"},
        {"account": "a b"},
        {"gpus": -1},
        {"sbatch": ("mem 32G",)},
        {"sbatch": ("output=x",)},
        {"sbatch": ("mem=1\n#SBATCH --output=x",)},
        {"setup": ("a\nb",)},
    ],
)
def test_options_that_no_script_can_have_are_refused(options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        Slurm(**options)


def test_ctrl_c_ends_the_following_and_the_same_command_follows_again(cluster, program, job):
    (cluster.folder / "hold").touch()
    program(StageStarted(Stage.SEGMENT), "a line of a library", DONE)
    stopped, said = follow(job, cancelled=lambda said: "Slurm: job 4711 is pending (Resources)." in told(said))
    assert isinstance(stopped, Cancelled)
    assert "scancel 4711 stops it" in str(stopped)
    other, _ = follow(replace(job, mirror=True))
    assert "Job 4711 of Slurm, which has other options" in str(other)
    cluster.begin()
    result, said = follow(job)
    assert result.written == ("a.nii.gz",)
    assert [event.name for event in said if isinstance(event, StageStarted)] == [Stage.SEGMENT]
    assert "a line of a library" in told(said)
    assert "Job 4711 of Slurm is this one: it is followed." in told(said)
    assert len(cluster.calls("sbatch")) == 1
    follow(job, cancelled=lambda said: True)
    assert len(cluster.calls("sbatch")) == 2


@pytest.mark.parametrize(("kind", "again"), [("segment", "--continue"), ("pretrain", "--resume auto")])
def test_a_job_that_is_put_into_the_queue_again_goes_on(cluster, program, job, dataset, kind, again, tmp_path):
    if kind == "pretrain":
        job = PretrainJob(images=(str(dataset / "imagesTr"),), output=str(tmp_path / "a.safetensors"), steps=9)
    (cluster.folder / "hold").touch()
    (cluster.folder / "ended").write_text("PENDING")
    program(StageStarted(Stage.LOAD), Error("Stopped. --resume goes on.", 130))
    runs = iter(("first", "second"))

    def going_on(said):
        if any("is pending" in text for text in told(said)) and next(runs, None) == "first":
            cluster.begin()
            program(DONE if kind == "segment" else Error("The second run.", 1))
            (cluster.folder / "ended").unlink()
            cluster.begin(restarts=1)
        return False

    result, said = follow(job, Slurm(gpus=2), going_on)
    first, second = (text for text in told(said) if text.startswith("called with"))
    assert second == f"{first} {again}"
    assert first.startswith(f"called with 2x {kind} ")
    assert "a.nii.gz" in str(result) or str(result) == "The second run."


@pytest.mark.parametrize(
    ("ended", "lines", "kind", "says"),
    [
        ("FAILED", [Error("No such file.", 2)], InputError, "^No such file.$"),
        ("FAILED", [Error("Stopped after 3 steps.", 130)], Cancelled, "^Stopped after 3 steps.$"),
        ("TIMEOUT", ["error: DUE TO TIME LIMIT"], ContrastiveSegError, r"timeout\. --time was too short.*TIME LIMIT$"),
        ("OUT_OF_MEMORY", [StageStarted(Stage.LOAD)], ContrastiveSegError, "out_of_memory.*--sbatch mem=32G"),
        (
            "FAILED",
            ["error: Exceeded job memory limit"],
            ContrastiveSegError,
            "failed.*--sbatch mem=32G.*memory limit$",
        ),
        ("CANCELLED", [], Cancelled, "ended without a result: cancelled"),
    ],
)
def test_an_end_without_a_result_says_why(cluster, program, job, ended, lines, kind, says):
    (cluster.folder / "ended").write_text(ended)
    program(*lines)
    problem, said = follow(job)
    assert type(problem) is kind
    assert re.search(says, str(problem))
    assert not any(isinstance(event, Error) for event in said)
    problem, _ = follow(job)
    assert len(cluster.calls("sbatch")) == 2


def test_a_job_that_slurm_has_forgotten_and_one_that_it_does_not_answer_for(cluster, program, job):
    (cluster.folder / "forgotten").touch()
    (cluster.folder / "hold").touch()
    program("nothing")
    follow(job, cancelled=lambda said: bool(said))
    cluster.begin()
    (cluster.folder / "silent").touch()
    (cluster.folder / "state").write_text("CANCELLED by 1000\n")
    problem, said = follow(job)
    assert "asked again: slurm_load_jobs error: Unable to contact" in " ".join(told(said))
    assert "ended without a result: cancelled" in str(problem)


def test_what_cannot_be_done_is_refused_before_it_is_submitted(cluster, job, dataset, tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "synthetic_00000.nii.gz").touch()
    labels = str(dataset / "labelsTr")
    for refused, says in (
        (job, "exists already"),
        (replace(job, checkpoint=str(tmp_path / "none.safetensors")), "There is no checkpoint at"),
        (PretrainJob(images=(str(tmp_path / "gone"),), output=str(tmp_path / "a")), "does not exist"),
        (EvaluateJob(predictions=labels, references=labels, output="x.json"), "not for evaluate"),
    ):
        refused = replace(refused, output=str(tmp_path / "new")) if "checkpoint at" in says else refused
        assert says in str(follow(refused)[0])
    # What would wait in the queue only to be refused: files that tell of one process, a report that is there.
    new, report = str(tmp_path / "new"), tmp_path / "report.json"
    assert "tells of one process" in str(follow(replace(job, output=new, report=str(report)), Slurm(gpus=2))[0])
    report.write_text("{}")
    for kind in (replace(job, output=new), PretrainJob(images=job.input, output=f"{new}.safetensors", steps=1)):
        assert "exists already" in str(follow(replace(kind, report=str(report)))[0])
    assert not (cluster.folder / "calls").exists()
    (cluster.folder / "refuse").touch()
    refused, _ = follow(replace(job, output=str(tmp_path / "new")))
    assert isinstance(refused, InputError)
    assert "Slurm does not take the job: sbatch: error: invalid partition" in str(refused)
    assert "--gpus" not in str(refused)
    # A cluster without GPUs.
    (cluster.folder / "refuse").write_text("Invalid generic resource (gres) specification")
    refused, _ = follow(replace(job, output=str(tmp_path / "new")))
    assert str(refused).endswith("(gres) specification. --gpus 0 asks for no GPU.")


def test_without_slurm_it_says_so(job, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "There is no sbatch on this machine" in str(follow(job)[0])


def test_why_a_job_waits_is_told_when_it_changes(cluster, program, job):
    (cluster.folder / "hold").touch()
    program(DONE)
    reasons = iter(["PENDING Priority", "PENDING Resources", "PENDING Priority"])

    def going_on(said):
        if (reason := next(reasons, None)) is not None:
            (cluster.folder / "state").write_text(reason)
        elif not (cluster.folder / "process").exists():
            cluster.begin()
        return False

    result, said = follow(job, cancelled=going_on)
    assert result.written == ("a.nii.gz",)
    waits = [text for text in told(said) if "is pending" in text]
    assert sorted(waits) == ["Slurm: job 4711 is pending (Priority).", "Slurm: job 4711 is pending (Resources)."]


def test_a_job_of_another_cluster(cluster):
    (cluster.folder / "sbatch").write_text("#!/bin/sh\necho '12;north'\n")
    (cluster.folder / "state").write_text("RUNNING None\n")
    number = submit(cluster.folder / "script")
    assert state(number) == ("RUNNING", "None")
    assert cluster.calls("squeue")[0].startswith("--clusters=north ")


def test_slurms_options_go_with_submit(job, capsys):
    words = command_line(job)
    assert main([*words, "--partition", "gpu"]) == 2
    assert "--partition is for Slurm, and goes with --submit" in capsys.readouterr().err
    assert main([*words, "--submit", "--time", "soon"]) == 2
    assert "--time must be a duration" in capsys.readouterr().err


@pytest.mark.parametrize(
    "job",
    [
        SegmentJob(checkpoint="a b", input=("x", "y z"), output="-o", roi=(-1.5, 2, 0, 1, -4, -3), continue_=True),
        FinetuneJob(checkpoint="none", images=("a",), output="b", settings={"batch": 2, "mode": "axis"}, resume="auto"),
        PretrainJob(images=("a",), output="b", resume=True, minutes=1.5, dimensions=2, license="CC-BY 4.0"),
    ],
)
def test_a_job_is_typed_as_it_is_read(job):
    given = vars(parser().parse_args(command_line(job)))
    assert given.pop("command") == job.kind
    given.pop("json")
    assert from_json(type(job), given) == job
