"""Ctrl+C, SIGTERM and a closed terminal ask to stop; only who insists stops at once."""

import os
import signal

import pytest

from contrastiveseg.jobs.interrupt import interruptible

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals as on POSIX")


@pytest.fixture(autouse=True)
def terminal():
    """SIGHUP as a program in a terminal gets it, also where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_asks_and_the_second_insists(first, capsys):
    asked, before = [], signal.getsignal(first)
    with interruptible(lambda: asked.append(1)):
        send(first)
        assert asked == [1]
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)
    assert asked == [1]
    assert "once more to stop at once" in capsys.readouterr().err
    assert signal.getsignal(first) is before


def test_a_closed_terminal_does_not_insist():
    asked = []
    with interruptible(lambda: asked.append(1)):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
            send(number)
    assert asked == [1]


def test_under_nohup_the_terminal_may_close():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(lambda: pytest.fail("asked to stop")):
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_log_that_cannot_be_written_is_no_second_problem(monkeypatch):
    class Gone:
        def write(self, text):
            raise OSError(5, "Input/output error")

    asked = []
    monkeypatch.setattr("sys.stderr", Gone())
    with interruptible(lambda: asked.append(1)):
        send(signal.SIGHUP)
    assert asked == [1]
