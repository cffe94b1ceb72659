"""A GPU in counts: tensors that claim to lie on one and refuse others, copies and waits, memory that runs out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

GPU = torch.device("cuda", 0)
#: What takes tensors of both places on a real GPU too, and the optimizer, as gradients lose their place here.
_TAKES_BOTH = {"__getitem__", "to", "copy_", "__get__", "__set__", "backward", "_fused_adamw_"}


class OnGpu(Tensor):
    """A tensor of the CPU that counts as one of the GPU, as do all that are computed from it."""

    device = GPU


@dataclass
class FakeGpu(TorchFunctionMode):
    """Active while inside.

    Attributes:
        free: bytes that its driver names as free. strict: functions refuse tensors of both places, as torch's do; not
            for networks that stay where they are. counts: copies "in" and "out", and "waits" for a value of it or for
            its end.
    """

    free: int = 2**33
    strict: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        name, options = getattr(function, "__name__", ""), dict(options or {})
        given = arguments[0] if arguments else None
        if self.strict and name not in _TAKES_BOTH:
            _refuse_both(name, [*_tensors(arguments), *_tensors(list(options.values()))])
        if name in ("to", "cpu") and isinstance(given, Tensor):
            return self._moved(function, name, arguments, options)
        if isinstance(given, OnGpu) and name in ("__bool__", "item", "tolist", "numpy", "__float__", "__int__"):
            self.counts["waits"] += 1
        made_there = _is_gpu(options.get("device"))
        if made_there:
            options["device"] = torch.device("cpu")
        result = function(*arguments, **options)
        return result.as_subclass(OnGpu) if made_there else result

    def _moved(self, function: Any, name: str, arguments: Any, options: dict[str, Any]) -> Tensor:
        given, places = arguments[0], [a for a in (*arguments[1:], *options.values()) if isinstance(a, torch.device)]
        there = name == "to" and any(map(_is_gpu, places))
        away = name == "cpu" or (bool(places) and not there)
        kept = [torch.device("cpu") if _is_gpu(a) else a for a in arguments[1:]]
        if there and not isinstance(given, OnGpu):
            self.counts["in"] += 1
            return function(given, *kept, **options).as_subclass(OnGpu)
        if away and isinstance(given, OnGpu):
            self.counts["out"] += 1
            return function(given.as_subclass(Tensor), *kept, **options)
        return function(given, *kept, **options)


def _tensors(given: Any) -> Iterator[Tensor]:
    for one in given if isinstance(given, (list, tuple)) else [given]:
        if isinstance(one, (list, tuple)):
            yield from _tensors(one)
        elif isinstance(one, Tensor):
            yield one


def _refuse_both(name: str, tensors: list[Tensor]) -> None:
    """As torch does; a single number may lie elsewhere."""
    here = [tuple(t.shape) for t in tensors if not isinstance(t, OnGpu) and t.ndim]
    there = [tuple(t.shape) for t in tensors if isinstance(t, OnGpu)]
    if here and there:
        raise RuntimeError(f"{name}: tensors of shape {there} lie on {GPU}, of {here} on the CPU")


def moved_to_gpu(module: nn.Module) -> None:
    """Its parameters and buffers count as of the GPU from now on."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(parameter.data.as_subclass(OnGpu), parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, buffer.as_subclass(OnGpu))


def _is_gpu(place: Any) -> bool:
    return isinstance(place, torch.device) and place.type == "cuda"


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch, free: int = 2**33, strict: bool = False) -> Iterator[FakeGpu]:
    """While inside, ``cuda:0`` is there for tensors; modules stay where they are, and autocast is left out."""
    gpu = FakeGpu(free, strict)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gpu.free, 2**36))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gpu.counts.update(emptied=1))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: gpu.counts.update(synchronized=1))
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: module)
    with gpu:
        yield gpu
