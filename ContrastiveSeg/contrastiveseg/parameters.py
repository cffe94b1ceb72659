"""One description of a parameter: default, meaning, unit, bounds, choices and source, written at its field.

Job options, method settings and the optimization are frozen dataclasses derived from :class:`Parameters`, and their
fields are made by :func:`parameter`. From the fields follow the command line, the check of values, the tables of the
documentation and the panel's form; :func:`parameters_of` lists them. Light to import.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .errors import InputError

#: What a parameter holds. An interval is two numbers, the smaller first; a box is three intervals; texts are several
#: texts; a table is KEY=VALUE pairs; json is anything else, as a method of another package may have.
Kind = Literal["bool", "int", "float", "text", "choice", "interval", "box", "texts", "table", "json"]

#: The marks in :attr:`Description.source`, in words.
SOURCES = {
    "P": "the paper",
    "C": "the authors' code",
    "S": "the paper's abstract, figures or project page",
    "R": "reconstructed, see the method's specification",
    "A": "our adaptation",
}


class ParameterError(InputError):
    """A parameter ``name`` (dotted, where it lies in another) has a value that ``rule`` says it cannot have."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"{name} {rule}")
        self.name, self.rule = name, rule

    def within(self, place: str) -> ParameterError:
        """The same error, with the name of the ``place`` that holds the parameter before its own."""
        return ParameterError(f"{place}.{self.name}", self.rule)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The finite numbers that a parameter can be."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def allow(self, number: float) -> bool:
        """Whether the bounds and the finite numbers hold ``number``."""
        return (
            (not isinstance(number, float) or math.isfinite(number))
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        """The bounds in words, "" where there are none."""
        if self.at_least is not None and self.at_most is not None:
            return f"from {_written(self.at_least)} to {_written(self.at_most)}"
        if self.at_least is not None and self.below is None:
            return f"{_written(self.at_least)} or more"
        limits = {"at least": self.at_least, "more than": self.above, "at most": self.at_most, "below": self.below}
        return " and ".join(f"{word} {_written(limit)}" for word, limit in limits.items() if limit is not None)


def _written(number: float) -> str:
    return str(int(number) if number == int(number) else number)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a field says of its parameter.

    Attributes:
        help: the meaning, as part of a sentence. unit: of the number.
        source: where the default comes from: marks of :data:`SOURCES` in brackets, or a name.
        bounds: of the number; of both numbers of an interval; of the strengths of a random change.
        placeholder: what the command line's help shows for a value, e.g. NAME.
    """

    help: str
    unit: str = ""
    source: str = ""
    bounds: Bounds = Bounds()
    placeholder: str = ""


_DESCRIPTION = "description"


def parameter(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    unit: str = "",
    source: str = "",
    placeholder: str = "",
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field with its :class:`Description`; without ``default`` it has to be given."""
    bounds = Bounds(at_least=at_least, above=above, at_most=at_most, below=below)
    described = Description(help=help, unit=unit, source=source, bounds=bounds, placeholder=placeholder)
    metadata = {_DESCRIPTION: described}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def as_in(cls: type[Parameters], name: str, default: Any = dataclasses.MISSING, *, source: str | None = None) -> Any:
    """A field described as ``name`` of ``cls`` is; ``default`` and ``source`` are its own where they are given."""
    (field,) = (field for field in dataclasses.fields(cls) if field.name == name)  # type: ignore[arg-type]
    described = _description(field)
    if source is not None:
        described = dataclasses.replace(described, source=source)
    default = field.default if default is dataclasses.MISSING else default
    return dataclasses.field(default=default, metadata={_DESCRIPTION: described})


class Parameters:
    """Base of the frozen dataclasses whose fields are parameters; their values are checked when one is made.

    A class with rules that concern several fields checks them in its own ``__post_init__``, after this one's.

    Raises:
        ParameterError: a number outside its bounds or not finite, an interval with the larger number first, an
            empty text where the default is none, or a text with a null character.
    """

    #: The fields to which the bounds and the unit apply of a parameter that is of this class.
    strengths: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for field in dataclasses.fields(cls):
            value, bounds = getattr(self, field.name), _description(field).bounds
            for name, part in _parts(field.name, value):
                if part == "" and field.default != "":
                    raise ParameterError(name, "is empty. Is a variable not set?")
                if isinstance(part, str) and "\0" in part:
                    raise ParameterError(name, "holds a null character, which no path and no name has.")
                if isinstance(part, (int, float)) and not bounds.allow(part):
                    raise ParameterError(name, f"must be {str(bounds) or 'a finite number'}, not {part}.")
            if isinstance(value, tuple) and field.name in _intervals(cls) and value[0] > value[1]:
                raise ParameterError(field.name, f"must be two numbers, the smaller first, not {value}.")

    @property
    def used(self) -> bool:
        """Whether the strengths have any effect; where not, they may lie outside their bounds."""
        return True


def _description(field: dataclasses.Field) -> Description:
    # Methods of other packages may have settings without descriptions.
    return field.metadata.get(_DESCRIPTION, Description(help=""))


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The single values, each with its name, that a parameter's bounds apply to."""
    if isinstance(value, Parameters):
        yield from ((f"{name}.{part}", getattr(value, part)) for part in value.strengths if value.used)
    elif isinstance(value, tuple):
        yield from ((name, part) for part in value)
    else:
        yield name, value


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter as users meet it.

    Attributes:
        name: dotted where it lies in others, as "intensity.noise.high".
        kind: what it holds, see :data:`Kind`.
        default: None where it has none: it is ``required``, or ``optional``, that is, may be None.
        choices: what a "choice" may be.
    """

    name: str
    kind: Kind
    help: str
    default: Any = None
    required: bool = False
    optional: bool = False
    choices: tuple[Any, ...] = ()
    unit: str = ""
    source: str = ""
    bounds: Bounds = Bounds()
    placeholder: str = ""

    @property
    def group(self) -> str:
        """The name without its last part, "" for a parameter that lies in no other."""
        return self.name.rpartition(".")[0]

    @property
    def allowed(self) -> str:
        """The unit, and the bounds or the choices, in words."""
        choices = f"one of {', '.join(map(str, self.choices))}" if self.choices else ""
        return ", ".join(words for words in (self.unit, choices, str(self.bounds)) if words)


def parameters_of(of: Any, prefix: str = "") -> list[Parameter]:
    """The parameters of a dataclass, with its defaults, or of an instance, with its values; ``prefix`` is put before
    their names. A parameter that is a dataclass itself is replaced by its own parameters.
    """
    cls: Any = of if isinstance(of, type) else type(of)
    listed: list[Parameter] = []
    for field in dataclasses.fields(cls):
        described, hint = _description(field), _hints(cls)[field.name]
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        value = _default(field) if isinstance(of, type) else getattr(of, field.name)
        if dataclasses.is_dataclass(value):
            listed += _within(value, described, f"{prefix}{field.name}.")
            continue
        bare = _without_none(hint)
        listed.append(
            Parameter(
                name=prefix + field.name,
                kind=_kind(bare),
                help=described.help,
                default=value,
                required=required,
                optional=bare is not hint,
                choices=typing.get_args(bare) if typing.get_origin(bare) is Literal else (),
                unit=described.unit,
                source=described.source,
                bounds=described.bounds,
                placeholder=described.placeholder,
            )
        )
    return listed


def _within(value: Any, outer: Description, prefix: str) -> list[Parameter]:
    """The parameters of ``value``, whose strengths are those of the parameter that ``outer`` describes."""
    listed, strengths = [], getattr(value, "strengths", ())
    for inner in parameters_of(value, prefix):
        changes: dict[str, Any] = {"source": inner.source or outer.source}
        if strengths:
            changes["help"] = f"{outer.help}: {inner.help}"
        if inner.name.removeprefix(prefix) in strengths:
            changes |= {"unit": outer.unit, "bounds": outer.bounds}
        listed.append(dataclasses.replace(inner, **changes))
    return listed


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


@functools.cache
def _hints(cls: type) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _intervals(cls: type) -> frozenset[str]:
    return frozenset(name for name, hint in _hints(cls).items() if hint in (tuple[float, float], tuple[int, int]))


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 else hint


def _kind(hint: Any) -> Kind:
    """What a parameter of this type holds."""
    simple: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
    if hint in simple:
        return simple[hint]
    if hint in (tuple[float, float], tuple[int, int]):
        return "interval"
    if hint == tuple[float, float, float, float, float, float]:
        return "box"
    if hint == tuple[str, ...]:
        return "texts"
    kinds: dict[Any, Kind] = {Literal: "choice", Mapping: "table"}
    return kinds.get(typing.get_origin(hint), "json")
