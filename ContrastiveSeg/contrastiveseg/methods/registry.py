"""Methods by name and stage: the files of this folder, and what other packages add.

Adding a method is writing one file with a class under :func:`register_method`; see :mod:`.method` for what the class
has, :mod:`...registration` for a method in a package of its own, and :mod:`...testing` for tests that hold it to its
contract.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar, get_args

from ..errors import InputError
from ..printable import quoted
from ..registration import Registry
from .method import Method, SegmentationMethod

TrainingStage = Literal["pretrain", "finetune"]
MethodType = TypeVar("MethodType", bound=type[Method])

_METHODS: Registry[tuple[TrainingStage, str], type[Method]] = Registry(__package__, "contrastiveseg.methods")


def register_method(name: str, stage: TrainingStage) -> Callable[[MethodType], MethodType]:
    """Class decorator: the :class:`.method.Method` below it is the method ``name`` of ``stage``.

    In "finetune" it is a :class:`.method.SegmentationMethod`.

    Raises:
        InputError: the stage or the class is of the wrong kind, the class lacks an attribute that every method has, or
            another class has that name.

    >>> import dataclasses
    >>> import contrastiveseg as cs
    >>> from contrastiveseg.methods.supervised import Supervised
    >>> @cs.register_method("supervised-calm", stage="finetune")
    ... class Calm(Supervised):
    ...     '''Supervised fine-tuning at a third of the rate.'''
    ...     optimization = dataclasses.replace(Supervised.optimization, learning_rate=2e-3)
    """
    if stage not in get_args(TrainingStage):
        raise InputError(f"There is no stage {stage!r}. There are: {', '.join(get_args(TrainingStage))}.")

    def register(cls: MethodType) -> MethodType:
        base = SegmentationMethod if stage == "finetune" else Method
        if not issubclass(cls, base):
            raise InputError(f"{cls.__qualname__} is no {base.__name__}, which a method to {stage} with must be.")
        for attribute in ("Settings", "optimization", "description", "citation"):
            if not hasattr(cls, attribute):
                raise InputError(f"{cls.__qualname__} has no {attribute}. See contrastiveseg.methods.method.Method.")
        _METHODS.add((stage, name), cls)
        return cls

    return register


def find_method(stage: TrainingStage, name: str) -> type[Method]:
    """The method ``name`` of ``stage``.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    method = _METHODS.get((stage, name))
    if method is None:
        known = ", ".join(methods_of(stage))
        raise InputError(
            f"There is no method {quoted(name)} to {stage} with. There are: {known}. If it is from another package, "
            "install that."
        )
    return method


def available_methods() -> list[tuple[TrainingStage, str]]:
    """(stage, name) of every method, sorted."""
    return list(_METHODS.all())


def methods_of(stage: TrainingStage) -> dict[str, type[Method]]:
    """All methods of ``stage`` by name."""
    return {name: method for (s, name), method in _METHODS.all().items() if s == stage}
