"""This machine's side: sends a job over ssh, watches it as if it ran here, and fetches what it made."""

from __future__ import annotations

import hashlib
import json
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, Literal, TypeAlias

from .. import __version__, events, files
from ..checkpoints.header import digest
from ..descriptions import Job, Training
from ..errors import ContrastiveSegError, InputError
from ..results import JobResult
from ..serialization import from_json, to_json
from .connection import Connection, Host, Left, LostConnection, check, check_installation, check_name, was_cut
from .following import result_of
from .frames import BrokenConnection, put, put_file, take, take_file
from .packing import Packed, RemoteJob, pack, place_here

#: Waits between attempts to connect anew, in seconds.
_AGAIN = (1.0, 4.0, 15.0)
_LOOK = 0.2
#: Messages from the other machine, None behind the last.
_Arrived: TypeAlias = "queue.SimpleQueue[dict[str, Any] | None]"
_GOES_ON = "{what}. The job goes on there: start the same one again to watch it, and to fetch what it has made.{stop}"


def run_on(
    host: Host,
    job: Job,
    emit: events.Emit,
    cancelled: events.CancelCheck,
    left: events.CancelCheck = events.never,
) -> JobResult:
    """Do ``job`` on ``host`` with the events, outputs and result that it would have here.

    The same job that still runs there, or has ended there, is not begun anew: it is watched, and its outputs fetched.

    Args:
        left: asked as ``cancelled``; True ends the watching and not the job.

    Raises:
        InputError: the job cannot be done there, or contrastiveseg is not there; the message says what to type.
        LostConnection: it was begun, and the machine cannot be reached any more; Left where ``left`` was True.
        ContrastiveSegError: as the job itself.
    """
    check_name(host)
    if not isinstance(job, RemoteJob):
        raise InputError(f"--host is for pretrain, finetune and segment, not for {job.kind}.")
    packed = pack(job)
    emit(events.StageStarted(events.Stage.LOAD))
    hashes = {there: digest(path) for there, path in packed.files.items()}
    identifier = _identifier(packed, hashes)
    _send(host, identifier, packed, hashes, emit)
    return _watched(host, identifier, packed, emit, cancelled, left)


def serve_on(
    host: Mapping[str, Any],
    job: Job | None,
    emit: events.Emit,
    cancelled: events.CancelCheck,
    closed: events.CancelCheck,
) -> JobResult | None:
    """Do ``job`` for the worker on the machine that its request names, or :func:`check` that machine (None).

    A training goes on there when the worker's stdin is ``closed``; a segmentation, which nobody would fetch, does not.

    Raises:
        InputError: the request names no machine; otherwise as :func:`run_on`.
    """
    named = from_json(Host, {**host, "asks": False}, "host")
    if job is None:
        check(named)
        return None
    left = closed if isinstance(job, Training) else events.never
    return run_on(named, job, emit, cancelled, left)


def _identifier(packed: Packed, hashes: Mapping[str, str]) -> str:
    parts = [__version__, packed.shaping, sorted(hashes.items()), sorted(packed.texts.items())]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _send(host: Host, identifier: str, packed: Packed, hashes: Mapping[str, str], emit: events.Emit) -> None:
    """Begin the job there, with the files that are missing, unless it is there already."""
    connection = Connection(host, "receive", identifier)
    try:
        put(
            connection.to,
            {
                **{"version": __version__, "job": packed.job, "files": dict(hashes), "texts": packed.texts},
                "slurm": to_json(host.slurm),
            },
        )
        check_installation(host, take(connection.of))
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
        else:
            emit(events.log(f"This job is on {host.name} already: it is watched."))
        if answer["slurm"] != to_json(host.slurm):
            kept = _named(answer["slurm"])
            emit(events.warning(f"It was begun with other options of Slurm, which it keeps: {kept}."))
    except (BrokenConnection, BrokenPipeError, KeyError) as problem:
        raise connection.failure() from problem
    finally:
        connection.close()


def _watched(
    host: Host,
    identifier: str,
    packed: Packed,
    emit: events.Emit,
    cancelled: events.CancelCheck,
    left: events.CancelCheck,
) -> JobResult:
    """The result of a job that was begun; a broken connection is made anew a few times."""
    seen = _Seen(packed, emit)
    for wait in (*_AGAIN, None):
        lost = seen.watch(Connection(host, "watch", identifier), cancelled, left)
        if lost is None:
            return seen.result()
        if not isinstance(lost, LostConnection):
            raise lost
        if left():
            raise Left(_GOES_ON.format(what=f"The job on {host.name} is not watched any more", stop=_stopping(host)))
        if wait is None or cancelled():
            break
        emit(events.warning(f"The connection to {host.name} is lost. The job goes on there; connecting anew."))
        time.sleep(wait)
    raise LostConnection(_GOES_ON.format(what=f"The connection to {host.name} is lost", stop=_stopping(host)))


def _stopping(host: Host) -> str:
    """How a job is stopped that nobody watches."""
    return f" To stop it, type: ssh {host.name} scancel NUMBER" if host.slurm is not None else ""


def _named(slurm: Mapping[str, Any] | None) -> str:
    """Slurm's options that are no defaults, in words."""
    given = {} if slurm is None else {name: one for name, one in slurm.items() if one not in (None, [])}
    return ", ".join(f"{name} {one}" for name, one in given.items()) or "none"


class _Seen:
    """What has come of a job so far: how many events, and how it ended."""

    def __init__(self, packed: Packed, emit: events.Emit) -> None:
        self._packed, self._emit = packed, emit
        self._events = 0
        self._last: dict[str, Any] = {}
        names = {there: str(path) for there, path in (*packed.outputs.items(), *packed.files.items())}
        self._names = sorted(names.items(), key=lambda name: -len(name[0]))

    def watch(
        self, connection: Connection, cancelled: events.CancelCheck, left: events.CancelCheck
    ) -> ContrastiveSegError | None:
        """Take events and outputs to the end; returns why there is none."""
        arrived: _Arrived = queue.SimpleQueue()
        failed: list[BaseException] = []
        threading.Thread(target=self._read, args=(connection.of, arrived, failed), daemon=True).start()
        try:
            put(connection.to, {"from": self._events})
            ended: Literal["fetched", "left", "broken"] = self._take_all(connection, arrived, cancelled, left)
        except BrokenPipeError:
            ended = "broken"
        finally:
            code = connection.close()
        if ended == "fetched":
            return None
        if ended == "left":
            return LostConnection("left")
        problem = failed[0] if failed else None
        if isinstance(problem, ContrastiveSegError):
            return problem
        if problem is not None and not isinstance(problem, (BrokenConnection, ValueError, OSError)):
            raise problem
        return LostConnection("lost") if was_cut(code) else connection.failure()

    def _read(self, stream: IO[bytes], arrived: _Arrived, failed: list[BaseException]) -> None:
        """Store the files that come, and hand the other messages on, until the stream breaks."""
        try:
            while True:
                message = take(stream)
                if "file" in message:
                    self._store(stream, str(message["file"]), int(message["bytes"]))
                else:
                    arrived.put(message)
        except BaseException as problem:  # told by the other thread
            failed.append(problem)
            arrived.put(None)

    def _take_all(
        self, connection: Connection, arrived: _Arrived, cancelled: events.CancelCheck, left: events.CancelCheck
    ) -> Literal["fetched", "left", "broken"]:
        """Take events until all is here, nobody looks any more, or the connection breaks; ask once to cancel."""
        asked = False
        while True:
            with suppress(queue.Empty):
                message = arrived.get(timeout=_LOOK)
                if message is None:
                    return "broken"
                if message.get("end"):
                    put(connection.to, {"fetched": True})
                    return "fetched"
                self._take(message)
            if left():
                return "left"
            if cancelled() and not asked:
                asked = True
                put(connection.to, {"cancel": True})

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
