"""Renamed tensors into a network of ours: nothing is taken unless all of it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .. import __version__
from ..errors import InputError
from ..networks.registry import build
from ..networks.segmenter import Segmenter
from ..networks.spec import NetworkSpec
from .card import Card, Provenance
from .foreign_tensors import Tensors
from .format import not_finite
from .header import digest


@dataclass(frozen=True)
class Imported:
    """A checkpoint made from other people's weights, before it is written.

    Attributes:
        matched, skipped: names of their tensors that were used and that were not.
        fresh: names of ours that have no counterpart and are as initialized.
        notes: what the user should know, in sentences.
    """

    card: Card
    weights: Tensors
    matched: tuple[str, ...]
    skipped: tuple[str, ...]
    fresh: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def origin(weights: Path, name: str, source: str, license: str = "", citation: str = "") -> Provenance:
    """Where other people's ``weights`` come from: the file by its ``name``, and the project ``source``."""
    return Provenance(
        base=digest(weights),
        base_method=f"{name}, imported from {source}",
        kept="imported",
        software=f"contrastiveseg {__version__}",
        license=license,
        citation=citation,
    )


def network_of(weights: Tensors, network: Callable[[Tensors], NetworkSpec], whose: str) -> NetworkSpec:
    """What ``network`` makes of the names and shapes of ``weights``, if that can be built.

    Args:
        whose: names the file and its kind in messages.

    Raises:
        InputError: it cannot.
    """
    try:
        spec = network(weights)
        build(spec)
    except KeyError as problem:
        raise InputError(f"{whose}: it has no {problem.args[0]}.") from problem
    except (IndexError, RuntimeError, ValueError) as problem:
        raise InputError(f"{whose}: its tensors fit no network.") from problem
    return spec


def fitted(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], kept: Sequence[str], absent: tuple[str, ...], whose: str
) -> Tensors:
    """``own`` with every tensor of its sub-modules ``kept`` from ``weights``.

    Args:
        absent: endings of tensors that are 0 where ``weights`` lacks them.

    Raises:
        InputError: a tensor is missing, unexpected, of another shape, or holds NaN or infinity.
    """
    wanted = {name: tensor for name, tensor in own.items() if name.startswith(tuple(f"{part}." for part in kept))}
    given = dict(weights)
    for name in [n for n in wanted if n not in given and n.endswith(absent)]:
        given[name] = torch.zeros_like(wanted[name])
    problems = [f"missing {name}" for name in wanted if name not in given]
    problems += [f"unexpected {name}" for name in given if name not in own]
    problems += [
        f"{name} is {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    problems += [f"{name} holds values that are not numbers" for name in not_finite(given) if name in wanted]
    if problems:
        raise InputError(f"{whose} ({len(problems)} differences): {'; '.join(problems[:5])}.")
    return {**own, **{name: given[name].to(tensor.dtype) for name, tensor in wanted.items()}}


def fitted_segmenter(
    weights: Mapping[str, Tensor], spec: NetworkSpec, classes: int, absent: tuple[str, ...], whose: str
) -> Tensors:
    """The tensors of a segmenter from those of a backbone and of a "head.", all of which must be there.

    Raises:
        InputError: as :func:`fitted`.
    """
    network = Segmenter(build(spec), classes)
    own = {name.removeprefix("backbone."): tensor for name, tensor in network.state_dict().items()}
    every = fitted(weights, own, ("encoder", "decoder", "head"), absent, whose)
    return {name if name.startswith("head.") else f"backbone.{name}": tensor for name, tensor in every.items()}
