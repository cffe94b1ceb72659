"""The terminal: the same jobs as panel and batch, described on the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import threading
import traceback
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import __version__, events
from .descriptions import JOBS, Job
from .errors import Cancelled, ContrastiveSegError, InputError, system_refusals
from .serialization import from_json, key_value
from .terminal import watcher

#: What to type after options that take words but no path.
_METAVARS = {"method": "NAME", "network": "NAME", "device": "NAME", "license": "NAME", "validation": "WHICH"}
_REQUESTS = (
    'A request is {"id": "1", "job": {"kind": "segment", "checkpoint": "...", ...}}, with the options of that command, '
    'a question like {"id": "2", "query": "methods"} or "devices", or {"cancel": "1"}. Closing stdin cancels what '
    "runs or waits, so keep it open until the results are there."
)


#: Does a job, as :func:`.jobs.run.run`.
Run = Callable[[Job, events.Emit, events.Cancelled], dict[str, Any]]


def main(arguments: Sequence[str] | None = None, run: Run | None = None) -> int:
    """Run the command line; returns the exit code (0, 1, 2, 3 or 130).

    Args:
        run: does the jobs in place of :func:`.jobs.run.run`, for a caller with more kinds of output.
    """
    given = vars(_parser().parse_args(arguments))
    command, as_json = given.pop("command"), given.pop("json", False)
    try:
        with system_refusals():
            code = _do(command, given, as_json, run)
            print(end="", flush=True)  # here a closed pipe can still be caught
        return code
    except ContrastiveSegError as problem:
        print(f"contrastiveseg {command}: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        return Cancelled.exit_code
    except BrokenPipeError:  # who reads has seen enough, as head has; what is left goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _do(command: str, given: dict[str, Any], as_json: bool, run: Run | None) -> int:
    if command not in JOBS:
        return _OTHERS[command](**given)
    from .jobs.run import run as run_here

    return _run(from_json(JOBS[command], given, command), as_json, run or run_here)


def _run(job: Job, as_json: bool, run: Run) -> int:
    from .jobs.interrupt import interruptible

    stop = threading.Event()
    emit = watcher(as_json)
    if os.environ.get("RANK", "0") != "0" and "WORLD_SIZE" in os.environ:
        emit = _errors_of(emit)
    try:
        with interruptible(stop.set), system_refusals():
            value = run(job, emit, stop.is_set)
        emit(events.Result(value))
        return 3 if value.get("failures") else 0
    except ContrastiveSegError as problem:
        emit(events.Error(str(problem), problem.exit_code))
        return problem.exit_code
    except BrokenPipeError:
        raise
    except Exception as problem:  # a fault of ours; who reports it needs the trace, who watches the events an end
        traceback.print_exc()
        emit(events.Error(f"Unexpected {type(problem).__name__}: {problem}.", 1))
        return 1


def _errors_of(emit: events.Emit) -> events.Emit:
    """Of the processes that torchrun starts the first speaks; the others tell what went wrong with them."""
    return lambda event: emit(event) if isinstance(event, events.Error) else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("contrastiveseg", description="Few-label segmentation of medical volumes.")
    parser.add_argument("--version", action="version", version=f"contrastiveseg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, job in JOBS.items():
        summary = (job.__doc__ or "").strip()
        command = commands.add_parser(name, help=summary, description=summary)
        hints = typing.get_type_hints(job)
        for field in dataclasses.fields(job):
            _add(command, field, hints[field.name])
        command.add_argument("--json", action="store_true", help="events as JSON lines on stdout")
    card = "What a checkpoint is, what it expects, where it comes from."
    inspect = commands.add_parser("inspect", help=card, description=card)
    inspect.add_argument("checkpoint", type=_path, metavar="PATH", help="a checkpoint (.safetensors), or starter:NAME")
    worker = "Take jobs as JSON lines on stdin, give events as JSON lines on stdout."
    commands.add_parser("worker", help=worker, description=f"{worker} {_REQUESTS}")
    methods = "The methods to pre-train and fine-tune with, and their settings."
    commands.add_parser("methods", help=methods, description=methods)
    networks = "The networks (backbones) to pre-train and fine-tune."
    commands.add_parser("networks", help=networks, description=networks)
    foreign = "Make a checkpoint to fine-tune from other people's weights."
    imported = commands.add_parser("import", help=foreign, description=foreign)
    imported.add_argument("file", type=_path, metavar="FILE", help=".pth or .pt of tensors alone, or .safetensors")
    kinds = "whose layout it has: macl (released 2D weights), vnet (left-atrium literature), segresnet, dynunet (MONAI)"
    imported.add_argument("--from", dest="source", required=True, metavar="NAME", help=kinds)
    written = "the checkpoint to write (.safetensors)"
    imported.add_argument("--output", type=_path, required=True, metavar="PATH", help=written)
    imported.add_argument("--overwrite", action="store_true", help="replace an existing output")
    volumes = "Make synthetic volumes to try things on."
    sample = commands.add_parser("sample-data", help=volumes, description=volumes)
    folder = "new folder for imagesTr, labelsTr and dataset.json"
    sample.add_argument("--output", type=_path, required=True, metavar="PATH", help=folder)
    sample.add_argument("--cases", type=int, default=6, metavar="N", help="how many (default: 6)")
    sample.add_argument("--labeled", type=int, metavar="N", help="write labels of the first N only (default: of all)")
    sample.add_argument("--seed", type=int, default=0, metavar="N", help="number of the first (default: 0)")
    return parser


def _add(parser: argparse.ArgumentParser, field: dataclasses.Field, hint: Any) -> None:
    """One option from one field of a job."""
    flag = "--set" if typing.get_origin(hint) is Mapping else "--" + field.name.replace("_", "-")
    options: dict[str, Any] = {"dest": field.name, "help": field.metadata["help"], "default": argparse.SUPPRESS}
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        options["required"] = True
    elif field.default not in (None, (), "", dataclasses.MISSING) and field.default is not False:
        options["help"] += f" (default: {field.default})"
    kinds = [k for k in typing.get_args(hint) if k is not type(None)] if _optional(hint) else [hint]
    kind = kinds[0]
    if kind is bool:
        options["action"] = "store_true"
    elif typing.get_origin(kind) is tuple:
        options |= {"nargs": "+", "action": "extend", "metavar": "PATH"}
    elif typing.get_origin(kind) is Mapping:
        options |= {"action": _KeyValue, "metavar": "KEY=VALUE"}
    elif typing.get_origin(kind) is typing.Literal:
        values = typing.get_args(kind)
        options |= {"choices": values, "type": type(values[0])}
    else:
        options |= {"type": kind, "metavar": {str: "PATH", int: "N", float: "X"}[kind]}
        if kind is str and field.name in _METAVARS:
            options["metavar"] = _METAVARS[field.name]
    parser.add_argument(flag, **options)


def _optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def _path(text: str) -> str:
    """A path of a command that is no job; those of jobs are checked with the job."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty. Is a variable of your shell not set?")
    return text


class _KeyValue(argparse.Action):
    """Collects KEY=VALUE pairs."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, text: Any, flag: Any = None
    ) -> None:
        try:
            key, value = key_value(text)
        except InputError as problem:
            parser.error(f"{flag}: {problem}")
        setattr(namespace, self.dest, {**getattr(namespace, self.dest, {}), key: value})


def _inspect(checkpoint: str) -> int:
    from .checkpoints.describe import describe
    from .checkpoints.header import read_card
    from .checkpoints.starters import checkpoint_path

    print(describe(read_card(checkpoint_path(checkpoint))))
    return 0


def _worker() -> int:
    from .jobs.worker import lead_own_group, work

    lead_own_group()
    # What libraries print, from Python or from C, must not get between the events: stdout is ours alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return work(sys.stdin, answers)


def _methods() -> int:
    from .jobs.queries import methods

    for method in methods():
        print(f"{method['stage']} --method {method['name']}{_of_package(method)}: {method['description']}")
        print(f"  Cite: {method['citation']}")
        print("".join(f"  --set {key}={json.dumps(value)}\n" for key, value in method["settings"].items()))
    return 0


def _networks() -> int:
    from .jobs.queries import networks

    for network in networks():
        print(f"--network {network['name']}{_of_package(network)}: {network['description']}")
    return 0


def _of_package(described: dict[str, Any]) -> str:
    """The package that a method or network comes from, where it is not this one."""
    return "" if described["package"] == __package__ else f" (of {described['package']})"


def _import(file: str, source: str, output: str, overwrite: bool) -> int:
    from .checkpoints.foreign import import_checkpoint

    report = import_checkpoint(Path(file), source, Path(output), overwrite)
    print(f"{output}: {len(report.matched)} tensors taken, {len(report.skipped)} left, {len(report.fresh)} fresh.")
    for told, names in (("left", report.skipped), ("fresh", report.fresh)):
        print("".join(f"  {told} {name}\n" for name in names), end="")
    return 0


def _sample_data(output: str, cases: int, labeled: int | None, seed: int) -> int:
    from .files import check_output
    from .synthetic.dataset import write_dataset
    from .synthetic.settings import SyntheticSettings

    listing = Path(output) / "dataset.json"
    if listing.exists():
        raise InputError(f"{output} holds a data set already. Choose another folder.")
    check_output(listing)
    write_dataset(Path(output), cases, seed, SyntheticSettings(), labeled)
    print(f"{cases} synthetic {'volume' if cases == 1 else 'volumes'} in {output}")
    return 0


_OTHERS: dict[str, Callable[..., int]] = {
    "inspect": _inspect,
    "import": _import,
    "worker": _worker,
    "methods": _methods,
    "networks": _networks,
    "sample-data": _sample_data,
}
