"""The end of a worker: stopped, killed, or left when Slicer quits, and no process stays."""

import time

from scripted_engine import Watched, alive, job

from contrastiveseg.events import Error, Log, Result


def quit_slicer() -> None:
    import qt
    import slicer

    qt.QTimer.singleShot(0, lambda: slicer.app.exit(0))
    slicer.app.exec_()


def test_stopping_ends_open_jobs_before_it_returns_and_leaves_no_process(new_worker, wait_for):
    worker, deaf, waiting, stopped = new_worker(), Watched(), Watched(), []
    worker.submit(job("deaf"), deaf)
    worker.submit(job("a"), waiting)
    wait_for(lambda: deaf.of(Log))
    pids = [int(pid) for pid in deaf.of(Log)[0].text.split()]
    worker.stop(lambda: stopped.append(True))
    assert [watched.events[-1].exit_code for watched in (deaf, waiting)] == [130, 130]
    assert (worker.running, worker.busy, stopped) == (False, False, [])

    wait_for(lambda: stopped and not any(map(alive, pids)))
    assert len(deaf.of(Error)) == 1


def test_who_hears_that_the_worker_was_stopped_may_submit_the_next_job(new_worker, wait_for):
    worker, again, stopped = new_worker(), Watched(), []
    started = []

    def once_more(event: dict) -> None:
        started.append(True)
        if isinstance(event, Error):
            worker.submit(job("a"), again)

    worker.submit(job("deaf"), once_more)
    wait_for(lambda: started)
    worker.stop(lambda: stopped.append(True))
    assert worker.running
    wait_for(lambda: again.ended() and stopped)
    assert isinstance(again.events[-1], Result)


def test_stopping_an_idle_worker_and_one_that_never_ran(new_worker, wait_for):
    worker, watched, stopped = new_worker(), Watched(), []
    worker.stop(lambda: stopped.append("never ran"))
    assert stopped == ["never ran"]
    worker.submit(job("a"), watched)
    wait_for(watched.ended)
    worker.GRACE = 60
    worker.stop(lambda: stopped.append("idle"))
    wait_for(lambda: len(stopped) == 2)
    assert not alive(watched.process()["pid"])


def test_no_process_is_left_when_slicer_quits(new_worker, wait_for, monkeypatch):
    from ContrastiveSegPanel.engine.client import EngineClient

    monkeypatch.setattr(EngineClient, "QUIT", 0.3)
    worker, deaf, waiting, stopped = new_worker(), Watched(), Watched(), []
    identifier = worker.submit(job("deaf"), deaf)
    worker.submit(job("a"), waiting)
    wait_for(lambda: deaf.of(Log))
    pids = [int(pid) for pid in deaf.of(Log)[0].text.split()]
    worker.cancel(identifier)
    quit_slicer()
    wait_for(lambda: not any(map(alive, pids)))
    # Modules are cleaned up only now, and nothing turns the event loop any more.
    worker.stop(lambda: stopped.append(True))
    assert stopped == [True]
    assert [watched.events[-1].exit_code for watched in (deaf, waiting)] == [130, 130]


def test_slicer_waits_for_what_is_still_being_saved_when_it_quits(new_worker, wait_for, monkeypatch, tmp_path):
    from ContrastiveSegPanel.engine.client import EngineClient

    monkeypatch.setattr(EngineClient, "QUIT", 60.0)
    slow = Watched()
    new_worker().submit(job("slow", str(tmp_path / "saved")), slow)
    wait_for(lambda: slow.of(Log))
    quit_slicer()
    assert (tmp_path / "saved").exists()


def test_slicer_waits_for_all_at_once_when_it_quits(new_worker, wait_for, monkeypatch):
    from ContrastiveSegPanel.engine.client import EngineClient

    monkeypatch.setattr(EngineClient, "QUIT", 2.0)
    deaf = [Watched() for _ in range(3)]
    for watched in deaf:
        new_worker().submit(job("deaf"), watched)
    wait_for(lambda: all(watched.of(Log) for watched in deaf))
    start = time.monotonic()
    quit_slicer()
    assert time.monotonic() - start < 5
    wait_for(lambda: not any(alive(int(pid)) for watched in deaf for pid in watched.of(Log)[0].text.split()))


def test_who_stops_once_more_waits_for_what_the_stopped_process_still_saves(new_worker, wait_for, tmp_path):
    saved, stopped = tmp_path / "saved", []
    worker, slow = new_worker(), Watched()
    worker.GRACE = 60

    def stop(event):
        if isinstance(event, Error):
            worker.stop(lambda: stopped.append(("heard", saved.exists())))

    worker.submit(job("slow", str(saved)), slow)
    worker.submit(job("a"), stop)
    wait_for(lambda: slow.of(Log))
    worker.stop(lambda: stopped.append(("first", saved.exists())))
    worker.stop(lambda: stopped.append(("second", saved.exists())))
    assert stopped == []
    wait_for(lambda: len(stopped) == 3)
    assert stopped == [("heard", True), ("first", True), ("second", True)]


def test_another_process_does_not_keep_the_stopped_one_from_being_gone(new_worker, wait_for):
    worker, first, second, stopped = new_worker(), Watched(), Watched(), []
    worker.submit(job("a"), first)
    wait_for(first.ended)
    worker.stop(lambda: stopped.append(True))
    worker.submit(job("polite"), second)
    wait_for(lambda: stopped)
    assert not second.ended()


def test_a_session_removes_its_files_when_its_processes_are_gone(new_worker, wait_for):
    from ContrastiveSegPanel.workflows.session import Session

    worker, deaf = new_worker(), Watched()
    session = Session(worker, new_worker())
    folder = session.folder()
    worker.submit(job("deaf"), deaf)
    wait_for(lambda: deaf.of(Log))
    pids = [int(pid) for pid in deaf.of(Log)[0].text.split()]
    session.close()
    assert folder.exists()
    wait_for(lambda: not folder.exists() and not any(map(alive, pids)))


def test_the_process_that_trains_gives_way_to_the_one_that_segments(new_worker, monkeypatch):
    from ContrastiveSegPanel.engine import client
    from ContrastiveSegPanel.workflows.session import Session

    asked, segmenting = [], new_worker()
    monkeypatch.setattr(client, "EngineClient", lambda **options: asked.append(options) or new_worker())
    Session(segmenting).close()
    assert asked == [{"low_priority": True}]
