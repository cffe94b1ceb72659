"""A child process seen as lines of text, by QProcess: nothing here waits, and no thread is needed."""

from __future__ import annotations

import codecs
import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import qt
import slicer
from slicer.i18n import tr as _

from ..timer import single_shot

#: A QProcess that is destroyed kills its child; processes stay in here until they have ended.
_alive: set[LineProcess] = set()

#: Exit codes by which a launcher, such as PythonSlicer, says that its program was killed (signal 9).
_KILLED = (137, 247)
#: What a killed process takes to be gone.
_KILLED_MS = 3000


class LineProcess:
    """Starts ``program`` at once and hands on what it writes, line by line.

    Attributes:
        group: the process group (on Windows, the process) to kill with it, when known. PythonSlicer is a launcher:
            killing it leaves the Python that it started, so that Python has to lead a group and report its id.
    """

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        on_output: Callable[[list[str]], None],
        on_error: Callable[[list[str]], None],
        on_end: Callable[[int | None, str], None],
        quit_seconds: float = 3.0,
    ) -> None:
        """``on_output`` and ``on_error`` get complete lines. ``on_end`` comes once: the exit code (None where there is
        none) and how it ended, in words that follow the program's name. All are called from the event loop. When Slicer
        quits, it waits ``quit_seconds`` for the process to end by itself."""
        self.group: int | None = None
        self.quit_seconds = quit_seconds
        self._stopping = False
        self._on_end = on_end
        self._readers = {
            "readAllStandardOutput": _Lines(on_output),
            "readAllStandardError": _Lines(on_error),
        }
        self._kill_timer = single_shot(self.kill)
        # Windows reports a failed start within start(), before the caller knows that it has a process.
        self._failed_timer = single_shot(self._not_started)

        self._process = qt.QProcess()
        settings = qt.QProcessEnvironment.systemEnvironment()
        for name, value in environment.items():
            settings.insert(name, value)
        self._process.setProcessEnvironment(settings)
        self._process.connect("readyReadStandardOutput()", self._read_output)
        self._process.connect("readyReadStandardError()", self._read_error)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._problem)
        _watch_for_quit()
        _alive.add(self)
        self._process.start(program, list(arguments))

    def write(self, line: str) -> None:
        self._process.write(line.encode() + b"\n")

    def end(self, seconds: float, on_ended: Callable[[], None]) -> None:
        """Close its stdin, and kill it with its children if it has not ended after ``seconds``. Of its callbacks only
        ``on_ended`` is called, which is called at once where it has ended already."""
        if self not in _alive:
            on_ended()
            return
        self._silence(on_ended)
        self._process.closeWriteChannel()
        self._kill_timer.start(int(1000 * seconds))

    def _silence(self, on_ended: Callable[[], None]) -> None:
        self._stopping = True
        for reader in self._readers.values():
            reader.give = _ignore
        self._on_end = lambda code, how: on_ended()

    def kill(self) -> None:
        """Kill it with its children."""
        if self in _alive:
            self._process.closeWriteChannel()
            self._kill_group()
            self._process.kill()

    def _kill_group(self) -> None:
        if self.group is None:
            return
        if sys.platform == "win32":
            # Not QProcess.startDetached: a method of that name hides the static function from PythonQt.
            subprocess.Popen(
                ["taskkill", "/PID", str(self.group), "/T", "/F"], creationflags=subprocess.CREATE_NO_WINDOW
            )
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.group, signal.SIGKILL)

    def _read_output(self) -> None:
        self._read("readAllStandardOutput")

    def _read_error(self) -> None:
        self._read("readAllStandardError")

    def _read(self, method: str, final: bool = False) -> None:
        self._readers[method].feed(bytes(getattr(self._process, method)().data()), final)

    def _problem(self, problem: int) -> None:
        if problem == qt.QProcess.FailedToStart:
            self._failed_timer.start(0)

    def _not_started(self) -> None:
        self._ended(None, _("could not be started ({why})").format(why=self._process.errorString()))

    def _finished(self, code: int, status: int) -> None:
        for method in self._readers:
            self._read(method, final=True)
        # What it started may outlive it.
        if sys.platform != "win32":
            self._kill_group()
        if status == qt.QProcess.CrashExit or code in _KILLED:
            self._ended(None, _("crashed or was ended from outside; too little memory is a common reason"))
        else:
            self._ended(code, _("ended with exit code {code}").format(code=code))

    def _ended(self, code: int | None, how: str) -> None:
        if self in _alive:
            _alive.discard(self)
            self._kill_timer.stop()
            # Its connections hold this object, and this object holds it.
            self._process.deleteLater()
            self._on_end(code, how)

    def ask_to_quit(self) -> None:
        """Let it end by itself, as :meth:`end` does, where the event loop is over and cannot see to that."""
        if not self._stopping:
            # Whoever watches it must not start another one now.
            self._silence(lambda: None)
        self._process.closeWriteChannel()

    def wait_for_quit(self, since: float) -> None:
        """Wait until it has ended, and kill it if it takes longer than it has from ``since`` (``time.monotonic``)."""
        left = since + self.quit_seconds - time.monotonic()
        if not self._process.waitForFinished(max(0, int(1000 * left))):
            self.kill()
            self._process.waitForFinished(_KILLED_MS)


@functools.cache
def _watch_for_quit() -> None:
    """Once a session: disconnecting during the signal's delivery would crash Slicer."""
    slicer.app.connect("aboutToQuit()", _quit_all)


def _quit_all() -> None:
    """End them all now, waiting for that: together they take as long as the slowest."""
    since = time.monotonic()
    quitting = sorted(_alive, key=lambda process: process.quit_seconds)
    for process in quitting:
        process.ask_to_quit()
    for process in quitting:
        process.wait_for_quit(since)


def _ignore(lines: list[str]) -> None:
    """For the output of a process that is to end."""


class _Lines:
    """Cuts bytes, as they come, into lines of text; bars that return to the line's start make lines too."""

    def __init__(self, give: Callable[[list[str]], None]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest, self.give = "", give

    def feed(self, data: bytes, final: bool) -> None:
        *lines, self._rest = re.split(r"[\r\n]+", self._rest + self._decoder.decode(data, final))
        if final:
            lines, self._rest = [*lines, self._rest], ""
        lines = [line for line in lines if line.strip()]
        if lines:
            self.give(lines)
