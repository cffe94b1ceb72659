"""Cases of fuzzing: one changed file each, read by what reads it, and what must hold of that.

All of a case follows from the seed and its number. Cases run in children, which are forked from a process that has
loaded the libraries; a child that a case ends or holds up costs that case alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets import TARGETS, Target, Unsound

from contrastiveseg.errors import ContrastiveSegError
from contrastiveseg.volumes import reader_process

#: Seconds of computing, whatever else the machine does, and bytes of memory that a case may take.
SECONDS, MEMORY = 10, 3 << 29
#: A child from which nothing is heard for so many seconds waits for ever, or hangs in native code.
_SILENT_SECONDS = 120.0
#: The longest text of an error: one that quotes a whole file helps nobody.
_LONGEST = 2000


@dataclass(frozen=True)
class Fault:
    """What was wrong with a case."""

    number: int
    target: str
    what: str


class _Late(BaseException):
    """A case took too long."""


class Trials:
    """The samples in a folder of its own, and the cases of ``seed`` tried on them.

    Attributes:
        refused: how many cases were refused.
    """

    def __init__(self, folder: Path, seed: int, only: str = "") -> None:
        self.seed, self.refused = seed, 0
        self._folder, self._only = folder, only
        self._made: dict[str, dict[Path, bytes]] = {}
        self._right: dict[Path, Any] = {}

    def target(self, number: int) -> tuple[Target, random.Random]:
        """The target of a case, and its source of randomness."""
        chance = random.Random(f"{self.seed} {number}")
        known = [target for target in TARGETS if self._only in target.name]
        return chance.choices(known, [target.share for target in known])[0], chance

    def case(self, number: int) -> tuple[Path, bytes]:
        """The file that a case changes, and its new content; its samples lie in their folder."""
        target, chance = self.target(number)
        before = self._samples(target)
        matching = {path for pattern in target.changed for path in self._place(target).glob(pattern)}
        file = chance.choice(sorted(path for path in matching if path in before))
        return file, target.mutation(chance, before[file])

    def run(self, number: int) -> None:
        """Try a case.

        Raises:
            Unsound: it did not end as it must. Whatever else is raised is a fault, too.
        """
        target, _ = self.target(number)
        file, content = self.case(number)
        before, folder = self._samples(target), self._place(target)
        if target.exact and file not in self._right:
            self._right[file] = target.read(folder, file)
            self._restore(target)
        file.write_bytes(content)
        try:
            self._read(target, file, content, before[file])
            if not target.writes:
                self._check_unchanged(folder, before, file, content)
        finally:
            self._restore(target)

    def _read(self, target: Target, file: Path, content: bytes, original: bytes) -> None:
        try:
            with _limits():
                answer = target.read(self._place(target), file)
        except ContrastiveSegError as refusal:
            self.refused += 1
            if not str(refusal).strip() or len(str(refusal)) > _LONGEST:
                raise Unsound(f"a refusal of {len(str(refusal))} characters: {str(refusal)[:200]}") from refusal
            return
        if target.exact and answer != self._right[file]:
            raise Unsound("read otherwise than the unchanged file")
        shorter = len(content) < len(original.rstrip(b"\r\n")) and original.startswith(content)
        if target.whole and shorter:
            raise Unsound(f"{file.name} was read, though it is cut to {len(content)} of {len(original)} bytes")

    def _place(self, target: Target) -> Path:
        return self._folder / target.make.__name__.strip("_")

    def _samples(self, target: Target) -> dict[Path, bytes]:
        """The files of a target by their paths; made when first asked for."""
        folder = self._place(target)
        if folder.name not in self._made:
            folder.mkdir()
            target.make(folder)
            self._made[folder.name] = {path: path.read_bytes() for path in _files(folder)}
        return self._made[folder.name]

    def _check_unchanged(self, folder: Path, before: dict[Path, bytes], file: Path, content: bytes) -> None:
        if file.read_bytes() != content:
            raise Unsound(f"{file.name} was changed by reading it")
        if {*_files(folder)} != before.keys():
            raise Unsound(f"files were made or removed: {sorted({*_files(folder)} ^ before.keys())}")

    def _restore(self, target: Target) -> None:
        before = self._samples(target)
        for path in _files(self._place(target)):
            if path not in before:
                path.unlink()
        for path, content in before.items():
            if not path.exists() or path.stat().st_size != len(content) or path.read_bytes() != content:
                path.write_bytes(content)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """Of time and memory, for what runs inside."""

    def late(number: int, frame: types.FrameType | None) -> None:
        raise _Late

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def try_cases(numbers: list[int], seed: int, only: str, processes: int) -> tuple[list[Fault], int]:
    """Try the cases with these ``numbers`` in so many children at a time; returns the faults, and how many cases were
    refused."""
    waiting = [numbers[n::processes] for n in range(processes)]
    living = [_Child(own, seed, only) for own in waiting if own]
    faults: list[Fault] = []
    refused = 0
    while living:
        ready, _, _ = select.select([child.told for child in living], [], [], _SILENT_SECONDS)
        for child in [*living]:
            if child.told in ready or not ready:
                child.hear(silent=not ready)
            if child.ended:
                living.remove(child)
                faults += child.faults
                refused += child.refused
                if child.left:
                    living.append(_Child(child.left, seed, only))
    return sorted(faults, key=lambda fault: fault.number), refused


class _Child:
    """A process that tries cases and tells of each."""

    def __init__(self, numbers: list[int], seed: int, only: str) -> None:
        self.faults: list[Fault] = []
        self.left, self.refused, self.ended = numbers, 0, False
        self._seed, self._only, self._rest = seed, only, b""
        self.told, telling = os.pipe()
        sys.stdout.flush()
        self._id = os.fork()
        if self._id == 0:
            os.close(self.told)
            _become(numbers, seed, only, telling)
        os.close(telling)

    def hear(self, silent: bool) -> None:
        """Take what it tells; end it where it is ``silent``."""
        if silent:
            os.kill(self._id, signal.SIGKILL)
        heard = os.read(self.told, 1 << 16)
        *lines, self._rest = (self._rest + heard).split(b"\n")
        for line in lines:
            refused, what = json.loads(line)
            number, *self.left = self.left
            self.refused += refused
            if what:
                self._add(number, what)
        if heard:
            return
        _, status = os.waitpid(self._id, 0)
        os.close(self.told)
        self.ended = True
        if self.left:
            number, *self.left = self.left
            code = os.waitstatus_to_exitcode(status)
            self._add(number, "hung, and was killed" if silent else f"ended its process with {code}")

    def _add(self, number: int, what: str) -> None:
        target, _ = Trials(Path(), self._seed, self._only).target(number)
        self.faults.append(Fault(number, target.name, what))


def _become(numbers: list[int], seed: int, only: str, telling: int) -> None:
    """The rest of a child's life: a line for each case, whether it was refused, and what was wrong or ""."""
    reader_process.SECONDS = SECONDS / 2
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        # What a changed job names must not be found here.
        (scratch / "empty").mkdir()
        os.chdir(scratch / "empty")
        trials = Trials(scratch, seed, only)
        for number in numbers:
            before, what = trials.refused, ""
            try:
                trials.run(number)
            except Unsound as unsound:
                what = str(unsound)
            except _Late:
                what = f"took more than {SECONDS} s of computing"
            except BaseException:
                what = traceback.format_exc(limit=-4)
            os.write(telling, json.dumps([trials.refused - before, what[-3000:]]).encode() + b"\n")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(0)
