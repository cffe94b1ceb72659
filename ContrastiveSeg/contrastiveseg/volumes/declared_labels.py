"""Label values and their names, as ``dataset.json`` files declare them: Decathlon's and nnU-Net's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..printable import quoted, shortened
from .dataset_json import described_by, is_number, json_object, read_json
from .labeling import folded

#: Names that are no structure's.
_SPECIAL = ("background", "ignore")


@dataclass(frozen=True)
class DeclaredLabels:
    """Label values and their names, without ``ignore``, the value of voxels without a label.

    ``background`` is a value above 0 whose name is background.
    """

    names: dict[int, str] = field(default_factory=dict)
    ignore: int | None = None

    @property
    def background(self) -> int | None:
        return background_value(self.names)


def background_value(names: Mapping[int, str]) -> int | None:
    """The value above 0 that is named background, if there is one."""
    return next((value for value, name in names.items() if value and name.strip().casefold() == "background"), None)


def declared_in(path: Path) -> DeclaredLabels:
    """The labels of a ``dataset.json`` of the Decathlon or nnU-Net v2 form, background included.

    nnU-Net's label "ignore" marks voxels without a label.

    Raises:
        InputError: not such a file.
    """
    table = json_object(path, read_json(path)).get("labels")
    if not isinstance(table, dict) or not table:
        raise InputError(f"{path}: labels: expected an object with a name for every label.")
    names = _numbered(path, table)
    if len(names) != len(table):
        raise InputError(f"{path}: labels: two names have the same number.")
    if impossible := [value for value in names if not 0 <= value < 2**16]:
        raise InputError(
            f"{path}: labels.{shortened(names[impossible[0]])} is {shortened(impossible[0])}. Labels are 0 for the "
            "background and 1 to 65535 for structures."
        )
    ignore = next((value for value, name in names.items() if name.strip().casefold() == "ignore"), None)
    if ignore == 0:
        raise InputError(f"{path}: labels.ignore is 0, which is the background. Give it the highest number.")
    _check_names(path, names)
    return DeclaredLabels({value: name for value, name in sorted(names.items()) if value != ignore}, ignore)


def _numbered(path: Path, table: Mapping[Any, Any]) -> dict[int, str]:
    """Value -> name, from the ``labels`` of either form."""
    names: dict[int, str] = {}
    for key, value in table.items():
        if isinstance(value, int) and not isinstance(value, bool):
            names[value] = key
        elif isinstance(value, str) and is_number(key):
            names[int(key)] = value
        elif isinstance(value, list):
            raise InputError(
                f"{path}: labels.{shortened(key)} is a region of the labels {quoted(value)}, as nnU-Net learns them. "
                "Regions that overlap are not learned here: give each label a name of its own, and join them "
                "afterwards."
            )
        else:
            raise InputError(
                f'{path}: labels.{shortened(key)}: expected "NAME": NUMBER or "NUMBER": "NAME", found {quoted(value)}.'
            )
    return names


def _check_names(path: Path, names: dict[int, str]) -> None:
    """Refuse names by which a structure cannot be told from another one, from the background, or from its value."""
    background, zero = background_value(names), names.get(0, "background")
    if background is not None and zero.strip().casefold() != "background":
        raise InputError(
            f"{path}: labels: {shortened(zero)} is 0, and background {background}. 0 is always the background: give "
            "the structure another number."
        )
    structures = Counter(name.strip().casefold() for value, name in names.items() if value) - Counter(["background"])
    if twice := [name for name, count in structures.items() if count > 1]:
        raise InputError(
            f"{path}: labels: two are called {shortened(twice[0])}. Give each structure a name of its own."
        )
    if other := next((v for v, name in names.items() if name.strip().isdecimal() and name.strip() != str(v)), None):
        raise InputError(
            f"{path}: labels: is {shortened(names[other])} the name of the value {other}, or the other way round? Give "
            "the structure a name that is no number."
        )
    if nameless := [value for value, name in names.items() if not name.strip()]:
        raise InputError(f"{path}: labels: {nameless[0]} has no name.")


def declared_labels(paths: Iterable[Path], renamed: bool = False) -> DeclaredLabels:
    """What the ``dataset.json`` files among ``paths``, in one of them or beside one declare together; or nothing.

    Args:
        renamed: the values get other names, so that those of two files may differ.

    Raises:
        InputError: as :func:`declared_in`, or a value is one structure in one file and another one in the other.
    """
    together, first = DeclaredLabels(), Path()
    for path in described_by(paths):
        declared = declared_in(path)
        if not together.names:
            together, first = declared, path
        elif declared != together:
            together = _joined(together, declared, f"{first} and {path}", renamed)
    return together


def _joined(one: DeclaredLabels, other: DeclaredLabels, where: str, renamed: bool) -> DeclaredLabels:
    """The labels of both; of their names those of ``one``.

    Raises:
        InputError: a value of one is another structure in the other.
    """
    names = _with_ignore(one)
    values = {folded(name): value for value, name in names.items()}
    for value, name in _with_ignore(other).items():
        called, told = names.get(value, name), ""
        if (first := values.get(folded(name), value)) != value:
            told = f"{shortened(name)} is {first} and {value}"
        elif folded(called) != folded(name) and not (renamed and {folded(called), folded(name)}.isdisjoint(_SPECIAL)):
            told = f"{value} is {shortened(called)} and {shortened(name)}"
        if told:
            raise InputError(
                f"{where} contradict each other: {told}. In data sets that are used together a structure has one name "
                "and one value: correct one of them, and its label maps."
            )
    return DeclaredLabels(other.names | one.names, one.ignore if other.ignore is None else other.ignore)


def _with_ignore(labels: DeclaredLabels) -> dict[int, str]:
    return labels.names | ({} if labels.ignore is None else {labels.ignore: "ignore"})
