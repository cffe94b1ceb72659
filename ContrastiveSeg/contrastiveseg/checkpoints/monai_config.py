"""The configuration of a MONAI bundle as plain values: parsed, never instantiated, so that no code in it runs.

A bundle's JSON names classes by ``_target_``, refers to other parts by "@a#b", and holds Python expressions that begin
with "$". References are followed, the names of classes are compared with those that are known here, and an expression
is refused where its value is needed.

Source: MONAI 1.6, monai/bundle/config_item.py, reference_resolver.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError

#: A number that is not beyond what any configuration means.
_LARGEST = 1e300
#: References that are followed one after the other, at most.
_MOST_STEPS = 50


@dataclass(frozen=True)
class Part:
    """An object that a bundle's configuration describes: the class's name without its module, and its arguments."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Config:
    """A parsed configuration; ``where`` names its file in messages."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, Mapping):
            raise InputError(f"{where}: expected an object with named fields.")
        self.data, self.where = data, where

    def value(self, given: Any, what: str) -> Any:
        """``given`` with what it refers to in its place.

        Raises:
            InputError: it is an expression, or refers to what is not there.
        """
        for _ in range(_MOST_STEPS):
            if isinstance(given, str) and given.startswith("@"):
                given = self._referred(given, what)
            elif isinstance(given, str) and given.startswith(("$", "%")):
                raise InputError(
                    f"{self.where}: {what} is the expression {given[:80]!r}. Expressions are not run; write its value "
                    "in its place."
                )
            elif isinstance(given, (list, tuple)):
                return [self.value(one, what) for one in given]
            else:
                return given
        raise InputError(f"{self.where}: {what} refers to itself.")

    def part(self, given: Any, what: str) -> Part:
        """The object that ``given`` describes; its arguments are as they stand.

        Raises:
            InputError: it describes none.
        """
        described = self.value(given, what)
        target = described.get("_target_") if isinstance(described, Mapping) else None
        if not isinstance(target, str) or not target:
            raise InputError(f"{self.where}: {what} names no class by _target_.")
        arguments = {name: one for name, one in described.items() if not (name.startswith("_") and name.endswith("_"))}
        return Part(target.rpartition(".")[2], arguments)

    def transforms(self, key: str) -> list[Part]:
        """The transforms of the Compose under ``key``, without those that are switched off; [] where there is none.

        Raises:
            InputError: there is something else than a Compose of transforms.
        """
        if key not in self.data:
            return []
        compose = self.part(self.data[key], key)
        listed = self.value(compose.arguments.get("transforms"), key) if compose.name == "Compose" else None
        if not isinstance(listed, Sequence):
            raise InputError(f"{self.where}: {key} is no Compose of transforms.")
        used = [one for one in listed if not (isinstance(one, Mapping) and one.get("_disabled_") is True)]
        return [self.part(one, f"{key}, transform {number}") for number, one in enumerate(used, 1)]

    def number(self, part: Part, name: str, default: float | None = None) -> float:
        """An argument of ``part`` that is a number.

        Raises:
            InputError: it is none, or missing without a default.
        """
        found = self.value(part.arguments.get(name, default), f"{name} of {part.name}")
        if not _is_number(found):
            raise InputError(f"{self.where}: {name} of {part.name} is not a number.")
        return float(found)

    def numbers(self, part: Part, name: str, count: int) -> tuple[float, ...]:
        """An argument of ``part`` that is ``count`` numbers, or one for all of them.

        Raises:
            InputError: it is not.
        """
        found = self.value(part.arguments.get(name), f"{name} of {part.name}")
        each = found if isinstance(found, list) else [found] * count
        if len(each) != count or not all(map(_is_number, each)):
            raise InputError(f"{self.where}: {name} of {part.name} is not {count} numbers.")
        return tuple(float(n) for n in each)

    def switch(self, part: Part, name: str, default: bool) -> bool:
        """An argument of ``part`` that is true or false.

        Raises:
            InputError: it is neither.
        """
        found = self.value(part.arguments.get(name, default), f"{name} of {part.name}")
        if not isinstance(found, bool):
            raise InputError(f"{self.where}: {name} of {part.name} is neither true nor false.")
        return found

    def _referred(self, reference: str, what: str) -> Any:
        found: Any = self.data
        for key in reference[1:].replace("::", "#").split("#"):
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and len(key) < 10 and int(key) < len(found):
                found = found[int(key)]
            else:
                raise InputError(f"{self.where}: {what} refers to {reference!r}, which is not there.")
        return found


def _is_number(value: Any) -> bool:
    """Whether it is a finite number, as JSON's readers give others, too; and one that a float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST
