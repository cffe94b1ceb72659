"""The parameters of jobs and methods in words: for the terminal, and as Markdown for the documentation."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .command_line import option_flag
from .descriptions import JOBS
from .parameters import SOURCES, Parameter, parameters_of
from .serialization import from_json, to_json

_STAGES = {"pretrain": "Pre-training", "finetune": "Fine-tuning"}


def listed_methods(methods: Iterable[Mapping[str, Any]]) -> str:
    """Every method of the query "methods" in two lines."""
    lines = [f"{_heading(method)}\n" for method in methods]
    return "".join(lines) + "All parameters of a method: contrastiveseg methods NAME\n"


def described_methods(methods: Iterable[Mapping[str, Any]]) -> str:
    """Methods of the query "methods" with their parameters: name, value, meaning, unit, bounds or choices, source."""
    width = max(80, shutil.get_terminal_size().columns)
    parts = []
    for method in methods:
        parts.append(f"{_heading(method)}\n  Change a value with --set NAME=VALUE.\n\n")
        for p in _parameters(method):
            allowed = f"  ({p.allowed})" if p.allowed else ""
            parts.append(f"  {p.name} = {json.dumps(to_json(p.default))}{allowed}\n")
            meaning = f"{p.help}. {p.source}" if p.source else f"{p.help}."
            parts.append(textwrap.fill(meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6) + "\n")
        parts.append("\n")
    return "".join(parts) + f"Sources: {_sources()}\n"


def markdown_methods() -> str:
    """All methods with tables of their parameters."""
    from .jobs.queries import methods

    parts = [f"Sources: {_sources()}"]
    known = methods()
    for stage, title in _STAGES.items():
        parts.append(f"## {title}")
        for method in known:
            if method["stage"] == stage:
                parts += [f"### {method['name']}", method["description"], f"Cite: {method['citation']}"]
                rows = [(f"`{p.name}`", _code(p.default), p.help, p.allowed, p.source) for p in _parameters(method)]
                parts.append(_table(("Parameter", "Default", "Meaning", "Allowed", "Source"), rows))
    return "\n\n".join(parts) + "\n"


def markdown_jobs() -> str:
    """All jobs with tables of their options."""
    parts = []
    for kind, job in JOBS.items():
        rows = [(f"`{option_flag(o)}`", _default(o), o.help, o.allowed) for o in parameters_of(job)]
        parts += [f"## {kind}", (job.__doc__ or "").strip(), _table(("Option", "Default", "Meaning", "Allowed"), rows)]
    return "\n\n".join(parts) + "\n"


def _parameters(method: Mapping[str, Any]) -> list[Parameter]:
    return [from_json(Parameter, data) for data in method["parameters"]]


def _heading(method: Mapping[str, Any]) -> str:
    name = f"{method['stage']} --method {method['name']}{of_package(method)}"
    return f"{name}: {method['description']}\n  Cite: {method['citation']}"


def of_package(described: Mapping[str, Any]) -> str:
    """The package that a method or network is part of, where it is not this one."""
    return "" if described["package"] == __package__ else f" (of {described['package']})"


def _sources() -> str:
    return "; ".join(f"[{mark}] {words}" for mark, words in SOURCES.items()) + "."


def _default(option: Parameter) -> str:
    if option.required:
        return "required"
    return "" if option.default in (None, "", (), {}) else _code(option.default)


def _code(value: Any) -> str:
    return f"`{json.dumps(to_json(value))}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def lines() -> Iterator[str]:
        for row in (head, ["---"] * len(head), *rows):
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"

    return "\n".join(lines())
