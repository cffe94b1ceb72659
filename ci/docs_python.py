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
        parts += [f"## {name}", document(name, value)]
        if inspect.isclass(value):
            for member, method in vars(value).items():
                if not member.startswith("_") or member == "__call__":
                    parts += _member(name, member, method)
    return "\n\n".join(parts) + "\n"


def document(name: str, value: Any) -> str:
    """Signature and docstring of ``value``, as Markdown."""
    return "\n\n".join(part for part in (_signature(name, value), _docstring(value)) if part)


def _member(owner: str, name: str, value: Any) -> list[str]:
    """A method or property of a class, where it has a docstring of its own."""
    if isinstance(value, property):
        return [_heading(owner, name), _docstring(value)] if value.__doc__ else []
    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    if not inspect.isfunction(function) or not function.__doc__:
        return []
    return [_heading(owner, name), document(f"{owner}.{name}", function)]


def _heading(owner: str, name: str) -> str:
    # Two underscores would be bold.
    return f"### {owner}.{name}".replace("_", r"\_")


def _signature(name: str, value: Any) -> str:
    """Name and parameters as a block of code; one parameter a line where they are many."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # a type whose constructor says nothing
        return ""
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    if parameters and all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return ""
    written = [_parameter(p) for p in parameters]
    named = next((i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY), None)
    if named is not None:
        written.insert(named, "*")
    line = f"{name}({', '.join(written)})"
    if len(line) > 88:
        line = f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in written) + ")"
    returned = signature.return_annotation
    if returned is not inspect.Signature.empty and not inspect.isclass(value):
        line += f" -> {_annotation(returned)}"
    return f"```python\n{line}\n```"


def _parameter(parameter: inspect.Parameter) -> str:
    text = parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return text
    default = parameter.default
    return f"{text} = {default.__name__ if inspect.isroutine(default) else repr(default)}"


def _annotation(annotation: Any) -> str:
    """As it is written in the code, without the modules' names."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b[a-z_]+(?:\.[a-z_]+)*\.(?=[A-Z])", "", text)
    return re.sub(r"Optional\[(.*)\]$", r"\1 | None", text)


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
