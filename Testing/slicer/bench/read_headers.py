"""Reads from CTK's and Slicer's headers what their classes offer to Python, for ``allowed_names.json``.

``python read_headers.py FOLDER_OF_CTK FOLDER_OF_SLICER CLASS...`` prints it. PythonQt offers properties, public slots,
signals, functions marked Q_INVOKABLE, enumerators and what "decorators" add; other public functions are out of reach.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Offered:
    """What one class adds to its parents."""

    header: str
    parents: list[str]
    properties: dict[str, str] = field(default_factory=dict)
    read_only: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    enumerators: list[str] = field(default_factory=list)


_CLASS = r"\nclass\s+(?:[A-Z][A-Z_0-9]*\s+)?{name}\s*:?\s*((?:public[^{{]*)?)\n?\{{"
_PROPERTY = re.compile(r"Q_PROPERTY\(\s*([\w:<>,* ]+?)\s+(\w+)\s+READ([^)]*)\)")
_SECTION = re.compile(r"^\s*(public|protected|private)?\s*(Q_SLOTS|slots|Q_SIGNALS|signals)?\s*:\s*$", re.MULTILINE)
_FUNCTION = re.compile(r"(~?\w+)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)\s*(?:const)?\s*(?:override)?\s*(?:;|\{)")


def read(name: str, path: Path, root: Path) -> Offered:
    """One class of one header."""
    text = re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL))
    found = re.search(_CLASS.format(name=name), text)
    if not found:
        raise SystemExit(f"no class {name} in {path}")
    body = text[found.end() : text.index("\n};", found.end())]
    parents = re.findall(r"public\s+([\w:]+)", found[1])
    offered = Offered(path.relative_to(root).as_posix(), parents)
    for kind, prop, rest in _PROPERTY.findall(body):
        offered.properties[prop] = kind
        if "WRITE" not in rest:
            offered.read_only.append(prop)
    for enumeration in re.findall(r"\benum\s+(?:class\s+)?\w*\s*\{([^}]*)\}", body):
        offered.enumerators += re.findall(r"(?:^|,)\s*(\w+)", enumeration)
    body = re.sub(r"Q_PROPERTY\([^\n]*\)", "", body)
    access, special, start = "private", "", 0
    for mark in [*_SECTION.finditer(body), None]:
        part = body[start : mark.start() if mark else len(body)]
        _read_part(offered, part, access, special)
        if mark:
            access, special, start = mark[1] or "public", mark[2] or "", mark.end()
    return offered


def _read_part(offered: Offered, part: str, access: str, special: str) -> None:
    if "ignals" in special or "SIGNALS" in special:
        offered.signals += [f"{n}({_types(a)})" for n, a in _FUNCTION.findall(part)]
    elif access == "public" and special:
        offered.methods += [n for n, _ in _FUNCTION.findall(part)]
    elif access == "public":
        offered.methods += re.findall(r"Q_INVOKABLE[^;{(]*?(\w+)\s*\(", part)
    offered.methods = sorted(set(offered.methods))


def _types(arguments: str) -> str:
    """A signal's arguments as Qt normalises them: no names, const references or blanks."""
    kinds = []
    for argument in filter(None, (a.strip() for a in arguments.split(","))):
        kind = re.sub(r"\s*=.*", "", argument)
        kind = re.sub(r"^const\s+(.*?)\s*&", r"\1 ", kind)
        words = re.match(r"((?:unsigned\s+)?[\w:]+(?:<[^>]*>)?)\s*(\**)", kind)
        assert words, argument
        kinds.append(words[1] + words[2])
    return ",".join(kinds)


def _decorated(text: str) -> list[tuple[str, str]]:
    """(class, method) of functions that take the object first, and of static ones, which have the class in their name."""
    bound = re.findall(r"[\w*&>] (\w+)\((\w+)\* ", text)
    return [(cls, name) for name, cls in bound] + re.findall(r"\bstatic_([a-zA-Z0-9]+)_(\w+)\(", text)


def main(ctk: Path, slicer: Path, names: list[str]) -> None:
    headers = {p.stem: (p, root) for root in (ctk, slicer) for p in root.rglob("*.h")}
    read_classes = {name: read(name, *headers[name]) for name in sorted(names)}
    for path in slicer.rglob("*PythonQtDecorators.h"):
        for name, method in _decorated(path.read_text(encoding="utf-8")):
            if name in read_classes:
                read_classes[name].methods.append(method)
    table = {name: asdict(content) for name, content in read_classes.items()}
    print("{")
    print(",\n".join(f"{json.dumps(name)}: {json.dumps(content)}" for name, content in table.items()))
    print("}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
