"""The other machine's side: takes a job with its files, does it in a process of its own, and gives back what it made.

``contrastiveseg far ACTION ID``, as :mod:`.near` types it over ssh; nothing listens. The process outlives the
connection. Files lie in the user's cache, private, by the SHA-256 of their content, for two weeks after their last
use; a job's folder until its outputs are fetched.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from .. import __version__, claims, events
from ..descriptions import Job
from ..errors import ContrastiveSegError, InputError, system_refusals
from ..files import write_text
from ..printable import printable_trace
from ..results import JobResult
from ..serialization import from_json
from .following import lines
from .frames import BrokenConnection, put, put_file, take, take_file
from .interpreter import command, python_path
from .slurm import NUMBER, Slurm

_KEPT_SECONDS = 14 * 24 * 3600
#: So often it is looked whether the outputs were fetched.
_LOOK = 0.1
_ID, _HASH = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{64}")
_LIBRARIES = ("torch", "monai", "safetensors", "SimpleITK", "nibabel", "pydicom", "scipy")
#: In a job's folder: what it is, what Slurm is asked for, and the folder of its script.
_JOB, _SLURM, _FOLDER = "job.json", "slurm.json", "slurm"
#: In a training's folder, what is not fetched: it serves to go on there.
_STAYS = (".resume", ".lock")


def base() -> Path:
    """The folder for files and jobs in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contrastiveseg" / "far"


def far(action: str, identifier: str) -> int:
    """Do ``action`` for the job ``identifier``; returns the exit code.

    Raises:
        InputError: there is no such action, or no such job.
    """
    if not _ID.fullmatch(identifier) or action not in _ACTIONS:
        raise InputError("This command is for --host, which starts it on the other machine.")
    folder = base() / "jobs" / identifier
    _ACTIONS[action](folder)
    return 0


def _receive(folder: Path) -> None:
    """Take a job: its description, then what is missing of its files; begin it unless it runs or has ended well.

    Without a job it only says what is installed. One that Slurm has is followed again where nobody follows it.
    """
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    request = take(stdin)
    found = {"missing_libraries": _missing_libraries(), "slurm": shutil.which("sbatch") is not None}
    put(stdout, {"version": __version__, **found})
    if request["version"] != __version__ or _missing_libraries() or request["job"] is None:
        return
    store = base() / "files"
    for made in (store, folder.parent):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget_old(store, folder.parent)
    begun = _is_running(folder) or _outcome(folder) == "result"
    used = begun or _has_slurm(folder)
    wanted = {} if used else dict(request["files"])
    if not all(_HASH.fullmatch(digest) and _is_inside(path) for path, digest in wanted.items()):
        raise InputError("The request is damaged. Give the command again.")
    missing = sorted({digest for digest in wanted.values() if not (store / digest).is_file()})
    put(stdout, {"begun": begun, "missing": missing, "slurm": _read(folder / _SLURM) if used else request["slurm"]})
    for _ in missing:
        header = take(stdin)
        _keep(store, str(header["sha256"]), int(header["bytes"]), stdin)
    if not used:
        _place(folder, request, store)
    if not begun:
        _begin(folder)
        put(stdout, {"begun": True})


def _place(folder: Path, request: Mapping[str, Any], store: Path) -> None:
    """Lay out the files of a request, and what it asks for."""
    shutil.rmtree(folder / "in", ignore_errors=True)
    for path, digest in request["files"].items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.utime(store / digest)
        _link(store / digest, folder / path)
    for path, text in request["texts"].items():
        if not _is_inside(path):
            raise InputError("The request is damaged. Give the command again.")
        write_text(folder / path, text)
    write_text(folder / _JOB, json.dumps(request["job"]))
    write_text(folder / _SLURM, json.dumps(request["slurm"]))


def _begin(folder: Path) -> None:
    """Start the process that does the job; its lock tells that it lives."""
    (folder / "events.jsonl").write_bytes(b"")
    lock = os.open(folder / "running", os.O_RDWR | os.O_CREAT, 0o600)
    if not claims.lock(lock):
        raise InputError("The job runs already. Give the command again to watch it.")
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command(["far", "do", folder.name]),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock],
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": python_path()},
        )
    os.ftruncate(lock, 0)
    os.write(lock, str(process.pid).encode())
    os.close(lock)


def _do(folder: Path) -> None:
    """The process that does the job, or has Slurm do it and follows it; its paths are relative to ``folder``."""
    from ..jobs.interrupt import interruptible
    from ..jobs.worker import job_from

    os.chdir(folder)
    stop = threading.Event()
    with open("events.jsonl", "a", encoding="utf-8") as log:

        def emit(event: events.Event) -> None:
            log.write(json.dumps(events.to_json(event)) + "\n")
            log.flush()

        try:
            with interruptible(stop.set), system_refusals():
                emit(events.Result(_done(job_from(_read(Path(_JOB))), emit, stop.is_set)))
        except ContrastiveSegError as problem:
            emit(events.Error(str(problem), problem.exit_code))
        except BaseException as problem:
            print(printable_trace(), file=sys.stderr)
            emit(events.Error(f"Unexpected {type(problem).__name__}: {problem}.", 1))


def _done(job: Job, emit: events.Emit, cancelled: events.CancelCheck) -> JobResult:
    """The result of ``job``, whose folder is the current one."""
    asked = _read(Path(_SLURM))
    if asked is None:
        from ..jobs.run import run

        return run(job, emit, cancelled)
    from .submitted import submit_and_follow

    slurm = from_json(Slurm, asked)
    return submit_and_follow(slurm, job, emit, cancelled, folder=Path(_FOLDER).absolute(), stops=True)


def _watch(folder: Path) -> None:
    """Give events from the one that stdin names, then the outputs; "cancel" on stdin stops the job."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    if not folder.is_dir():
        raise InputError("There is no such job here. Start it anew.")
    start = int(take(stdin)["from"])
    fetched = threading.Event()
    gone = threading.Event()

    def listen() -> None:
        with suppress(BrokenConnection):
            while True:
                message = take(stdin)
                if message.get("cancel"):
                    _cancel(folder)
                if message.get("fetched"):
                    fetched.set()
        gone.set()

    threading.Thread(target=listen, daemon=True).start()
    _follow(folder, start, lambda event: put(stdout, event), gone)
    if gone.is_set():
        return
    made = [] if _has_slurm(folder) else (folder / "out").glob("*/*")
    for path in sorted(made):
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(_STAYS):
            put_file(stdout, path, file=path.relative_to(folder).as_posix())
    put(stdout, {"end": True})
    while not fetched.wait(_LOOK) and not gone.is_set():
        pass
    if fetched.is_set() and not _has_slurm(folder) and not any((folder / "out").glob("*/*.resume")):
        shutil.rmtree(folder, ignore_errors=True)


def _follow(folder: Path, start: int, give: Callable[[Any], None], gone: threading.Event) -> None:
    """``give`` the events of the job from number ``start`` to its end."""
    for number, line in enumerate(lines(folder / "events.jsonl", lambda: _is_running(folder), gone.is_set)):
        if number >= start:
            give(json.loads(line))
    if not gone.is_set() and not _outcome(folder):
        tail = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        what = f"The process ended there unexpectedly. {''.join(tail)}"
        if _has_slurm(folder):
            what = "What follows the job there has ended. Slurm has the job still: start it again to watch it."
        give(events.to_json(events.Error(what, 1)))


def _cancel(folder: Path) -> None:
    with suppress(OSError, ValueError):
        if _is_running(folder):
            os.kill(int((folder / "running").read_text()), signal.SIGINT)


def _is_running(folder: Path) -> bool:
    return (folder / "running").exists() and claims.is_locked(folder / "running")


def _has_slurm(folder: Path) -> bool:
    """Whether Slurm has the job, as far as is known: its end was not seen."""
    return (folder / _FOLDER / NUMBER).is_file()


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _outcome(folder: Path) -> str:
    """The kind of the job's last event where it has ended, else ""."""
    with suppress(OSError, ValueError, IndexError):
        kind = json.loads((folder / "events.jsonl").read_bytes().splitlines()[-1])["event"]
        return kind if kind in ("result", "error") else ""
    return ""


def _keep(store: Path, digest: str, size: int, stdin: IO[bytes]) -> None:
    """Put the next file into the store, if it is what its name says."""
    handle, name = tempfile.mkstemp(dir=store, prefix=".")
    os.close(handle)
    try:
        if take_file(stdin, size, Path(name)) != digest or not _HASH.fullmatch(digest):
            raise InputError("A file arrived damaged, or has changed while it was sent. Start again.")
        os.replace(name, store / digest)
    finally:
        Path(name).unlink(missing_ok=True)


def _link(file: Path, path: Path) -> None:
    try:
        os.link(file, path)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, path)


def _is_inside(path: str) -> bool:
    parts = path.split("/")
    return len(parts) > 1 and parts[0] == "in" and not {"", ".", ".."} & set(parts) and "\0" not in path


def _forget_old(store: Path, jobs: Path) -> None:
    """Remove files and jobs that were not used for long."""
    for path in (*store.iterdir(), *jobs.iterdir()):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime < _KEPT_SECONDS or _is_running(path):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _missing_libraries() -> list[str]:
    return [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]


_ACTIONS: dict[str, Callable[[Path], None]] = {"receive": _receive, "do": _do, "watch": _watch}
