"""Native readers in a process of their own: a file on which they crash, hang or take all memory costs that file alone.

The process is started by the first such file and kept, so that a further one pays for handing over its voxels only.
It gets one JSON line a call on its stdin, and answers with one on its stdout and the array's bytes behind it. It ends
when its stdin closes.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

#: What a function that is called returns: JSON, and an array or None.
Answer = tuple[Any, np.ndarray | None]

#: Seconds that a call may take: for any file, and more for each byte of its voxels. Slow disks read 2 MB a second.
SECONDS, BYTES_A_SECOND = 60.0, 2e6
#: Memory of a call besides its voxels, which a reader holds packed, unpacked, and as an array of ours.
MEMORY, COPIES = 1 << 30, 5
#: Nothing is imported before the path is set: files that happen to lie in the current folder are no modules of ours.
_PROGRAM = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import serve; serve()"
#: Processes kept for further calls; more than one where several threads read.
_KEPT = 8

_idle: list[_Reader] = []
_lock = threading.Lock()


def read_apart(path: Path, function: str, voxel_bytes: int, arguments: dict[str, Any]) -> Answer:
    """``function(**arguments)``, called in a process of its own.

    Args:
        path: what is read, for messages. function: "MODULE:NAME"; its ``arguments`` are JSON.
        voxel_bytes: of the voxels that are to be read, from which follows how much memory and time there is.

    Raises:
        InputError: the function's own; or the process crashed, or needed more time or memory than there is.
    """
    program = _python()
    if program is None:
        return _call(function, arguments)
    reader = _idle_reader() or _Reader(program)
    seconds = SECONDS + voxel_bytes / BYTES_A_SECOND
    request = {
        "path": str(path),
        "function": function,
        "arguments": arguments,
        "memory": MEMORY + COPIES * voxel_bytes,
        "seconds": seconds,
    }
    try:
        return reader.ask(path, request, seconds)
    finally:
        _keep(reader)


def start_reader() -> None:
    """Start a process, if there is none, that loads its libraries while other work is done."""
    program = _python()
    if program is not None and not _idle:
        _keep(_Reader(program))


class _Reader:
    """One process, and the calls to it, one after the other."""

    def __init__(self, program: str) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [program, "-c", _PROGRAM, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries quote headers there, with whatever is in them
        )

    def ask(self, path: Path, request: dict[str, Any], seconds: float) -> Answer:
        """The answer to ``request``, which is about the file ``path``; the process is killed after ``seconds``.

        Raises:
            InputError: the process ended, by itself or killed, before it had answered.
        """
        assert self.process.stdin is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        answered = False
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            answer = self._answer()
            answered = True
        except (OSError, EOFError) as problem:
            raise InputError(f"{path} {_end_in_words(self.process.wait(), late.is_set(), seconds)}") from problem
        finally:
            timer.cancel()
            if not answered:
                self.close()
        if "refused" in answer[0]:
            raise InputError(str(answer[0]["refused"]))
        return answer[0]["value"], answer[1]

    def _answer(self) -> Answer:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        told = json.loads(line)
        if "shape" not in told:
            return told, None
        array = np.empty(told["shape"], told["dtype"])
        memory = array.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(memory):
            count = self.process.stdout.readinto(memory[done:])  # type: ignore[attr-defined]
            if not count:
                raise EOFError
            done += count
        return told, array

    def close(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was written to a dead process
                pipe.close()  # type: ignore[union-attr]
        self.process.wait()


def _idle_reader() -> _Reader | None:
    with _lock:
        while _idle:
            reader = _idle.pop()
            # A process forked from this one must not answer to the same pipes.
            if reader.owner == os.getpid() and reader.process.poll() is None:
                return reader
    return None


def _keep(reader: _Reader) -> None:
    """For a further call, if it lives and there are not enough."""
    if reader.process.poll() is not None:
        return
    with _lock:
        if len(_idle) < _KEPT:
            _idle.append(reader)
            return
    reader.close()


def _python() -> str | None:
    """The interpreter to start; None inside a program that is none and has none beside it."""
    if "python" in Path(sys.executable or "").name.lower():
        return sys.executable
    return shutil.which("PythonSlicer")


def _end_in_words(code: int, late: bool, seconds: float) -> str:
    again = "It is damaged, or not what its name says: convert it anew with the program that made it."
    if late or code == -getattr(signal, "SIGXCPU", 24):
        return f"could not be read within {seconds:.0f} s. {again}"
    if code == -getattr(signal, "SIGKILL", 9):
        return "could not be read: the reader was stopped, as the memory did not suffice. Free some, or crop it."
    return f"made its reader crash (exit code {code}). {again}"


def serve() -> None:
    """Answer calls until stdin ends, as it does with the process that started this one."""
    answers = os.fdopen(os.dup(1), "wb")
    # What native code prints must not get between the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError):  # Windows has none
        import resource

        # What is left of a crash would hold a patient's image.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    importlib.import_module(f"{__package__}.native")
    for line in sys.stdin.buffer:
        told, array = _done(json.loads(line))
        answers.write(json.dumps(told).encode() + b"\n")
        if array is not None:
            answers.write(array.data)
        answers.flush()


def _done(request: dict[str, Any]) -> Answer:
    try:
        with _limited(request["memory"], request["seconds"]):
            value, array = _call(request["function"], request["arguments"])
    except InputError as problem:
        return {"refused": str(problem)}, None
    except MemoryError:
        return {"refused": f"{request['path']} needs more memory than its header says. It may be damaged."}, None
    except Exception as problem:  # whatever a library meets in a damaged file
        return {"refused": f"{request['path']} cannot be read: {type(problem).__name__}: {problem}."}, None
    if array is None:
        return {"value": value}, None
    array = np.ascontiguousarray(array)
    return {"value": value, "shape": array.shape, "dtype": array.dtype.str}, array


def _call(function: str, arguments: dict[str, Any]) -> Answer:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)


@contextlib.contextmanager
def _limited(memory: int, seconds: float) -> Iterator[None]:
    """Limits of this process while inside: addresses where the system tells how many are in use, and computing time.

    The latter ends a process whose reading hangs after the one that started it was killed.
    """
    try:
        import resource
    except ImportError:  # Windows has none
        yield
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits = {resource.RLIMIT_CPU: math.ceil(used.ru_utime + used.ru_stime + seconds) + 1}
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        limits[resource.RLIMIT_AS] = int(file.read().split()[0]) * resource.getpagesize() + memory
    before = {kind: resource.getrlimit(kind) for kind in limits}
    try:
        for kind, most in limits.items():
            hard = before[kind][1]
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
        yield
    finally:
        for kind, limit in before.items():
            resource.setrlimit(kind, limit)
