"""Children that are killed, forked from a process that has loaded the libraries: a trial costs its work alone."""

from __future__ import annotations

import os
import select
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Seconds that what a killed child had started may live on.
ORPHANS_SECONDS = 20.0


class Child:
    """``work`` in a process and a session of its own, whose output goes to ``log``."""

    def __init__(self, work: Callable[[], object], log: Path) -> None:
        self._writes, telling = os.pipe()
        self.id = os.fork()
        if self.id == 0:
            os.close(self._writes)
            _become(work, log, telling)
        os.close(telling)
        self._end = os.pidfd_open(self.id)

    def ends_within(self, seconds: float | None) -> bool:
        """Wait for its end, at most so long."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(None if seconds is None else max(seconds, 0) * 1000))

    def begins_to_write(self, times: int) -> bool:
        """Wait until it begins to write so many files; False if it ends before."""
        return all(os.read(self._writes, 1) for _ in range(times))

    def writes(self) -> int:
        """How many files it has begun to write since it was last asked, once it has ended."""
        return len(os.read(self._writes, 1 << 16))

    def kill(self) -> None:
        os.kill(self.id, signal.SIGKILL)

    def result(self) -> int:
        """Its exit code, negative for a signal, once it has ended."""
        _, status = os.waitpid(self.id, 0)
        os.close(self._end)
        os.close(self._writes)
        return os.waitstatus_to_exitcode(status)

    def orphans(self) -> list[int]:
        """Processes of its session that live on for longer than they may; they are killed."""
        until = time.monotonic() + ORPHANS_SECONDS
        while living := _session(self.id):
            if time.monotonic() > until:
                for process in living:
                    os.kill(process, signal.SIGKILL)
                return living
            # The system tells of no end but that of one's own children.
            time.sleep(0.02)
        return []


def _become(work: Callable[[], object], log: Path, telling: int) -> None:
    """The rest of a child's life; it writes a byte to ``telling`` whenever it begins to write a file."""
    make_temporary = tempfile.mkstemp

    def told(*given: Any, **more: Any) -> tuple[int, str]:
        made = make_temporary(*given, **more)
        os.write(telling, b".")
        return made

    tempfile.mkstemp = told
    code = 1
    try:
        os.setsid()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(file, 1)
        os.dup2(file, 2)
        code = int(work() or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _session(leader: int) -> list[int]:
    """Living processes of a session, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # After the name in brackets: state, parent, group, session.
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:  # it has ended
                continue
            if int(session) == leader and state != "Z":
                found.append(int(entry.name))
    return found
