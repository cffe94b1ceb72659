"""What Qt 5.15, which Slicer is built with, offers by PythonQt: names that only Qt 6 or PySide6 has are refused.

``qt5_names.json`` is made by ``read_headers.py`` of Qt 5.15's headers and PythonQt's wrappers. Classes that are not in
it are not in the module ``qt`` either.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

TABLE: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "qt5_names.json").read_text(encoding="utf-8"))
# Virtual in Qt 6 alone; its C++ code asks objects for them.
_VIRTUAL = {"initStyleOption", "initViewItemOption", "multiData", "clearItemData"}
# PythonQtStdDecorators.h
_EVERY_OBJECT = {
    *("className", "connect", "delete", "disconnect", "findChild", "findChildren", "help", "inherits", "metaObject"),
    *("name", "parent", "children", "property", "setParent", "setProperty", "tr"),
}


@cache
def names(class_name: str) -> frozenset[str]:
    """Of the class and its parents: properties, methods, signals without arguments, enumerators."""
    entry = TABLE.get(class_name)
    if entry is None:
        return frozenset()
    own = {*entry["properties"], *entry["methods"], *entry["enumerators"], *(s.split("(")[0] for s in entry["signals"])}
    exec_too = {"exec_"} if "exec" in own else set()
    return frozenset(own | exec_too | _EVERY_OBJECT).union(*map(names, entry["parents"]))


@cache
def signals(class_name: str) -> frozenset[str]:
    """Of the class and its parents, by their whole signatures."""
    entry = TABLE.get(class_name)
    if entry is None:
        return frozenset()
    return frozenset(entry["signals"]).union(*map(signals, entry["parents"]))


def lacks(class_name: str, name: str) -> bool:
    """Whether the class is known and the name is not one of its own."""
    return class_name in TABLE and name not in names(class_name) and name not in _VIRTUAL
