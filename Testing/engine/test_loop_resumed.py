"""A training loop that goes on: on the same curve, only for the same job, and with files that are whole."""

import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from test_loop import PLAIN, Toy, assert_same, curve, run
from torch import nn

from contrastiveseg.checkpoints.format import load
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.errors import InputError
from contrastiveseg.events import Event, Log, Progress
from contrastiveseg.methods.method import Optimization
from contrastiveseg.training import state as state_module
from contrastiveseg.training.beside import metrics_path, resume_path
from contrastiveseg.training.curve import cut_metrics
from contrastiveseg.training.finetune import finetune
from contrastiveseg.training.loop import train

HOW = Optimization(optimizer="adamw", learning_rate=0.01, weight_decay=1e-3, schedule="poly", warm_up=0.2, ema=0.9)


def score(state) -> float:
    """Falls from step to step, so that the best weights are the first and must survive the resume."""
    return -float(state["backbone.1.num_batches_tracked"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("cut", [1, 5])
def test_a_cancelled_run_resumes_on_the_same_curve(tmp_path, optimizer, cut):
    how = replace(HOW, optimizer=optimizer)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    expected = train(Toy(), None, how, run(9, output=whole, validations=3), validate=score)

    seen: list[Event] = []
    one = run(9, output=parts, validations=3, emit=seen.append)
    stop = replace(one, cancelled=lambda: sum(isinstance(e, Progress) for e in seen) >= cut)
    first = train(Toy(), None, how, stop, validate=score)
    assert (first.cancelled, first.steps) == (True, cut)
    second = train(Toy(), None, how, replace(one, resume=True), validate=score)

    assert (second.steps, second.kept, second.best_score) == (9, expected.kept, expected.best_score)
    assert_same(second.state, expected.state)
    assert curve(parts) == curve(whole)


def test_another_job_is_not_resumed(tmp_path):
    output, asked = tmp_path / "toy.safetensors", iter([False, False])
    train(Toy(), None, PLAIN, run(output=output, identity="one", cancelled=lambda: next(asked, True)))
    with pytest.raises(InputError, match="belongs to a run with other data"):
        train(Toy(), None, PLAIN, run(output=output, identity="two", resume=True))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "nothing to resume"), (b"", "cannot be read"), (b"\x08" + bytes(20), "cannot be read")],
)
def test_no_resume_file_or_a_damaged_one(tmp_path, content, words):
    output = tmp_path / "toy.safetensors"
    if content is not None:
        resume_path(output).write_bytes(content)
    with pytest.raises(InputError, match=words):
        train(Toy(), None, PLAIN, run(output=output, resume=True))


def test_a_run_stopped_before_its_first_step_leaves_nothing_to_resume(tmp_path):
    output = tmp_path / "toy.safetensors"
    trained = train(Toy(), None, PLAIN, run(output=output, cancelled=lambda: True))
    assert (trained.cancelled, trained.steps) == (True, 0)
    assert not resume_path(output).exists()


def stopped_after(output, steps=4):
    asked = iter([False] * steps)
    train(Toy(), None, PLAIN, run(output=output, cancelled=lambda: next(asked, True)))


@pytest.mark.parametrize(
    "change", [(b"backbone", b"backbine"), (b"weight", b"wfight"), (b'step\\": 4', b'step\\": 3'), None]
)
def test_a_resume_file_with_flipped_bits_is_refused_or_begun_anew_with_a_warning(tmp_path, change):
    output, whole = tmp_path / "toy.safetensors", tmp_path / "whole.safetensors"
    stopped_after(output)
    path = resume_path(output)
    content = path.read_bytes()
    assert not change or change[0] in content
    path.write_bytes(content.replace(*change, 1) if change else content[:-3] + b"\xff\x00\xff")
    with pytest.raises(InputError, match=r"toy\.safetensors\.resume cannot be read.*--resume auto"):
        train(Toy(), None, PLAIN, run(output=output, resume=True))
    seen: list[Event] = []
    found = train(Toy(), None, PLAIN, run(output=output, resume=True, begin_anew=True, emit=seen.append))
    assert_same(found.state, train(Toy(), None, PLAIN, run(output=whole)).state)
    assert curve(output) == curve(whole)
    (told,) = [e.text for e in seen if isinstance(e, Log) and e.level == "warning"]
    assert told.endswith("toy.safetensors.resume is damaged. Training begins anew.")


def test_a_resume_file_of_another_network_is_refused(tmp_path):
    stopped_after(tmp_path / "toy.safetensors")
    other = Toy()
    other.head = nn.Conv3d(2, 1, 3, padding=1)
    with pytest.raises(InputError, match=r"does not fit this method and network"):
        train(other, None, PLAIN, run(output=tmp_path / "toy.safetensors", resume=True))


def test_what_was_learned_is_written_before_the_resume_file_and_survives_a_disk_without_room_for_that(
    tmp_path, monkeypatch
):
    output, asked, order = tmp_path / "toy.safetensors", iter([False] * 3), []

    def full(*_):
        order.append("resume file")
        raise InputError("No space left.")

    monkeypatch.setattr(state_module, "save_resume_state", full)
    seen: list[Event] = []
    stop = run(output=output, cancelled=lambda: next(asked, True), emit=seen.append)
    found = train(Toy(), None, PLAIN, stop, write=lambda trained: order.append(trained.steps))
    assert order == [3, "resume file"]
    assert (found.cancelled, found.resumable) == (True, False)
    assert "--resume" not in str(found.stopped_with(output))
    assert [e.text for e in seen if isinstance(e, Log)] == [
        "No space left. The run cannot be resumed from where it stopped."
    ]


def test_the_first_resume_file_comes_early_and_the_others_ever_later(tmp_path, monkeypatch):
    clock, saved = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(state_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(state_module, "save_resume_state", lambda path, state, parts: saved.append(state.step))

    class Slow(Toy):
        def step(self, batch):
            clock.now += 1
            return super().step(batch)

    train(Slow(), None, PLAIN, run(40, output=tmp_path / "toy.safetensors", save_seconds=10.0))
    assert saved == [3, 8, 17, 28, 39]


def test_the_curve_of_an_earlier_run_is_put_aside_unless_it_may_go(tmp_path):
    output = tmp_path / "toy.safetensors"
    first = metrics_path(output)
    first.write_text('{"step": 7}\n')
    train(Toy(), None, PLAIN, run(2, output=output))
    train(Toy(), None, PLAIN, run(3, output=output))
    kept = [first.with_name(f"toy.safetensors.metrics.{n}.jsonl") for n in (1, 2)]
    assert [len(path.read_text().splitlines()) for path in (*kept, first)] == [1, 2, 3]
    assert kept[0].read_text() == '{"step": 7}\n'
    train(Toy(), None, PLAIN, run(1, output=output, replace_curve=True))
    assert sorted(tmp_path.glob("*.jsonl")) == sorted([*kept, first])


def test_a_damaged_curve_is_mended_and_told(tmp_path):
    output = tmp_path / "toy.safetensors"
    stopped_after(output)
    path = metrics_path(output)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1][:9] + bytes(30), b"\xff", b"[3]", *lines[2:]]))
    seen: list[Event] = []
    train(Toy(), None, PLAIN, run(output=output, resume=True, emit=seen.append))
    assert [line["step"] for line in curve(output)] == [0, 2, 3, 4, 5, 6, 7]
    (told,) = [e.text for e in seen if isinstance(e, Log)]
    assert told.endswith("was damaged: 3 of its lines cannot be read and are left out.")


def test_a_fresh_run_empties_the_curve(tmp_path):
    output = tmp_path / "toy.safetensors"
    train(Toy(), None, PLAIN, run(5, output=output))
    train(Toy(), None, PLAIN, run(2, output=output))
    assert [line["step"] for line in curve(output)] == [0, 1]


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "curve_module.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n{"ste')
    cut_metrics(path, 2, 0)
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n'


def test_a_validation_that_will_be_done_again_is_dropped(tmp_path):
    path, kept = tmp_path / "curve_module.jsonl", '{"step": 0}\n{"step": 0, "validation_dice": 0.5}\n{"step": 1}\n'
    path.write_text(kept + '{"step": 1, "validation_dice": 0.6}\n')
    cut_metrics(path, 2, 1)
    assert path.read_text() == kept


def test_skipped_steps_are_counted_across_a_resume(tmp_path):
    output, asked = tmp_path / "toy.safetensors", iter([False] * 3)
    train(Toy(broken=(1,)), None, PLAIN, run(output=output, cancelled=lambda: next(asked, True)))
    seen: list[Event] = []
    train(Toy(broken=(0,)), None, PLAIN, run(output=output, resume=True, emit=seen.append))
    assert any(getattr(e, "text", "").startswith("2 of 8 steps were skipped") for e in seen)


SCRIPT = """
import functools, os, signal, sys
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.events import Metric
from contrastiveseg.training import setup
from contrastiveseg.training.finetune import finetune

def emit(event):
    if isinstance(event, Metric) and event.name == "loss" and event.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)

setup.Run = functools.partial(setup.Run, save_seconds=0.0)
images, output = sys.argv[1:]
job = FinetuneJob(checkpoint="none", images=(images,), output=output, steps=5, precision="32", threads=1)
finetune(job, emit)
"""


def test_a_killed_process_resumes_on_the_same_curve(dataset, tmp_path):
    killed, whole = tmp_path / "killed.safetensors", tmp_path / "whole.safetensors"
    process = subprocess.run([sys.executable, "-c", SCRIPT, str(dataset), str(killed)], capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert not killed.exists()
    job = FinetuneJob(
        checkpoint="none", images=(str(dataset),), output=str(killed), steps=5, precision="32", threads=1, resume=True
    )
    finetune(job)
    finetune(replace(job, output=str(whole), resume=False))
    assert_same(load(killed)[1], load(whole)[1])
    assert curve(killed) == curve(whole)
    left = {f.name for f in tmp_path.iterdir()}
    assert left == {f.name for p in (killed, whole) for f in (p, metrics_path(p))}
