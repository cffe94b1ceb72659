"""The terminal: the same jobs as panel and batch, described on the command line."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

from . import events
from .arguments import ELSEWHERE, parsed
from .command_line import option_flag
from .descriptions import JOBS, Job
from .errors import Cancelled, ContrastiveSegError, InputError, system_refusals
from .garbage import not_searched_at_exit
from .parameters import ParameterError, parameters_of
from .printable import printable, printable_trace
from .reference import described_methods, listed_methods, of_package
from .remote.slurm import Slurm
from .results import ImportResult, JobResult
from .serialization import from_json
from .terminal import say_begun, watcher

T = TypeVar("T")

#: Does a job, as :func:`.jobs.run.run`.
RunJob = Callable[[Job, events.Emit, events.CancelCheck], JobResult]


def main(arguments: Sequence[str] | None = None, run: RunJob | None = None) -> int:
    """Run the command line; returns the exit code (0, 1, 2, 3 or 130).

    Args:
        run: does the jobs in place of :func:`.jobs.run.run`, for a caller with more kinds of output.
    """
    _open_closed_streams()
    not_searched_at_exit()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the terminal's encoding lacks is shown as \u....
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if arguments is None else arguments
    given, typed = parsed(words)
    command, as_json = given.pop("command"), given.pop("json", False)
    try:
        with system_refusals():
            code = _do(command, given, typed, as_json, run)
        with _whatever_the_log():
            print(end="", flush=True)  # here a closed pipe can still be caught
        return code
    except ContrastiveSegError as problem:
        print(printable(f"contrastiveseg {command}: {problem}"), file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        return Cancelled.exit_code
    except BrokenPipeError:  # who reads has seen enough, as head has; what is left goes nowhere
        _discard_what_is_left(sys.stdout)
        return 1
    finally:
        # A full disk must not turn what went well into a failure while Python ends.
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                _discard_what_is_left(stream)


def _open_closed_streams() -> None:
    """Let streams that were closed lead nowhere: files opened later would take their numbers, and what is printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8"))


def _discard_what_is_left(stream: TextIO) -> None:
    with suppress(OSError, ValueError):  # the latter without a file behind it
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _do(command: str, given: dict[str, Any], typed: Mapping[str, str], as_json: bool, run: RunJob | None) -> int:
    if command not in JOBS:
        return _OTHERS[command](**given)
    elsewhere = _elsewhere(given, typed) if command in ELSEWHERE else None
    if elsewhere is None:
        from .jobs.run import run as run_here

        elsewhere = _asking_for_license(run or run_here)
    return _run(lambda: _described(JOBS[command], command, given, typed), as_json, elsewhere)


def _elsewhere(given: dict[str, Any], typed: Mapping[str, str]) -> RunJob | None:
    """What does a job that another machine or Slurm is to do, None for one that is done here; takes its options out of
    those ``given``.
    """
    host, host_command = given.pop("host", None), given.pop("host_command", None)
    submit = given.pop("submit", False)
    asked = {one.name: given.pop(one.name) for one in parameters_of(Slurm) if one.name in given}
    if asked and not submit:
        raise InputError(f"--{next(iter(asked))} is for Slurm, and goes with --submit.")
    slurm = _described(Slurm, "submit", asked, typed) if submit else None
    if host is not None or host_command is not None:
        from .remote.near import Host, run_on

        there = Host(host or "", host_command or Host.command, slurm=slurm)
        if slurm is None:
            return partial(run_on, there)
        return lambda job, emit, cancelled: run_on(there, job, emit, events.never, cancelled)
    if slurm is None:
        return None
    from .remote.submitted import submit_and_follow

    return lambda job, emit, cancelled: submit_and_follow(slurm, job, emit, cancelled)


def _asking_for_license(run: RunJob) -> RunJob:
    """``run``, and for imported weights without one the question for their license, where somebody can answer it."""

    def run_and_ask(job: Job, emit: events.Emit, cancelled: events.CancelCheck) -> JobResult:
        from .checkpoints.licensing import note_license

        result = run(job, emit, cancelled)
        if not isinstance(result, ImportResult) or result.license or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return result
        try:
            license = input("License of the weights, as CC-BY-NC-4.0 (nothing if it is not known): ")
        except EOFError:
            return result
        note_license(Path(result.checkpoint), license)
        return replace(result, license=license)

    return run_and_ask


def _described(kind: type[T], name: str, given: dict[str, Any], typed: Mapping[str, str]) -> T:
    """The job, or what else the options ``given`` describe; one that it refuses is called as it was ``typed``."""
    try:
        return from_json(kind, given, name)
    except ParameterError as refused:
        option = refused.name.removeprefix(f"{name}.")
        flags = {one.name: option_flag(one) for one in parameters_of(kind)}
        flag = flags.get(option, "--" + option.replace("_", "-"))
        raise InputError(f"{typed.get(flag, flag)} {refused.rule}") from refused


def _run(make_job: Callable[[], Job], as_json: bool, run: RunJob) -> int:
    from .jobs.interrupt import interruptible

    stop = threading.Event()
    emit = _going_on(watcher(as_json), stop)
    if os.environ.get("RANK", "0") != "0" and "WORLD_SIZE" in os.environ:
        emit = _errors_of(emit)
    try:
        with interruptible(stop.set), system_refusals():
            value = run(make_job(), emit, stop.is_set)
        emit(events.Result(value))
        return 3 if getattr(value, "failures", ()) else 0
    except ContrastiveSegError as problem:
        emit(events.Error(str(problem), problem.exit_code))
        return problem.exit_code
    except BrokenPipeError:
        raise
    except Exception as problem:  # a fault of ours; who reports it needs the trace, who watches the events an end
        print(printable_trace(), file=sys.stderr)
        emit(events.Error(f"Unexpected {type(problem).__name__}: {problem}.", 1))
        return 1


def _going_on(emit: events.Emit, stop: threading.Event) -> events.Emit:
    """``emit`` that breaks off no job where its words cannot be written: the log's disk is full, the terminal closed.

    A closed pipe asks it to ``stop`` and keep what it has: whoever read it wants no more, or Ctrl+C has ended tee, too.
    """

    def told(event: events.Event) -> None:
        try:
            with _whatever_the_log():
                emit(event)
        except BrokenPipeError:
            stop.set()

    return told


@contextmanager
def _whatever_the_log() -> Iterator[None]:
    """Inside, what cannot be printed is let go, but for a closed pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        pass


def _errors_of(emit: events.Emit) -> events.Emit:
    """Of the processes that torchrun starts the first speaks; the others tell what went wrong with them."""
    return lambda event: emit(event) if isinstance(event, events.Error) else None


def _inspect(checkpoint: str) -> int:
    from .checkpoints.describe import describe
    from .checkpoints.header import read_card
    from .checkpoints.starters import checkpoint_path

    print(describe(read_card(checkpoint_path(checkpoint))))
    return 0


def _worker(low_priority: bool) -> int:
    from .jobs.worker import give_way, lead_own_group, work

    lead_own_group()
    if low_priority:
        give_way()
    # What libraries print, from Python or from C, must not get between the events: stdout is ours alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if isinstance(sys.stdin, io.TextIOWrapper):  # bytes that are no UTF-8 make a request bad, and no end of hearing
        sys.stdin.reconfigure(encoding="utf-8", errors="backslashreplace")

    def on_host(*given: Any) -> Any:
        from .remote.near import serve_on

        return serve_on(*given)

    return work(sys.stdin, answers, on_host)


def _methods(name: str | None, as_json: bool) -> int:
    from .jobs.queries import methods

    _say_loading()
    known = methods()
    chosen = [method for method in known if name in (None, method["name"])]
    if not chosen:
        names = ", ".join(sorted({method["name"] for method in known}))
        raise InputError(f"There is no method {name!r}. There are: {names}.")
    if as_json:
        print(json.dumps(chosen, indent=2))
    else:
        print(described_methods(chosen) if name else listed_methods(chosen), end="")
    return 0


def _say_loading() -> None:
    """What only lists has no events; who waits for it at a terminal is told why."""
    if sys.stderr.isatty():
        say_begun(events.StageStarted(events.Stage.IMPORT))


def _networks() -> int:
    from .jobs.queries import networks

    _say_loading()
    for network in networks():
        print(f"--network {network['name']}{of_package(network)}: {network['description']}")
    return 0


def _sample_data(output: str, cases: int, labeled: int | None, seed: int) -> int:
    from .api import sample_data

    sample_data(output, cases, labeled, seed, progress=True)
    print(f"{cases} synthetic {'volume' if cases == 1 else 'volumes'} in {output}")
    return 0


def _far(action: str, identifier: str) -> int:
    from .remote.far import far

    return far(action, identifier)


_OTHERS: dict[str, Callable[..., int]] = {
    "far": _far,
    "inspect": _inspect,
    "worker": _worker,
    "methods": _methods,
    "networks": _networks,
    "sample-data": _sample_data,
}
