"""Backbones by name.

Adding a backbone is adding one function under :func:`register_backbone` in a file of this folder.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .backbone import Backbone, NetworkSpec

Builder = Callable[..., Backbone]

#: Builders by name, called as ``builder(dimensions, in_channels, **arguments)``.
BACKBONES: dict[str, Builder] = {}


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """Decorator: register a function ``(dimensions, in_channels, *, ...) -> Backbone`` as backbone ``name``."""

    def register(builder: Builder) -> Builder:
        BACKBONES[name] = builder
        return builder

    return register


def available_backbones() -> list[str]:
    """Names of all backbones, after reading all files of this folder."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
    return sorted(BACKBONES)


def build(spec: NetworkSpec) -> Backbone:
    """The freshly initialized backbone ``spec`` names.

    Raises:
        InputError: no such backbone, or arguments it does not take (the message lists what there is) or cannot use.
    """
    if spec.name not in available_backbones():
        raise InputError(f"There is no backbone {spec.name!r}. There are: {', '.join(available_backbones())}.")
    builder = BACKBONES[spec.name]
    known = [p.name for p in inspect.signature(builder).parameters.values() if p.kind is p.KEYWORD_ONLY]
    try:
        inspect.signature(builder).bind(spec.dimensions, spec.in_channels, **spec.arguments)
    except TypeError as problem:
        raise InputError(f"Backbone {spec.name!r}: {problem}. Its arguments: {', '.join(known)}.") from problem
    try:
        network = builder(spec.dimensions, spec.in_channels, **spec.arguments)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as problem:
        raise InputError(
            f"The network {spec.name!r} cannot be built: its arguments are of the wrong kind or size ({problem})."
        ) from problem
    network.spec = spec
    return network
