"""This machine's side: sends a job over ssh, watches it as if it ran here, and fetches what it made."""

from __future__ import annotations

import hashlib
import json
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from .. import __version__, events, files
from ..checkpoints.header import digest
from ..descriptions import Job
from ..errors import ContrastiveSegError, InputError
from ..results import JobResult
from .following import result_of
from .frames import BrokenConnection, put, put_file, take, take_file
from .packing import Packed, RemoteJob, pack, place_here

#: What ssh takes for a host, but for options.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:%\-\[\]]*")
#: A connection that says nothing for a minute is dead; all else is for the user's own configuration of ssh.
_SSH = ("ssh", "-T", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4", "--")
#: Waits between attempts to connect anew, in seconds.
_AGAIN = (1.0, 4.0, 15.0)
_LOOK = 0.2
#: What ssh itself ends with, and a shell that does not find a command.
_NO_CONNECTION, _NOT_FOUND = 255, (126, 127)


@dataclass(frozen=True)
class Host:
    """Where a job is done: the machine as ssh knows it, and how contrastiveseg is called there."""

    name: str
    command: str = "contrastiveseg"


class LostConnection(ContrastiveSegError):
    """The job goes on there, and nobody watches it."""


def run_on(host: Host, job: Job, emit: events.Emit, cancelled: events.CancelCheck) -> JobResult:
    """Do ``job`` on ``host`` with the events, outputs and result that it would have here.

    The same job that still runs there, or has ended there, is not begun anew: it is watched, and its outputs fetched.

    Raises:
        InputError: the job cannot be done there, or contrastiveseg is not there; the message says what to type.
        LostConnection: it was begun, and the machine cannot be reached any more.
        ContrastiveSegError: as the job itself.
    """
    if not host.name:
        raise InputError("No machine is named: --host-command goes with --host USER@MACHINE.")
    if not _HOST.fullmatch(host.name):
        raise InputError(f"--host takes a name as user@machine, not {host.name!r}.")
    if not isinstance(job, RemoteJob):
        raise InputError(f"--host is for pretrain, finetune and segment, not for {job.kind}.")
    packed = pack(job)
    emit(events.StageStarted(events.Stage.LOAD))
    hashes = {there: digest(path) for there, path in packed.files.items()}
    identifier = _identifier(packed, hashes)
    if _send(host, identifier, packed, hashes, emit):
        emit(events.log(f"This job is on {host.name} already: it is watched."))
    return _watched(host, identifier, packed, emit, cancelled)


def _identifier(packed: Packed, hashes: Mapping[str, str]) -> str:
    parts = [__version__, packed.shaping, sorted(hashes.items()), sorted(packed.texts.items())]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


#: Ctrl+C at a terminal reaches ssh too, which would cut the connection before the job there is told to stop. ssh stays
#: in its terminal, where it may ask for a password.
_unmoved = None if sys.platform == "win32" else _ignore_interrupt


class _Connection:
    """A command on the host, with its stdin and stdout; stderr is kept for what went wrong."""

    def __init__(self, host: Host, action: str, identifier: str) -> None:
        self._host = host
        words = [*_SSH, host.name, f"{host.command} far {action} {identifier}"]
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


def _send(host: Host, identifier: str, packed: Packed, hashes: Mapping[str, str], emit: events.Emit) -> bool:
    """Begin the job there, with the files that are missing; returns whether it was there already."""
    connection = _Connection(host, "receive", identifier)
    try:
        put(
            connection.to,
            {"version": __version__, "job": packed.job, "files": dict(hashes), "texts": packed.texts},
        )
        _check_installation(host, take(connection.of))
        answer = take(connection.of)
        by_hash = {hashes[there]: path for there, path in packed.files.items()}
        missing = {one: by_hash[one] for one in answer["missing"] if one in by_hash}
        megabytes = sum(path.stat().st_size for path in missing.values()) / 2**20
        if not answer["begun"]:
            there = len(by_hash) - len(missing)
            emit(events.log(f"{len(missing)} files go to {host.name} ({megabytes:.1f} MB); {there} are there already."))
            progress = events.ProgressMeter(emit, max(megabytes, 1e-6), "MB")
            sent = 0.0
            for one, path in missing.items():
                put_file(connection.to, path, sha256=one)
                sent += path.stat().st_size / 2**20
                progress(sent)
            take(connection.of)
        return bool(answer["begun"])
    except (BrokenConnection, BrokenPipeError, KeyError) as problem:
        raise connection.failure() from problem
    finally:
        connection.close()


def _check_installation(host: Host, answer: Mapping[str, Any]) -> None:
    """Raises InputError where versions differ or libraries are missing there."""
    install = f'ssh {host.name} "python3 -m pip install contrastiveseg=={__version__}"'
    if answer.get("version") != __version__:
        raise InputError(
            f"{host.name} has contrastiveseg {answer.get('version')}, and this machine {__version__}. Install the "
            f"same: {install}"
        )
    if missing := answer.get("missing_libraries"):
        raise InputError(f"contrastiveseg on {host.name} lacks {', '.join(map(str, missing))}. Install them: {install}")


def _watched(
    host: Host, identifier: str, packed: Packed, emit: events.Emit, cancelled: events.CancelCheck
) -> JobResult:
    """The result of a job that was begun; a broken connection is made anew a few times."""
    seen = _Seen(packed, emit)
    for wait in (*_AGAIN, None):
        lost = seen.watch(_Connection(host, "watch", identifier), cancelled)
        if lost is None:
            return seen.result()
        if not isinstance(lost, LostConnection):
            raise lost
        if wait is None or cancelled():
            break
        emit(events.warning(f"The connection to {host.name} is lost. The job goes on there; connecting anew."))
        time.sleep(wait)
    raise LostConnection(
        f"The connection to {host.name} is lost. The job goes on there: the same command watches it again, and fetches "
        "what it has made."
    )


class _Seen:
    """What has come of a job so far: how many events, and how it ended."""

    def __init__(self, packed: Packed, emit: events.Emit) -> None:
        self._packed, self._emit = packed, emit
        self._events = 0
        self._last: dict[str, Any] = {}
        names = {there: str(path) for there, path in (*packed.outputs.items(), *packed.files.items())}
        self._names = sorted(names.items(), key=lambda name: -len(name[0]))

    def watch(self, connection: _Connection, cancelled: events.CancelCheck) -> ContrastiveSegError | None:
        """Take events and outputs to the end; returns why there is none."""
        arrived: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        failed: list[BaseException] = []

        def read() -> None:
            try:
                while True:
                    message = take(connection.of)
                    if "file" in message:
                        self._store(connection.of, str(message["file"]), int(message["bytes"]))
                    else:
                        arrived.put(message)
            except BaseException as problem:  # told by the other thread
                failed.append(problem)
                arrived.put(None)

        threading.Thread(target=read, daemon=True).start()
        asked = False
        try:
            put(connection.to, {"from": self._events})
            while True:
                with suppress(queue.Empty):
                    message = arrived.get(timeout=_LOOK)
                    if message is None:
                        break
                    if message.get("end"):
                        put(connection.to, {"fetched": True})
                        return None
                    self._take(message)
                if cancelled() and not asked:
                    asked = True
                    put(connection.to, {"cancel": True})
        except BrokenPipeError:
            pass
        finally:
            code = connection.close()
        problem = failed[0] if failed else None
        if isinstance(problem, ContrastiveSegError):
            return problem
        if problem is not None and not isinstance(problem, (BrokenConnection, ValueError, OSError)):
            raise problem
        return LostConnection("lost") if code == _NO_CONNECTION or code < 0 else connection.failure()

    def _take(self, message: dict[str, Any]) -> None:
        self._events += 1
        if message.get("event") in ("log", "result", "error"):
            message = self._here(message)
        if message.get("event") in ("result", "error"):
            self._last = message
        else:
            self._emit(events.from_json(message))

    def _here(self, value: Any) -> Any:
        """``value`` with the paths there as those here."""
        if isinstance(value, dict):
            return {key: self._here(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._here(one) for one in value]
        if isinstance(value, str):
            for there, here in self._names:
                if there in value:
                    value = value.replace(there, f"{here}/" if there.endswith("/") else here)
        return value

    def _store(self, stream: IO[bytes], there: str, size: int) -> None:
        path = place_here(self._packed.outputs, there)
        if path is None:
            raise InputError(f"The other machine sends {there!r}, which the job does not make. Nothing more is taken.")
        with files.replacing(path) as temporary:
            take_file(stream, size, temporary)

    def result(self) -> JobResult:
        """The job's result; raises what it has raised there."""
        return result_of(self._packed.job["kind"], self._last)
