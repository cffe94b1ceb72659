"""Backbones by name: the files of this folder, and what other packages add.

Adding a backbone is writing one function under :func:`register_backbone`; see :mod:`.backbone` for what the module it
returns has, :mod:`...registration` for a backbone in a package of its own, and :mod:`...testing` for tests that hold it
to its contract.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from ..errors import InputError
from ..printable import quoted
from ..registration import Registry
from .backbone import Backbone, NetworkSpec

#: Called as ``builder(dimensions, in_channels, **arguments)``.
Builder = Callable[..., Backbone]

_BACKBONES: Registry[str, Builder] = Registry(__package__, "contrastiveseg.backbones")


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """Decorator: the function below it builds the backbone ``name``.

    It is called with the number of dimensions and of input channels; its other arguments are keywords of JSON types
    with defaults, which checkpoints store. The first line of its docstring says what it is.

    Raises:
        InputError: another function has that name.

    >>> import contrastiveseg as cs
    >>> from contrastiveseg.networks.vnet import vnet
    >>> @cs.register_backbone("narrow-vnet")
    ... def narrow_vnet(dimensions: int, in_channels: int, *, width: int = 8) -> cs.Backbone:
    ...     '''V-Net with half the channels.'''
    ...     return vnet(dimensions, in_channels, width=width)
    """

    def register(builder: Builder) -> Builder:
        _BACKBONES.add(name, builder)
        return builder

    return register


def available_backbones() -> dict[str, Builder]:
    """The function of every backbone by its name, sorted."""
    return _BACKBONES.all()


def build(spec: NetworkSpec) -> Backbone:
    """The freshly initialized backbone ``spec`` names.

    Raises:
        InputError: no such backbone, or arguments it does not take (the message lists what there is) or cannot use.
    """
    builder = _BACKBONES.get(spec.name)
    if builder is None:
        known = ", ".join(available_backbones())
        raise InputError(
            f"There is no backbone {quoted(spec.name)}. There are: {known}. If it is from another package, install "
            "that."
        )
    arguments = [p.name for p in inspect.signature(builder).parameters.values() if p.kind is p.KEYWORD_ONLY]
    try:
        inspect.signature(builder).bind(spec.dimensions, spec.in_channels, **spec.arguments)
    except TypeError as problem:
        raise InputError(
            f"Backbone {quoted(spec.name)}: {problem}. Its arguments: {', '.join(arguments)}."
        ) from problem
    try:
        network = builder(spec.dimensions, spec.in_channels, **spec.arguments)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as problem:
        raise InputError(
            f"The network {quoted(spec.name)} cannot be built: its arguments are of the wrong kind or size ({problem})."
        ) from problem
    network.spec = spec
    return network
