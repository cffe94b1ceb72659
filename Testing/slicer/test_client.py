"""The worker as the panel sees it: with an engine that misbehaves in every way, and once with the real one."""

import os
import sys

import pytest
from scripted_engine import Watched, alive, job

from contrastiveseg.events import Error, Event, Log, Metric, Progress, Result, Stage, StageStarted


def test_jobs_and_queries_end_in_their_results_by_one_process(new_worker, wait_for):
    worker, first, second, methods = new_worker(), Watched(), Watched(), []
    worker.start()
    assert (worker.running, worker.busy) == (True, False)
    worker.query("methods", methods.append)
    worker.submit(job("a"), first)
    worker.submit(job("b"), second)
    assert worker.busy
    assert first.events == []
    wait_for(second.ended)
    assert methods == [["macl"]]
    assert [type(event) for event in first.events] == [StageStarted, Result]
    assert second.events[-1].value.output == "b"
    assert second.process()["pid"] == first.process()["pid"]
    assert (worker.running, worker.busy) == (True, False)


@pytest.mark.parametrize(
    ("chosen", "waits"),
    [
        ({}, {"OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": "10000"}),
        ({"GOMP_SPINCOUNT": "5"}, {"OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": "5"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": None}),
    ],
)
def test_threads_soon_leave_the_processor_to_the_other_worker_while_they_wait(
    new_worker, wait_for, monkeypatch, chosen, waits
):
    for name in waits:
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    worker, watched = new_worker(), Watched()
    worker.submit(job("a"), watched)
    wait_for(watched.ended)
    assert watched.process()["waits"] == waits


def test_a_worker_that_is_to_give_way_is_told_so(new_worker, wait_for):
    told = {}
    for low in (False, True):
        watched = Watched()
        new_worker(low_priority=low).submit(job("a"), watched)
        wait_for(watched.ended)
        told[low] = watched.process()["arguments"]
    asked = ["-m", "contrastiveseg", "worker"]
    assert told == {False: asked, True: [*asked, "--low-priority"]}


def test_a_query_nobody_knows_goes_to_the_log_alone(new_worker, wait_for):
    worker, lines, answers = new_worker(), [], []
    worker.log_line.connect(lines.append)
    worker.query("weather", answers.append)
    wait_for(lambda: lines)
    assert lines == ["There is no such query."]
    assert answers == []


def test_a_python_that_is_not_there_is_an_error_of_the_job(new_worker, wait_for):
    worker, watched = new_worker("/nowhere/PythonSlicer"), Watched()
    worker.submit(job("a"), watched)
    wait_for(watched.ended)
    (event,) = watched.events
    assert event.exit_code == 1
    assert "/nowhere/PythonSlicer" in event.what
    assert "could not be started" in event.what
    assert not worker.running


def test_a_worker_that_dies_tells_its_last_words_and_the_next_job_starts_afresh(new_worker, wait_for):
    worker, dying, waiting, lines = new_worker(), Watched(), Watched(), []
    worker.log_line.connect(lines.append)
    worker.submit(job("die"), dying)
    worker.submit(job("a"), waiting)
    wait_for(lambda: dying.ended() and waiting.ended())
    for watched in (dying, waiting):
        assert len(watched.of(Error)) == 1
        assert "exit code 7" in watched.events[-1].what
    assert dying.events[-1].what.endswith("first\nhalf of it\nlast words: é")
    assert lines == ["first", "half of it", "last words: é"]
    again = Watched()
    worker.submit(job("a"), again)
    wait_for(again.ended)
    assert isinstance(again.events[-1], Result)

    crashed = Watched()
    worker.submit(job("crash"), crashed)
    wait_for(crashed.ended)
    assert "crashed or was ended from outside" in crashed.events[-1].what
    assert "last words: é" not in crashed.events[-1].what


def test_what_is_no_event_goes_to_the_log_and_characters_cut_in_two_come_whole(new_worker, wait_for):
    worker, watched, lines = new_worker(), Watched(), []
    worker.log_line.connect(lines.append)
    worker.submit(job("chatter"), watched)
    wait_for(watched.ended)
    assert lines == ["no JSON at all", '{"event": "log", "id": ["7"]}', "[1, 2]", '{"event": "result"}']
    assert [event.text for event in watched.of(Log)] == ["é"]
    assert isinstance(watched.events[-1], Result)


def test_of_a_flood_every_metric_comes_and_of_progress_the_newest(new_worker, wait_for, monkeypatch):
    import qt
    from ContrastiveSegPanel.engine.deliveries import Deliveries

    # So short that a flood takes many turns, however fast or busy the machine is.
    monkeypatch.setattr(Deliveries, "_TURN", 0.001)
    worker, watched, turns = new_worker(), Watched(), []
    timer = qt.QTimer()
    timer.connect("timeout()", lambda: turns.append(len(watched.events)))
    timer.start(0)
    worker.submit(job("flood"), watched)
    wait_for(watched.ended, 30)
    timer.stop()
    assert [event.step for event in watched.of(Metric)] == list(range(3000))
    progress = [event.done for event in watched.of(Progress)]
    assert len(progress) < 300
    assert progress == sorted(progress)
    assert progress[-1] == 3000
    assert isinstance(watched.events[-1], Result)
    # The flood came in pieces, between which Slicer could do other things.
    assert len(set(turns)) > 2


def test_a_cancelled_job_ends_politely_and_the_worker_goes_on(new_worker, wait_for):
    worker, watched, following = new_worker(), Watched(), Watched()
    identifier = worker.submit(job("polite"), watched)
    worker.submit(job("a"), following)
    wait_for(lambda: watched.of(Progress))
    worker.cancel(identifier)
    worker.cancel(identifier)
    wait_for(following.ended)
    assert [(event.what, event.exit_code) for event in watched.of(Error)] == [("Cancelled as asked.", 130)]
    assert isinstance(following.events[-1], Result)
    worker.cancel(identifier)
    worker.cancel("never heard of")


def test_a_job_that_waits_is_cancelled_at_once_and_never_hurts_the_one_before_it(new_worker, wait_for):
    worker, running, waiting = new_worker(), Watched(), Watched()
    identifier = worker.submit(job("polite"), running)
    wait_for(lambda: running.of(Progress))
    cancelled = worker.submit(job("a"), waiting)
    worker.cancel(cancelled)
    assert waiting.events == []
    wait_for(waiting.ended)
    assert [event.exit_code for event in waiting.events] == [130]
    assert not running.ended()
    worker.cancel(identifier)
    wait_for(running.ended)
    assert running.events[-1].what == "Cancelled as asked."
    assert len(waiting.events) == 1


def test_a_job_that_does_not_listen_is_killed_with_its_children_and_the_next_one_is_served(new_worker, wait_for):
    worker, deaf, following = new_worker(), Watched(), Watched()
    identifier = worker.submit(job("deaf"), deaf)
    worker.submit(job("a"), following)
    wait_for(lambda: deaf.of(Log))
    pids = [int(pid) for pid in deaf.of(Log)[0].text.split()]
    assert all(map(alive, pids))
    worker.cancel(identifier)
    wait_for(lambda: deaf.ended() and following.ended())
    assert [event.exit_code for event in deaf.of(Error)] == [130]
    assert following.process()["pid"] not in pids
    wait_for(lambda: not any(map(alive, pids)))


def test_a_worker_killed_from_outside_and_two_workers_beside_one_another(new_worker, wait_for):
    killed, other = new_worker(), new_worker()
    dying, living = Watched(), Watched()
    killed.submit(job("deaf"), dying)
    identifier = other.submit(job("polite"), living)
    wait_for(lambda: dying.of(Log) and living.of(Progress))
    pids = [int(pid) for pid in dying.of(Log)[0].text.split()]
    os.kill(pids[0], 9)
    wait_for(dying.ended)
    assert dying.events[-1].exit_code == 1
    # What the engine had started does not outlive it.
    wait_for(lambda: not any(map(alive, pids)))
    assert not living.ended()
    other.cancel(identifier)
    wait_for(living.ended)


def test_a_fault_in_a_listener_is_told_and_the_others_are_served(new_worker, wait_for):
    from bench import failures

    def faulty(event: Event) -> None:
        raise ZeroDivisionError(type(event).__name__)

    worker, watched = new_worker(), Watched()
    worker.submit(job("a"), faulty)
    worker.submit(job("a"), watched)
    wait_for(watched.ended)
    told = failures.take()
    assert [text for text in told if "ZeroDivisionError: Result" in text]


def test_waiting_for_a_job_gives_its_result_or_raises_its_error(new_worker):
    from ContrastiveSegPanel.engine.blocking import run_blocking

    from contrastiveseg.errors import Cancelled, ContrastiveSegError

    worker, watched = new_worker(), Watched()
    assert run_blocking(worker, job("a"), watched).output == "a"
    assert isinstance(watched.events[-1], Result)
    with pytest.raises(ContrastiveSegError, match="exit code 7"):
        run_blocking(worker, job("die"))
    cancelled = []

    def cancel_or_wait_too(event: Event) -> None:
        if isinstance(event, Progress) and not cancelled:
            cancelled.extend(worker._open)
            with pytest.raises(ContrastiveSegError, match="busy"):
                run_blocking(worker, job("a"))
            worker.cancel(*cancelled)

    with pytest.raises(Cancelled, match="as asked"):
        run_blocking(worker, job("polite"), cancel_or_wait_too)


@pytest.mark.timeout(120)
def test_the_real_engine_segments_answers_and_refuses(new_worker, segmenter, image, tmp_path):
    from ContrastiveSegPanel.engine.blocking import run_blocking

    from contrastiveseg.descriptions import SegmentJob
    from contrastiveseg.errors import InputError

    worker, watched, devices = new_worker(sys.executable), Watched(), []
    worker.query("devices", devices.extend)
    given = {"checkpoint": str(segmenter), "input": (str(image),), "threads": 1, "precision": "32"}
    result = run_blocking(worker, SegmentJob(output=str(tmp_path / "a.nii.gz"), **given), watched)
    assert result.written == (str(tmp_path / "a.nii.gz"),)
    assert "cpu" in [device["name"] for device in devices]
    assert {Stage.SEGMENT} < {event.name for event in watched.of(StageStarted)}
    with pytest.raises(InputError, match="exists already"):
        run_blocking(worker, SegmentJob(output=str(tmp_path / "a.nii.gz"), **given))


def test_a_program_that_was_killed_behind_a_launcher_is_said_to_be(wait_for):
    import sys

    from ContrastiveSegPanel.engine.process import LineProcess

    ended = []
    LineProcess(
        sys.executable,
        ["-c", "import sys; sys.exit(137)"],
        {},
        lambda lines: None,
        lambda lines: None,
        lambda code, how: ended.append(how),
    )
    wait_for(lambda: ended, 30)
    assert "too little memory" in ended[0]
