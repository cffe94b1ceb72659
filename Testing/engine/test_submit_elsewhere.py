"""Jobs that another machine hands on to its Slurm: files go there, the job is followed, stopped, and found again."""

import os
import signal
from dataclasses import replace

import pytest
from fake_slurm import FakeSlurm
from fake_ssh import COMMAND, OtherMachine

from contrastiveseg import __version__
from contrastiveseg.cli import main
from contrastiveseg.descriptions import PretrainJob, SegmentJob
from contrastiveseg.errors import Cancelled, ContrastiveSegError, InputError
from contrastiveseg.events import Log, Metric
from contrastiveseg.remote import near
from contrastiveseg.remote.connection import Left, check_installation
from contrastiveseg.remote.near import Host, run_on, serve_on
from contrastiveseg.remote.slurm import Slurm

HOST = Host("me@box", COMMAND, slurm=Slurm(gpus=0))
COMMON = {"precision": "32", "threads": 1}


@pytest.fixture
def box(tmp_path, monkeypatch):
    machine = OtherMachine(tmp_path / "box")
    monkeypatch.setattr(near, "_AGAIN", (0.0, 0.0))
    monkeypatch.setenv("PATH", f"{machine.folder}{os.pathsep}{os.environ['PATH']}")
    return machine


@pytest.fixture
def cluster(box, tmp_path, monkeypatch):
    there = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{there.folder}{os.pathsep}{os.environ['PATH']}")
    return there


@pytest.fixture
def job(segmenter, dataset, tmp_path):
    return SegmentJob(
        checkpoint=str(segmenter), input=(str(dataset / "imagesTr"),), output=str(tmp_path / "maps"), **COMMON
    )


@pytest.fixture
def training(dataset, tmp_path):
    output = str(tmp_path / "base.safetensors")
    return PretrainJob(images=(str(dataset / "imagesTr"),), output=output, method="macl", steps=2, **COMMON)


def follow(host, job, cancelled=lambda said: False, left=lambda said: False):
    """The result of the job, or what it raised; and what was said, of which the others are asked."""
    said: list = []
    try:
        result = run_on(host, job, said.append, lambda: cancelled(said), lambda: left(said))
    except ContrastiveSegError as problem:
        result = problem
    return result, said


def told(said):
    return " ".join(event.text for event in said if isinstance(event, Log))


def waits(said):
    return "is pending" in told(said)


def test_a_training_is_submitted_there_and_fetched(box, cluster, training, tmp_path, capsys):
    words = ["pretrain", "--images", *training.images, "--output", training.output, "--method", "macl", "--steps", "2"]
    words += ["--precision", "32", "--threads", "1", "--gpus", "0", "--partition", "short", "--time", "10"]
    assert main([*words, "--host", "me@box", "--host-command", COMMAND, "--submit"]) == 0
    said = capsys.readouterr().out
    assert "Slurm has taken the job as 4711" in said
    assert "2/2 steps" in said
    assert (tmp_path / "base.safetensors").is_file()
    assert (tmp_path / "base.safetensors.metrics.jsonl").is_file()
    assert not (tmp_path / "base.safetensors.slurm").exists()
    (submitted,) = cluster.calls("sbatch")
    assert submitted.startswith(f"--parsable {box.jobs}/")
    script = (cluster.folder / "script").read_text()
    assert "#SBATCH --partition=short\n" in script
    assert f"#SBATCH --chdir={box.jobs}" in script
    assert list(box.jobs.iterdir()) == []


def test_ctrl_c_ends_the_watching_and_the_job_is_found_again(box, cluster, job, tmp_path):
    (cluster.folder / "hold").touch()
    left, _ = follow(HOST, job, left=waits)
    assert isinstance(left, Left)
    assert left.exit_code == Cancelled.exit_code
    assert "The job on me@box is not watched any more. The job goes on there: start the same one again" in str(left)
    assert "ssh me@box scancel NUMBER" in str(left)
    (folder,) = box.jobs.iterdir()
    files = {path: path.stat().st_ino for path in (folder / "in").rglob("*")}
    # What follows the job there is killed, as a login node may do it; Slurm has the job all the same, and it is not
    # done a second time, whatever the options.
    follower = int((folder / "running").read_text())
    os.kill(follower, signal.SIGKILL)
    job = replace(job, overwrite=True)
    left, said = follow(replace(HOST, slurm=None), job, left=waits)
    assert isinstance(left, Left)
    assert "It was begun with other options of Slurm, which it keeps: gpus 0." in told(said)
    assert "Job 4711 of Slurm is this one: it is followed." in told(said)
    assert int((folder / "running").read_text()) != follower
    assert {path: path.stat().st_ino for path in (folder / "in").rglob("*")} == files
    cluster.begin()
    result, said = follow(HOST, job)
    assert "This job is on me@box already: it is watched." in told(said)
    assert len(result.written) == len(list((tmp_path / "maps").iterdir())) == 4
    assert len(cluster.calls("sbatch")) == 1
    assert list(box.jobs.iterdir()) == []


def test_the_end_of_what_follows_there_is_told_and_takes_nothing(box, cluster, job, tmp_path):
    (cluster.folder / "hold").touch()

    def kill(said):
        if waits(said):
            for number in box.jobs.glob("*/running"):
                os.kill(int(number.read_text()), signal.SIGKILL)
        return False

    ended, _ = follow(HOST, job, left=kill)
    assert "Slurm has the job still: start it again to watch it" in str(ended)
    assert not (tmp_path / "maps").exists()
    assert list(box.jobs.glob("*/slurm/number"))


def test_a_job_that_waits_is_taken_out_of_the_queue(box, cluster, job):
    (cluster.folder / "hold").touch()
    asked = {"name": HOST.name, "command": HOST.command, "slurm": {"gpus": 0}}
    said: list = []
    with pytest.raises(Cancelled, match="ended without a result: cancelled"):
        serve_on(asked, job, said.append, lambda: waits(said), lambda: False)
    assert (cluster.folder / "state").read_text() == "CANCELLED None\n"
    assert list(box.jobs.iterdir()) == []


def test_a_training_that_runs_is_stopped_and_goes_on_with_more_time(box, cluster, training, tmp_path):
    training = replace(training, steps=100_000)
    learning = lambda said: any(isinstance(event, Metric) for event in said)  # noqa: E731
    stopped, _ = follow(HOST, training, cancelled=learning)
    assert isinstance(stopped, Cancelled)
    assert "--resume" in str(stopped)
    assert list(box.jobs.glob("*/out/output/base.safetensors.resume"))
    assert not list(box.jobs.glob("*/slurm/number"))
    more = replace(HOST, slurm=Slurm(gpus=0, time="2:00:00"))
    stopped, said = follow(more, replace(training, resume=True, overwrite=True), cancelled=learning)
    assert min(event.step for event in said if isinstance(event, Metric)) > 0
    assert "other options" not in told(said)
    assert "#SBATCH --time=2:00:00" in (cluster.folder / "script").read_text()


def test_a_machine_without_slurm_is_refused():
    answer = {"version": __version__, "missing_libraries": [], "slurm": False}
    check_installation(replace(HOST, slurm=None), answer)
    with pytest.raises(InputError, match=r"me@box has no sbatch: .*source /etc/profile"):
        check_installation(HOST, answer)
