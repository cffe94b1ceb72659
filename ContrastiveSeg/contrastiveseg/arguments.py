"""The words of the command line: its commands and their options, made from the descriptions of the jobs."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

from . import __version__
from .command_line import option_flag
from .descriptions import JOBS
from .errors import InputError
from .parameters import Parameter, parameters_of
from .remote.slurm import Slurm
from .serialization import american, key_value

#: What the help shows for the value of an option that names nothing better.
_PLACEHOLDERS = {
    "text": "PATH",
    "texts": "PATH",
    "table": "KEY=VALUE",
    "int": "N",
    "float": "X",
    "interval": "X",
    "box": "X",
}
_REQUESTS = (
    'A request is {"id": "1", "job": {"kind": "segment", "checkpoint": "...", ...}}, with the options of that command, '
    'a question like {"id": "2", "query": "methods"} or "devices", or {"cancel": "1"}. Closing stdin cancels what '
    "runs or waits, so keep it open until the results are there."
)
#: The jobs that another machine or Slurm can do.
ELSEWHERE = ("pretrain", "finetune", "segment")


def parsed(words: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of the options that were given, and how those were typed that were not as they are named today.

    Ends the process where argparse does: with the help, or with what is wrong about the words.
    """
    today = {word: _american_option(word) for word in words}
    typed = {_flag(now): _flag(word) for word, now in today.items() if now != word}
    words = [today[word] for word in words]
    return vars(parser(typed, with_far=words[:1] == ["far"]).parse_args(words)), typed


def _american_option(word: str) -> str:
    """An option in British spelling, as of version 0.1, in that of today; other words as they are."""
    _, equals, value = word.partition("=")
    return american(_flag(word)) + equals + value if word.startswith("--") else word


def _flag(word: str) -> str:
    return word.partition("=")[0]


class _Parser(argparse.ArgumentParser):
    """Refuses options by the names that were ``typed``, a mapping from those of today.

    A command refuses words that it does not know itself, where argparse lets the parser of all commands do it.
    """

    typed: Mapping[str, str] = MappingProxyType({})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's, but no word is left over."""
        given, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [flag for action in self._actions for flag in action.option_strings]
            alike = difflib.get_close_matches(_flag(unknown[0]), known, 1)
            meant = f" Did you mean {alike[0]}?" if alike else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}.{meant} All options: {self.prog} --help")
        return given, unknown

    def error(self, message: str) -> NoReturn:
        for today, word in self.typed.items():
            message = message.replace(today, word)
        super().error(message)


def parser(typed: Mapping[str, str] | None = None, with_far: bool = True) -> argparse.ArgumentParser:
    """Of all commands; it refuses options by the names of ``typed``, see :func:`parsed`.

    Args:
        with_far: also of the one that nobody types, which is not to be named among those there are.
    """
    parser = _Parser("contrastiveseg", description="Few-label segmentation of medical volumes.")
    parser.add_argument("--version", action="version", version=f"contrastiveseg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, job in JOBS.items():
        summary = (job.__doc__ or "").strip()
        command = commands.add_parser(name, help=summary, description=summary)
        for option in parameters_of(job):
            _add(command, option)
        command.add_argument("--json", action="store_true", help="events as JSON lines on stdout")
        if name in ELSEWHERE:
            _add_elsewhere(command)
    card = "What a checkpoint is, what it expects, where it comes from."
    inspect = commands.add_parser("inspect", help=card, description=card)
    inspect.add_argument("checkpoint", type=_path, metavar="PATH", help="a checkpoint (.safetensors), or starter:NAME")
    worker = "Take jobs as JSON lines on stdin, give events as JSON lines on stdout."
    served = commands.add_parser("worker", help=worker, description=f"{worker} {_REQUESTS}")
    served.add_argument("--low-priority", action="store_true", help="let other processes compute first")
    known = "The methods to pre-train and fine-tune with; with a NAME, all parameters of those so called."
    methods = commands.add_parser("methods", help=known, description=known)
    methods.add_argument("name", nargs="?", metavar="NAME", help="a method")
    methods.add_argument("--json", dest="as_json", action="store_true", help="as JSON, with all parameters")
    networks = "The networks (backbones) to pre-train and fine-tune."
    commands.add_parser("networks", help=networks, description=networks)
    volumes = "Make synthetic volumes to try things on."
    sample = commands.add_parser("sample-data", help=volumes, description=volumes)
    folder = "new folder for imagesTr, labelsTr and dataset.json"
    sample.add_argument("--output", type=_path, required=True, metavar="PATH", help=folder)
    sample.add_argument("--cases", type=int, default=6, metavar="N", help="how many (default: 6)")
    sample.add_argument("--labeled", type=int, metavar="N", help="write labels of the first N only (default: of all)")
    sample.add_argument("--seed", type=int, default=0, metavar="N", help="number of the first (default: 0)")
    if with_far:
        far = commands.add_parser("far", description="What --host starts on the other machine; not to be typed.")
        far.add_argument("action", metavar="ACTION", help="receive, do or watch")
        far.add_argument("identifier", metavar="ID", help="the job")
    for each in (parser, *commands.choices.values()):
        each.typed = typed or {}
    return parser


def _add_elsewhere(command: argparse.ArgumentParser) -> None:
    host = command.add_argument_group("another machine")
    there = "do the job on this machine, over ssh: files go there and back, nothing else changes"
    host.add_argument("--host", default=argparse.SUPPRESS, metavar="USER@MACHINE", help=there)
    called = "how contrastiveseg is called there (default: contrastiveseg)"
    host.add_argument("--host-command", default=argparse.SUPPRESS, metavar="COMMAND", help=called)
    slurm = command.add_argument_group("Slurm")
    submitted = "submit the job to Slurm and follow it; Ctrl+C ends the following, and the same command follows again"
    slurm.add_argument("--submit", default=argparse.SUPPRESS, action="store_true", help=submitted)
    for option in parameters_of(Slurm):
        _add(slurm, option)


def _add(parser: argparse._ActionsContainer, option: Parameter) -> None:
    """One option from one parameter of a job, or of another description."""
    notes = [words for words in (option.unit, str(option.bounds)) if words]
    if option.kind != "bool" and option.default is not False and option.default not in (None, (), "", {}):
        notes.append(f"default: {option.default}")
    options: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS, "required": option.required}
    options["help"] = option.help + (f" ({'; '.join(notes)})" if notes else "")
    if option.kind == "bool":
        options["action"] = "store_true"
    elif option.kind == "choice":
        words = [choice for choice in option.choices if not isinstance(choice, bool)]
        options |= {"choices": words, "type": type(words[0])}
        if words != list(option.choices):  # a switch that may also be told how
            options |= {"nargs": "?", "const": True}
    else:
        options["metavar"] = option.placeholder or _PLACEHOLDERS[option.kind]
        options |= _VALUES[option.kind]
        if options["metavar"] == "PATH":
            options["type"] = _at_home
    flag = option_flag(option)
    if not flag.startswith("-"):
        parser.add_argument(option.name, type=_path, metavar=flag, help=option.help)
        return
    parser.add_argument(flag, **options)


def _path(text: str) -> str:
    """A path of a command that is no job; those of jobs are checked with the job."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty. Is a variable of your shell not set?")
    return _at_home(text)


def _at_home(text: str) -> str:
    """A path whose ~ the shell has left, as it does behind ``--output=``: else a folder of that name would be made."""
    return os.path.expanduser(text) if text.startswith("~") and not os.path.exists(text) else text


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


#: How argparse reads the values of each kind of parameter.
_VALUES: dict[str, dict[str, Any]] = {
    "text": {"type": str},
    "texts": {"nargs": "+", "action": "extend"},
    "table": {"action": _KeyValue},
    "int": {"type": int},
    "float": {"type": float},
    "interval": {"nargs": 2, "type": float},
    "box": {"nargs": 6, "type": float},
}
