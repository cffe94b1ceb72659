"""The parameters of a method, its settings and its optimization, and the values that a job gives to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from ..descriptions import Training
from ..errors import InputError
from ..parameters import Parameter, Parameters, parameters_of
from ..printable import quoted
from ..serialization import american, from_json, to_json
from .method import Method, Optimization

_OPTIMIZATION = "optimization"
#: Options of a job that are parameters of the optimization.
_OPTIONS = ("learning_rate", "optimizer", "transferred_rate")

Values = TypeVar("Values", bound=Parameters)


def method_parameters(cls: type[Method]) -> list[Parameter]:
    """All parameters of a method with their defaults, as a job's ``settings`` name them.

    Its own come first, then those of the optimization, then those of its other parts.
    """
    settings = parameters_of(cls.Settings())
    own, parts = ([p for p in settings if bool(p.group) == grouped] for grouped in (False, True))
    return [*own, *parameters_of(cls.optimization, f"{_OPTIMIZATION}."), *parts]


def method_settings(cls: type[Method], given: Mapping[str, Any]) -> Any:
    """The method's settings with the values ``given`` by name in place of the defaults.

    Raises:
        InputError: a setting that the method does not have, or a value that it cannot have.
    """
    return _changed(cls.Settings(), given, "settings")


def configured(cls: type[Method], job: Training) -> tuple[Any, Optimization]:
    """The method's settings and its optimization, with the values of ``job`` in place of the defaults.

    Raises:
        InputError: a parameter that the method does not have, one given twice, or a value that it cannot have.
    """
    spelled = [american(key) for key in job.settings]
    twice = sorted({name for name in spelled if spelled.count(name) > 1})
    if twice:
        raise InputError(f"The setting {', '.join(twice)} is given twice, in two spellings.")
    settings: dict[str, Any] = {}
    optimization: dict[str, Any] = {}
    for key, value in job.settings.items():
        first, _, rest = key.partition(".")
        if american(first) == _OPTIMIZATION and rest:
            optimization[american(rest)] = value
        else:
            settings[key] = value
    for name in _OPTIONS:
        value = getattr(job, name, None)
        if value is None:
            continue
        if name in optimization:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} and the setting {_OPTIMIZATION}.{name} are the same. Give one of them.")
        optimization[name] = value
    return method_settings(cls, settings), _changed(cls.optimization, optimization, _OPTIMIZATION)


def _changed(values: Values, given: Mapping[str, Any], where: str) -> Values:
    """``values`` with those ``given`` in their place.

    "a.b" is the parameter b of the parameters a, and so is b in an object that is given for a: the others of a stay.
    """
    data: dict[str, Any] = to_json(values)
    for key, value in _single(values, given):
        holder: Any = data
        *path, last = key.split(".")
        for part in path:
            holder = holder.get(_name(part, holder)) if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or _name(last, holder) not in holder:
            known = ", ".join([*data, _OPTIMIZATION] if where != _OPTIMIZATION else data)
            raise InputError(f"There is no setting {quoted(key)}. Settings: {known}.")
        holder[_name(last, holder)] = value
    return from_json(type(values), data, where)


def _single(values: Any, given: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Each of the values ``given`` by its whole name; an object for a part of the parameters is several."""
    for key, value in given.items():
        part = values
        for name in key.split("."):
            part = getattr(part, american(name), None)
        if dataclasses.is_dataclass(part) and isinstance(value, Mapping):
            yield from _single(part, value, f"{within}{key}.")
        else:
            yield f"{within}{key}", value


def _name(given: str, known: Mapping[str, Any]) -> str:
    return given if given in known else american(given)
