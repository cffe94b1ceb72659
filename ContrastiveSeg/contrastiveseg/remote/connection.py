"""A connection to another machine by the system's ssh: a command there with its stdin and stdout."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from .. import __version__
from ..errors import Cancelled, ContrastiveSegError, InputError
from .frames import BrokenConnection, put, take
from .slurm import Slurm

#: What ssh takes for a host, but for options.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:%\-\[\]]*")
#: A connection that says nothing for a minute is dead; all else is for the user's own configuration of ssh.
_SSH = ("ssh", "-T", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
#: What ssh itself ends with, and a shell that does not find a command.
_NO_CONNECTION, _NOT_FOUND = 255, (126, 127)


@dataclass(frozen=True)
class Host:
    """Where a job is done: the machine as ssh knows it, and how contrastiveseg is called there.

    Attributes:
        asks: whether ssh may ask for a password or about a host's key; there must be a terminal for it.
        slurm: what is asked of the Slurm there, which then does the job; None where the machine itself does it.
    """

    name: str
    command: str = "contrastiveseg"
    asks: bool = True
    slurm: Slurm | None = None


class LostConnection(ContrastiveSegError):
    """The job goes on there, and nobody watches it."""


class Left(LostConnection):
    """As :class:`LostConnection`, because who watched it wanted no more."""

    exit_code = Cancelled.exit_code


def check_name(host: Host) -> None:
    """Raises InputError for a name that ssh would take for something else, or none."""
    if not host.name:
        raise InputError("No machine is named: --host-command goes with --host USER@MACHINE.")
    if not _HOST.fullmatch(host.name):
        raise InputError(f"--host takes a name as user@machine, not {host.name!r}.")


def check(host: Host) -> None:
    """Ask ``host`` whether it could do a job.

    Raises:
        InputError: contrastiveseg is not there in the same version with its libraries; the message says what to type.
        LostConnection: the machine cannot be reached.
    """
    check_name(host)
    connection = Connection(host, "receive", "0" * 32)
    try:
        put(connection.to, {"version": __version__, "job": None})
        check_installation(host, take(connection.of))
    except (BrokenConnection, BrokenPipeError) as problem:
        raise connection.failure() from problem
    finally:
        connection.close()


def was_cut(code: int) -> bool:
    """Whether ssh, which has ended with ``code``, had no connection any more, or was killed."""
    return code == _NO_CONNECTION or code < 0


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


#: Ctrl+C at a terminal reaches ssh too, which would cut the connection before the job there is told to stop. ssh stays
#: in its terminal, where it may ask for a password.
_unmoved = None if sys.platform == "win32" else _ignore_interrupt


class Connection:
    """A command on the host, with its stdin and stdout; stderr is kept for what went wrong."""

    def __init__(self, host: Host, action: str, identifier: str) -> None:
        self._host = host
        batch = [] if host.asks else ["-o", "BatchMode=yes"]
        words = [*_SSH, *batch, "--", host.name, f"{host.command} far {action} {identifier}"]
        try:
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_unmoved
            )
        except FileNotFoundError as problem:
            raise InputError("There is no ssh on this machine. Install OpenSSH's client.") from problem
        assert self._process.stdin
        assert self._process.stdout
        self.to: IO[bytes] = self._process.stdin
        self.of: IO[bytes] = self._process.stdout
        self._said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._said = [*self._said[-20:], line.decode(errors="replace").rstrip()]

    def close(self) -> int:
        """End it; returns the exit code."""
        for stream in (self.to, self.of):
            with suppress(OSError):
                stream.close()
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._listener.join(1)
        return code

    def failure(self) -> ContrastiveSegError:
        """Why it ended, in words that say what to do."""
        code, host = self.close(), self._host
        said = next((line for line in reversed(self._said) if line.strip()), "")
        if code == _NO_CONNECTION:
            return LostConnection(
                f"{host.name} cannot be reached: {said or 'ssh gives no reason'}. Try: ssh {host.name}"
            )
        if code in _NOT_FOUND or "invalid choice: 'far'" in " ".join(self._said):
            return InputError(
                f"{host.name} has no contrastiveseg {__version__} as {host.command!r}. Install it there: ssh "
                f'{host.name} "python3 -m pip install contrastiveseg=={__version__}". If it is there under another '
                'name, say so: --host-command "/path/to/python -m contrastiveseg"'
            )
        return InputError(f"{host.name} says: {said or f'nothing, and ends with {code}'}")


def check_installation(host: Host, answer: Mapping[str, Any]) -> None:
    """Raises InputError where versions differ or libraries are missing there."""
    install = f'ssh {host.name} "python3 -m pip install contrastiveseg=={__version__}"'
    if answer.get("version") != __version__:
        raise InputError(
            f"{host.name} has contrastiveseg {answer.get('version')}, and this machine {__version__}. Install the "
            f"same: {install}"
        )
    if missing := answer.get("missing_libraries"):
        raise InputError(f"contrastiveseg on {host.name} lacks {', '.join(map(str, missing))}. Install them: {install}")
    if host.slurm is not None and not answer.get("slurm"):
        raise InputError(
            f"{host.name} has no sbatch: --submit is for a machine from which jobs go to Slurm. If a shell with login "
            f'has it there, say so: --host-command "source /etc/profile; {host.command}"'
        )
