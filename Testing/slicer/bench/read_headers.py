"""Reads from headers what classes offer to Python in Slicer: for ``allowed_names.json`` and ``qt5_names.json``.

PythonQt offers properties, public slots, signals, functions marked Q_INVOKABLE, enumerators, and what wrappers add:
all public functions of Qt's own classes, a few of Slicer's. Other public functions are out of Python's reach.

    python read_headers.py widgets CTK SLICER CLASS... > allowed_names.json
    python read_headers.py qt QT5_INCLUDES PYTHONQT/generated_cpp_515 CLASS... > qt5_names.json
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

    parents: list[str]
    properties: dict[str, str] = field(default_factory=dict)
    read_only: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    enumerators: list[str] = field(default_factory=list)


_CLASS = r"\n[ \t]*class\s+(?:[A-Z][A-Z_0-9]*\s+)?{name}\s*(?:final\s*)?:?\s*((?:public[^{{]*)?)\n?\{{"
_PROPERTY = re.compile(r"Q_PROPERTY\(\s*([\w:<>,* ]+?)[\s]+(\w+)\s+(?:READ|MEMBER)([^)]*)\)")
_SECTION = re.compile(r"^\s*(public|protected|private)?\s*(Q_SLOTS|slots|Q_SIGNALS|signals)?\s*:\s*$", re.MULTILINE)
_FUNCTION = re.compile(r"(~?\w+)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)\s*(?:const)?\s*(?:override)?\s*(?:;|\{)")


def read(name: str, path: Path) -> Offered:
    """One class of one header."""
    text = path.read_text(encoding="utf-8", errors="replace")
    text = re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))
    text = re.sub(r"\n[ \t]*#[^\n]*", "", text)
    found = re.search(_CLASS.format(name=name), text)
    if not found:
        if name.startswith("Q"):  # a namespace, an alias or a template: what wrappers offer must do
            return Offered([])
        raise SystemExit(f"no class {name} in {path}")
    body = text[found.end() : text.index("\n};", found.end())]
    offered = Offered(re.findall(r"public\s+([\w:]+)", found[1]))
    for kind, prop, rest in _PROPERTY.findall(body):
        offered.properties[prop] = kind
        if "WRITE" not in rest:
            offered.read_only.append(prop)
    offered.enumerators = _enumerators(body)
    body = re.sub(r"Q_PROPERTY\([^\n]*\)", "", body)
    access, special, start = "private", "", 0
    for mark in [*_SECTION.finditer(body), None]:
        part = body[start : mark.start() if mark else len(body)]
        _read_part(offered, part, access, special)
        if mark:
            access, special, start = mark[1] or "public", mark[2] or "", mark.end()
    return offered


def _enumerators(body: str) -> list[str]:
    names = []
    for enumeration in re.findall(r"\benum\s+(?:class\s+)?\w*\s*\{([^}]*)\}", body):
        names += re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"\([^)]*\)", "", enumeration))
    return sorted(set(names))


def _read_part(offered: Offered, part: str, access: str, special: str) -> None:
    if "ignals" in special or "SIGNALS" in special:
        offered.signals += [s for n, a in _FUNCTION.findall(part) for s in _signatures(n, a)]
    elif access == "public" and special:
        offered.methods += [n for n, _ in _FUNCTION.findall(part)]
    elif access == "public":
        offered.methods += re.findall(r"Q_INVOKABLE[^;{(]*?(\w+)\s*\(", part)
    # C++ asks a Python object for its virtual functions, protected ones too.
    offered.methods += re.findall(r"\bvirtual\s[^;{(]*?\b(\w+)\s*\(", part)
    offered.methods += [n for n, end in re.findall(r"(\w+)\s*\([^;{]*\)\s*(?:const\s*)?(override)", part)]
    offered.methods = sorted({m for m in offered.methods if "~" not in m})


def _signatures(name: str, arguments: str) -> list[str]:
    """As Qt normalizes them, no names, const references or blanks; one for each argument that may be left out."""
    kinds, least = [], None
    for argument in filter(None, (a.strip() for a in arguments.split(","))):
        if "QPrivateSignal" in argument:
            break
        if "=" in argument and least is None:
            least = len(kinds)
        kind = re.sub(r"^const\s+(.*?)\s*&", r"\1 ", re.sub(r"\s*=.*", "", argument))
        words = re.match(r"((?:unsigned\s+)?[\w:]+(?:<[^>]*>)?)\s*(\**)", kind)
        assert words, argument
        kinds.append(words[1] + words[2])
    lengths = range(len(kinds) if least is None else least, len(kinds) + 1)
    return [f"{name}({','.join(kinds[:n])})" for n in lengths]


def _decorated(text: str) -> list[tuple[str, str]]:
    """(class, method) of wrapped functions: most take the object first, static ones have the class in their name."""
    this = "theWrappedObject" if "PythonQtWrapper_" in text else ""
    bound = re.findall(r"[\w*&>] +(?:py_q_)?([a-zA-Z]\w+)\((\w+)\* " + this, text)
    return [(cls, name) for name, cls in bound] + re.findall(r"\bstatic_([a-zA-Z0-9]+)_(\w+)\(", text)


def _add_wrapped(classes: dict[str, Offered], files: list[Path]) -> None:
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        for name, method in _decorated(text):
            if name in classes:
                classes[name].methods = sorted({*classes[name].methods, method})
        for part in text.split("class PythonQtWrapper_")[1:]:
            name = re.match(r"\w+", part)[0]  # type: ignore[index]
            if name in classes:
                classes[name].enumerators = sorted({*classes[name].enumerators, *_enumerators(part)})


def main(what: str, first: Path, second: Path, names: list[str]) -> None:
    if what == "qt":
        headers = {p.name: p for p in first.rglob("*") if p.name.startswith("Q") and "." not in p.name and p.is_file()}
        sources = {
            n: headers[n].parent / re.findall(r'"(\w+\.h)"', headers[n].read_text())[0] for n in names if n != "Qt"
        }
        wrappers = list(second.rglob("*.h"))
    else:
        found = {p.stem: p for root in (first, second) for p in root.rglob("*.h")}
        sources = {n: found[n] for n in names}
        wrappers = list(second.rglob("*PythonQtDecorators.h"))
    classes = {n: read(n, sources[n]) if n in sources else Offered([]) for n in sorted(names)}
    _add_wrapped(classes, wrappers)
    print("{")
    print(",\n".join(f"{json.dumps(n)}: {json.dumps(asdict(c))}" for n, c in classes.items()))
    print("}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
