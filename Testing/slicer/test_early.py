"""A worker that starts while Slicer is idle, for users who work with the module."""

import datetime

import pytest
import slicer


@pytest.fixture
def early(kept, monkeypatch):
    from ContrastiveSegPanel.engine import early

    monkeypatch.setattr(early, "_AFTER_MS", 0)
    yield early
    early.take()


@pytest.fixture
def opened(early):
    early.remember_opening()


def started(early):
    """Whether a worker waits after Slicer's start, as far as the timers have come."""
    early.start_soon(lambda: None)
    for _ in range(3):
        slicer.app.processEvents()
    return early._worker is not None


def test_what_else_the_user_would_wait_for_comes_after_it(early, opened, monkeypatch, wait_for):
    monkeypatch.setattr(early, "_THEN_MS", 0)
    told = []
    early.start_soon(lambda: told.append(early._worker is not None))
    wait_for(lambda: told)
    assert told == [True]


def test_nothing_starts_before_the_module_was_opened_once(early):
    assert not started(early)


def test_a_worker_starts_when_the_module_was_opened_before(early, opened):
    assert started(early)
    assert early._worker.running


def test_after_a_month_without_the_module_nothing_starts(early, opened):
    from ContrastiveSegPanel import settings

    settings.set_text("LastOpened", (datetime.date.today() - datetime.timedelta(days=40)).isoformat())
    assert not started(early)


def test_nothing_starts_while_testing_nor_without_a_window(early, opened, monkeypatch):
    monkeypatch.setattr(slicer.app, "_testing", True)
    assert not started(early)
    monkeypatch.setattr(slicer.app, "_testing", False)
    monkeypatch.setattr(slicer.app, "_window", None)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda verbose=True: None)
    assert not started(early)


def test_nothing_starts_while_packages_are_missing(early, opened, monkeypatch):
    monkeypatch.setattr(early, "missing", lambda: ["torch"])
    assert not started(early)


def test_a_worker_that_nobody_wants_ends(early, opened, monkeypatch, wait_for):
    monkeypatch.setattr(early, "_KEPT_MS", 0)
    stopped = []
    monkeypatch.setattr(type(early.client.EngineClient()), "stop", lambda self, on_stopped=None: stopped.append(self))
    assert not started(early)
    assert len(stopped) == 1


def test_the_panel_takes_the_worker_and_asks_it_what_there_is(early, opened, models_folder, wait_for, request):
    assert started(early)
    worker = early._worker
    session = request.getfixturevalue("module").panel.session
    assert session.worker is worker
    assert early._worker is None
    wait_for(lambda: session.methods["finetune"][0]["description"], 60)


def test_opening_the_panel_is_remembered(early, models_folder, module):
    from ContrastiveSegPanel import settings

    assert settings.text("LastOpened") == datetime.date.today().isoformat()
