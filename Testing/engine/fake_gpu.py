"""A GPU in counts: tensors that claim to lie on one, copies and waits that are counted, memory that runs out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

GPU = torch.device("cuda", 0)


class OnGpu(Tensor):
    """A tensor of the CPU that counts as one of the GPU, as do all that are computed from it."""

    device = GPU


@dataclass
class FakeGpu(TorchFunctionMode):
    """Active while inside.

    Attributes:
        free: bytes that its driver names as free. counts: copies "in" and "out", and "waits" for a value of it or for
            its end.
    """

    free: int = 2**33
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        name, options = getattr(function, "__name__", ""), dict(options or {})
        given = arguments[0] if arguments else None
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


def _is_gpu(place: Any) -> bool:
    return isinstance(place, torch.device) and place.type == "cuda"


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch, free: int = 2**33) -> Iterator[FakeGpu]:
    """While inside, ``cuda:0`` is there for tensors; modules stay where they are, and autocast is left out."""
    gpu = FakeGpu(free)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gpu.free, 2**36))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gpu.counts.update(emptied=1))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: gpu.counts.update(synchronized=1))
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: module)
    with gpu:
        yield gpu
