"""Frozen dataclasses to JSON and back; the one way settings, plans, cards and jobs are stored.

Reading is strict: an unknown key, a missing key or a value of the wrong type is refused with its path. A name in
British spelling, as it was written before version 0.2, stands for the American one.
:func:`key_value` reads single settings as people type them.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from .errors import InputError
from .parameters import ParameterError
from .printable import quoted, shortened

T = TypeVar("T")

#: More of an unknown name is not compared with those that are known: that takes the square of its length.
_LONGEST = 100

#: British spellings of the names of fields, which files, jobs and commands made before version 0.2 hold.
_BRITISH = (
    ("catalogue", "catalog"),
    ("centre", "center"),
    ("colour", "color"),
    ("labelled", "labeled"),
    ("licence", "license"),
    ("optimis", "optimiz"),
    ("normalis", "normaliz"),
)


def american(name: str) -> str:
    """The field's name of today, where ``name`` is its former, British spelling."""
    for british, today in _BRITISH:
        name = name.replace(british, today)
    return name


def to_json(value: Any) -> Any:
    """``value`` (dataclass, tuple, mapping, enum or scalar) as JSON types. Tuples become lists, enums their values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value.value if isinstance(value, enum.Enum) else value


def from_json(cls: type[T], data: Any, where: str = "") -> T:
    """The dataclass ``cls`` from parsed JSON.

    Raises:
        InputError: unknown or missing keys, or a value that is not of the field's type. ``where`` names the place.
        ParameterError: a value that its parameter cannot have.
    """
    where = where or cls.__name__
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: expected an object with named fields, found {type(data).__name__}.")
    hints, fields = _described(typing.cast(type, cls))
    names = [key if key in fields else american(str(key)) for key in data]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{where}: {', '.join(map(shortened, twice[:5]))} given twice, in two spellings.")
    spelled = dict(zip(names, data, strict=True))
    data = dict(zip(names, data.values(), strict=True))
    unknown = sorted(set(data) - set(fields))
    if unknown:
        listed = ", ".join(shortened(spelled[name]) for name in unknown[:5])
        alike = difflib.get_close_matches(unknown[0][:_LONGEST], fields, 1)
        meant = f" Did you mean {alike[0]}?" if alike else ""
        raise InputError(f"{where}: unknown {listed}. Known: {', '.join(fields)}.{meant}")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{where}.{spelled[name]}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: {name} is missing.")
    try:
        return cls(**values)
    except ParameterError as refused:
        raise ParameterError(spelled.get(refused.name, refused.name), refused.rule).within(where) from refused


@functools.cache
def _described(cls: type) -> tuple[dict[str, Any], dict[str, dataclasses.Field]]:
    """Types and fields by name. Kept: a card may list a thousand training cases, each a record."""
    return typing.get_type_hints(cls), {f.name: f for f in dataclasses.fields(cls)}


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        options = [a for a in args if a is not type(None)]
        for option in options[:-1]:
            try:
                return _convert(option, value, where)
            except InputError:
                continue
        return _convert(options[-1], value, where)
    if origin is typing.Literal:
        # 2.0 == 2 and True == 1, but neither is what was declared.
        if not any(value == a and type(value) is type(a) for a in args):
            raise InputError(f"{where}: {quoted(value)} is not one of {', '.join(map(repr, args))}.")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where}: expected a list, found {quoted(value)}.")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) != len(args):
            raise InputError(f"{where}: expected {len(args)} values, found {len(value)}.")
        return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: expected an object, found {quoted(value)}.")
        return {str(k): _convert(args[1], v, f"{where}.{shortened(k)}") for k, v in value.items()}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _member(hint, value, where)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value, where)
    if isinstance(hint, type) and (not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool)):
        raise InputError(f"{where}: expected {hint.__name__}, found {quoted(value)}.")
    return value


def _member(kind: type[enum.Enum], value: Any, where: str) -> enum.Enum:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(repr(member.value) for member in kind)
        raise InputError(f"{where}: {quoted(value)} is not one of {known}.") from None


def _finite(value: float, where: str) -> float:
    """JSON knows no NaN and no infinity, but its readers take them, and whole numbers that no float can hold."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{where}: expected a finite number, found {number}.")
    return number


def key_value(text: str) -> tuple[str, Any]:
    """Key and value of ``KEY=VALUE`` as typed: the value is read as JSON where it is JSON, as text otherwise.

    Raises:
        InputError: there is no equals sign, or nothing before it.
    """
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise InputError(f"KEY=VALUE is wanted here, not {text!r}.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
