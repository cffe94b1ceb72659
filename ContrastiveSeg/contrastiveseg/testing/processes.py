"""Methods in two processes on one machine, as ``torchrun`` starts them."""

from __future__ import annotations

import dataclasses
import importlib
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.multiprocessing

from ..training import distributed
from ..training.loop import train
from ..training.run import Budget, Run

if TYPE_CHECKING:
    from .methods import MethodUnderTest


def in_two_processes(function: Callable[..., None], *arguments: Any) -> None:
    """Call ``function(rank, *arguments)`` in two new processes of one thread each, with the variables that ``torchrun``
    sets; returns when both have ended.

    Raises:
        torch.multiprocessing.ProcessRaisedException: an error in one of them, with its text.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    way = "spawn"
    if sys.platform == "linux":
        # A server loads the libraries once, and all processes are forked from it.
        way = "forkserver"
        multiprocessing.set_forkserver_preload(["contrastiveseg.testing.methods"])
    torch.multiprocessing.start_processes(_call, (port, function, arguments), nprocs=2, start_method=way)


def _call(rank: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    function(rank, *arguments)


def check_two_processes(methods: Sequence[MethodUnderTest], folder: Path) -> None:
    """Each method trains two steps in two gloo processes on the CPU, and both end with the same finite weights.

    The processes import the modules in which the methods are defined.
    """
    modules = [tested.method.__module__ for tested in methods]
    assert "__main__" not in modules, "a method in a notebook or script cannot be imported; put it into a module"
    in_two_processes(_train_each, modules, list(methods), str(folder))
    for index, tested in enumerate(methods):
        first, second = (torch.load(folder / f"{index}-{rank}.pt") for rank in (0, 1))
        assert first, tested
        different = [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]
        # Queues and statistics may hold what each process has seen; the gradient is shared, so the parameters are one.
        parameters = dict(tested.on_toy_network().named_parameters())
        assert [name for name in different if name in parameters] == [], tested
        assert [name for name in parameters if not torch.isfinite(first[name]).all()] == [], tested


def _train_each(rank: int, modules: list[str], methods: list[MethodUnderTest], folder: str) -> None:
    device = distributed.start(torch.device("cpu"))
    for index, (module, tested) in enumerate(zip(modules, methods, strict=True)):
        importlib.import_module(module)
        torch.manual_seed(0)
        made = tested.on_toy_network()
        how = dataclasses.replace(tested.method.optimization, ema=0.0)
        done = train(made, tested.volumes(), how, Run(Budget(steps=2), device))
        torch.save(done.state, Path(folder) / f"{index}-{rank}.pt")
    distributed.stop()
