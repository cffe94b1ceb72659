"""Slurm: what a batch script says, submitting it, in which state its job is, and stopping it. Light to import.

Commands and states: the manual pages of sbatch, squeue, sacct and scancel (https://slurm.schedmd.com).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import events
from ..errors import InputError
from ..parameters import ParameterError, Parameters, parameter

#: So often Slurm is asked for a job's state, in seconds.
_ASK = 5.0
#: What following a job relies on; none of it is for the user to change.
_OURS = ("array", "chdir", "error", "open-mode", "output", "parsable", "wait", "wrap")
#: States that a job does not leave; one that is put into the queue again leaves the others.
_ENDED = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
)
#: The state of a job that Slurm no longer knows.
UNKNOWN = "unknown"
#: In the folder of a job's script and log, the file that holds its number until its end was told.
NUMBER = "number"
#: So many seconds before its time limit a job is asked to stop and keep what it has.
_NOTICE = 60


@dataclass(frozen=True, kw_only=True)
class Slurm(Parameters):
    """What a job asks of Slurm."""

    partition: str | None = parameter(None, help="partition, else the cluster's default", placeholder="NAME")
    time: str | None = parameter(
        None, help="time limit, as 90 (minutes), 2:00:00 or 1-12:00:00", placeholder="DURATION"
    )
    gpus: int = parameter(1, help="GPUs; each gets a process of its own", at_least=0, at_most=1024)
    account: str | None = parameter(None, help="account that the job is charged to", placeholder="NAME")
    sbatch: tuple[str, ...] = parameter(
        (), help="more options of sbatch, without dashes, as mem=32G cpus-per-task=8", placeholder="OPTION"
    )
    setup: tuple[str, ...] = parameter(
        (), help="lines of shell that come before the job, as 'module load cuda'", placeholder="LINE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time is not None and not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", self.time):
            raise ParameterError("time", f"must be a duration as 90, 2:00:00 or 1-12:00:00, not {self.time}.")
        for name in ("partition", "account"):
            if not re.fullmatch(r"[\w.,:@+/-]*", getattr(self, name) or ""):
                raise ParameterError(name, f"cannot be called {getattr(self, name)!r}.")
        for option in self.sbatch:
            known = re.fullmatch(r"(?:--)?([a-z][a-z-]*)(=[^\n]+)?", option)
            if not known:
                raise ParameterError("sbatch", f"takes options as mem=32G, not {option!r}.")
            if known[1] in _OURS:
                raise ParameterError("sbatch", f"cannot take {known[1]}: it is needed to follow the job.")
        if any("\n" in line for line in self.setup):
            raise ParameterError("setup", "takes single lines. Give several, or put them into a script.")

    def script(self, name: str, folder: Path, log: Path, lines: Sequence[str]) -> str:
        """The batch script of a job ``name`` that runs ``lines`` in ``folder`` and writes to ``log``.

        Raises:
            InputError: a path has a line break in it.
        """
        options = {
            "job-name": name,
            "output": str(log).replace("%", "%%"),
            "open-mode": "append",
            "chdir": str(folder),
            "signal": f"B:INT@{_NOTICE}",
            **{key: given for key in ("partition", "time", "account") if (given := getattr(self, key))},
            **({"gpus": str(self.gpus)} if self.gpus else {}),
        }
        said = [f"--{key}={shlex.quote(value)}" for key, value in options.items()]
        said += ["--requeue", *(f"--{option.removeprefix('--')}" for option in self.sbatch)]
        if newline := next((option for option in said if "\n" in option), ""):
            raise InputError(f"A batch script cannot hold the line break in {newline!r}. Give the path another name.")
        return "\n".join(["#!/bin/bash", *(f"#SBATCH {option}" for option in said), *self.setup, *lines]) + "\n"


def submit(script: Path) -> str:
    """Submit the batch script; returns the job's number, with ";CLUSTER" behind it where there are several.

    Raises:
        InputError: there is no Slurm, or it refuses the job.
    """
    done = _asked("sbatch", "--parsable", str(script))
    number = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode or not re.fullmatch(r"\d+(;[\w.-]+)?", number):
        said = done.stderr.strip() or done.stdout.strip() or f"it ends with {done.returncode}"
        none = ". --gpus 0 asks for no GPU." if re.search("gres|gpu|tres", said, re.IGNORECASE) else ""
        raise InputError(f"Slurm does not take the job: {said}{none}")
    return number


def stop(job: str) -> None:
    """Take a job that waits out of the queue, and ask one that runs to stop and keep what it has.

    Raises:
        InputError: there is no Slurm.
    """
    number = job.partition(";")[0]
    for how in (["--state=PENDING"], ["--batch", "--signal=INT"]):
        _asked("scancel", "--quiet", *_of_cluster(job), *how, number)


def state(job: str) -> tuple[str, str]:
    """State of a job as Slurm calls it, and its reason; :data:`UNKNOWN` for one that Slurm has forgotten, "" where it
    does not answer.

    Raises:
        InputError: there is no Slurm.
    """
    number = job.partition(";")[0]
    done = _asked("squeue", *_of_cluster(job), "--noheader", "--states=all", "--format=%T %r", "--jobs", number)
    if words := done.stdout.split(maxsplit=1):
        return words[0], words[1].strip() if len(words) > 1 else ""
    if done.returncode and "invalid job id" not in done.stderr.lower():
        return "", done.stderr.strip()
    try:
        done = _asked(
            "sacct", *_of_cluster(job), "--noheader", "--allocations", "--parsable2", "--format=State", "--jobs", number
        )
    except InputError:  # a cluster without accounting
        return UNKNOWN, ""
    # A cancelled job is "CANCELLED by 1000".
    words = done.stdout.split()
    return (words[0], "") if words else (UNKNOWN, "")


def _of_cluster(job: str) -> list[str]:
    cluster = job.partition(";")[2]
    return [f"--clusters={cluster}"] if cluster else []


def _asked(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as problem:
        raise InputError(
            f"There is no {words[0]} on this machine: --submit is for one from which jobs go to Slurm. Log in there."
        ) from problem


class Watch:
    """The state of a job, asked for now and then, and told where it changes."""

    def __init__(self, job: str, emit: events.Emit) -> None:
        self.job, self.state = job, ""
        self._emit, self._unanswered = emit, ""
        self._told: set[tuple[str, str]] = set()
        self._asked = self._ended = -float("inf")

    def is_active(self) -> bool:
        """Whether the job waits, runs, or may do so: Slurm does not answer."""
        now = time.monotonic()
        if self.state not in (*_ENDED, UNKNOWN) and now - self._asked >= _ASK:
            self._asked = now
            self._take(*state(self.job))
            self._ended = now
        return self.state not in (*_ENDED, UNKNOWN)

    @property
    def seconds_ended(self) -> float:
        """How long ago the job was seen to have ended."""
        return time.monotonic() - self._ended

    def _take(self, state: str, reason: str) -> None:
        if not state and reason != self._unanswered:
            self._unanswered = reason
            self._emit(events.warning(f"Slurm does not answer, and is asked again: {reason}"))
        elif state:
            if state != self.state:
                self._told.clear()
            self.state = state
            # Why a job waits is known a while after it was submitted, and changes.
            if (new := (state, "" if reason == "None" else reason)) not in self._told:
                self._told.add(new)
                why = f" ({new[1]})" if new[1] else ""
                self._emit(events.log(f"Slurm: job {self.job.partition(';')[0]} is {state.lower()}{why}."))
