"""Methods by name and stage; reading this folder's files is what registers ours."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from ..errors import InputError
from .method import Method

Stage = Literal["pretrain", "finetune"]
MethodType = TypeVar("MethodType", bound=type[Method])

_METHODS: dict[tuple[Stage, str], type[Method]] = {}


def register_method(name: str, stage: Stage) -> Callable[[MethodType], MethodType]:
    """Class decorator: register a :class:`.method.Method` as ``name`` of ``stage``."""

    def register(cls: MethodType) -> MethodType:
        _METHODS[stage, name] = cls
        return cls

    return register


def find_method(stage: Stage, name: str) -> type[Method]:
    """The method ``name`` of ``stage``.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    methods = methods_of(stage)
    if name not in methods:
        raise InputError(f"There is no method {name!r} to {stage} with. There are: {', '.join(methods)}.")
    return methods[name]


def available_methods() -> list[tuple[Stage, str]]:
    """Every registered (stage, name), after reading all files of this folder."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
    return sorted(_METHODS)


def methods_of(stage: Stage) -> dict[str, type[Method]]:
    """All methods of ``stage`` by name."""
    return {name: _METHODS[s, name] for s, name in available_methods() if s == stage}
