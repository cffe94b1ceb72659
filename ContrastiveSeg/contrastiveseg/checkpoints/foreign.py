"""Importing weights of other projects: read without running their code, renamed, and checked one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .. import __version__
from ..errors import InputError
from ..files import check_output
from ..networks.registry import build
from ..networks.spec import NetworkSpec
from ..planning.plan import Channel, Plan
from .card import Card, Provenance
from .foreign_layouts import LAYOUTS, Layout, Tensors
from .format import not_finite, save
from .header import digest


@dataclass(frozen=True)
class ImportReport:
    """Names of their tensors that were used and that were not, and of ours that have no counterpart."""

    matched: tuple[str, ...]
    skipped: tuple[str, ...]
    fresh: tuple[str, ...]


def import_checkpoint(path: Path, source: str, output: Path, overwrite: bool = False) -> ImportReport:
    """Write the backbone in ``path`` as a pre-trained checkpoint that follows the data it is fine-tuned on.

    Args:
        path: a pickle of tensors (``.pth``, ``.pt``; loaded with ``weights_only``, so no code in it is run) or a
            safetensors file; tensors may lie under "net", "state_dict", "model_state_dict" or "model".
        source: one of :data:`.foreign_layouts.LAYOUTS`.

    Raises:
        InputError: the file or the output cannot be used, or a tensor is missing or of another shape.
    """
    if source not in LAYOUTS:
        raise InputError(f"There is no import from {source!r}. There are: {', '.join(LAYOUTS)}.")
    check_output(output, overwrite)
    layout = LAYOUTS[source]
    theirs = _tensors(path)
    try:
        names = {name: layout.name(name, theirs) for name in theirs}
        weights = {ours: _in_our_order(theirs[name], layout.turned) for name, ours in names.items() if ours is not None}
        if not weights:
            raise InputError(f"{path} holds no tensor that {source!r} knows; its first: {', '.join([*theirs][:3])}.")
        spec = layout.network(weights)
        own = build(spec).state_dict()
    except KeyError as problem:
        raise InputError(f"{path} is not the network of {source!r}: it has no {problem.args[0]}.") from problem
    except (IndexError, RuntimeError, ValueError) as problem:
        raise InputError(f"{path} is not the network of {source!r}: its tensors fit no network.") from problem
    kept = {n: t for n, t in own.items() if n.startswith(tuple(f"{m}." for m in layout.transferred))}
    for name in [n for n in kept if n not in weights and n.endswith(layout.absent)]:
        weights[name] = torch.zeros_like(kept[name])
    problems = [f"missing {name}" for name in kept if name not in weights]
    problems += [f"unexpected {name}" for name in weights if name not in own]
    problems += [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in kept.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    problems += [f"{name} holds values that are not numbers" for name in not_finite(weights) if name in kept]
    if problems:
        raise InputError(
            f"{path} does not fit the network of {source!r} ({len(problems)} differences): {'; '.join(problems[:5])}."
        )
    # The rest is as initialized, so that the file loads strictly.
    save(
        output,
        own | {n: weights[n].to(t.dtype) for n, t in kept.items()},
        _card(layout, spec, path, source),
    )
    taken = tuple(name for name, ours in names.items() if ours in kept)
    fresh = tuple(name for name in own if name not in kept)
    return ImportReport(taken, tuple(name for name in theirs if name not in taken), fresh)


def _tensors(path: Path) -> Tensors:
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(str(path))
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # a reader of foreign files may raise anything
        raise InputError(
            f"{path} cannot be read as tensors alone. Files that hold whole Python objects are not loaded, as they can "
            "run code; ask for its state_dict. A file of another kind, or one cut short, cannot be loaded either."
        ) from problem
    for key in ("net", "state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise InputError(f"{path} holds no tensors by name.")
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise InputError(f"{path}: {name} is sparse, quantized or without values. Save it as a plain tensor.")
    # What DataParallel puts before every name.
    return {str(name).removeprefix("module."): tensor for name, tensor in tensors.items()}


def _in_our_order(tensor: Tensor, turned: bool) -> Tensor:
    """A convolution's weight with its spatial axes in our order."""
    return tensor.permute(0, 1, *range(tensor.ndim - 1, 1, -1)).contiguous() if turned and tensor.ndim > 2 else tensor


def _card(layout: Layout, spec: NetworkSpec, path: Path, source: str) -> Card:
    """A card that says what is known; spacing and intensities follow the data ("any")."""
    channels = tuple(Channel(f"image {n + 1}") for n in range(spec.in_channels))
    patch = (*(1,) * (3 - spec.dimensions), *(4 * stride for stride in build(spec).total_stride))
    plan = Plan(spec.dimensions, channels, (1.0, 1.0, 1.0), (patch[0], patch[1], patch[2]))
    origin = Provenance(
        base=digest(path),
        base_method=f"{path.name}, imported from {source}",
        kept="imported",
        software=f"contrastiveseg {__version__}",
        citation=layout.citation,
    )
    return Card("pretrained", source, spec, plan, transferred=layout.transferred, provenance=origin)
