"""The reference of the Python API, made from the docstrings of what ``contrastiveseg.__all__`` names."""

from __future__ import annotations

import inspect
import re
from typing import Any

import contrastiveseg

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|Example|Examples):\s*$")
_ROLE = re.compile(r":\w+:`~?\.*([\w.]+)`")
_ENTRY = re.compile(r"^\S[^:]*:(\s|$)")


def markdown_python() -> str:
    """Every public name with its signature and docstring; classes with their public methods."""
    parts = []
    for name in sorted(contrastiveseg.__all__, key=str.lower):
        value = getattr(contrastiveseg, name)
        if not callable(value):
            continue
        parts += [f"## {name}", _signature(name, value), _docstring(value)]
        if inspect.isclass(value):
            for member, method in vars(value).items():
                if not member.startswith("_") or member == "__call__":
                    parts += _member(name, member, method)
    return "\n\n".join(part for part in parts if part) + "\n"


def _member(owner: str, name: str, value: Any) -> list[str]:
    """A method or property of a class, where it has a docstring of its own."""
    if isinstance(value, property):
        return [f"### {owner}.{name}", _docstring(value.fget)] if value.fget and value.fget.__doc__ else []
    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    if not inspect.isfunction(function) or not function.__doc__:
        return []
    return [f"### {owner}.{name}", _signature(f"{owner}.{name}", function), _docstring(function)]


def _signature(name: str, value: Any) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # a type whose constructor tells nothing
        return ""
    given = [str(p) for p in signature.parameters.values() if p.name not in ("self", "cls")]
    line = f"{name}({', '.join(given)})"
    if len(line) > 88:
        line = f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in _with_star(signature)) + ")"
    returned = signature.return_annotation
    if returned is not inspect.Signature.empty and not inspect.isclass(value):
        line += f" -> {returned if isinstance(returned, str) else inspect.formatannotation(returned)}"
    return f"```python\n{line}\n```"


def _with_star(signature: inspect.Signature) -> list[str]:
    """The parameters as text, with the star before the first that must be named."""
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        parts.append(str(parameter))
    return parts


def _docstring(value: Any) -> str:
    """A docstring of the house's form as Markdown."""
    lines: list[str] = []
    section = ""
    for line in inspect.cleandoc(inspect.getdoc(value) or "").splitlines():
        heading = _SECTION.match(line)
        if heading:
            section = heading[1]
            lines += ["", f"**{section}**", ""]
        elif section.startswith("Example") or not section:
            lines.append(line[4:] if section and line.startswith("    ") else line)
            section = section if not line or line.startswith(" ") else ""
        elif line and not line.startswith(" "):
            section = ""
            lines += ["", line]
        else:
            lines.append(_item(line[4:]))
    text = _ROLE.sub(lambda role: f"`{role[1].split('.')[-1]}`", "\n".join(lines))
    return _fenced(re.sub(r"``(.+?)``", r"`\1`", text))


def _item(line: str) -> str:
    """A line of a section: a new item of its list, or the continuation of the last."""
    if not _ENTRY.match(line):
        return f"    {line.strip()}" if line.strip() else ""
    name, _, meaning = line.partition(":")
    return f"- `{name}`: {meaning.strip()}"


def _fenced(text: str) -> str:
    """Interactive examples (>>>) as blocks of code."""
    made: list[str] = []
    inside = False
    for line in text.splitlines():
        starts = line.startswith((">>>", "..."))
        if starts and not inside:
            made += ["", "```pycon"]
            inside = True
        elif inside and not line.strip():
            made.append("```")
            inside = False
        made.append(line)
    return "\n".join([*made, "```"] if inside else made).strip()
