"""Methods in two processes on one machine, as ``torchrun`` starts them."""

from __future__ import annotations

import dataclasses
import importlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.multiprocessing

from ..training import distributed
from ..training.loop import train
from ..training.run import Budget, Run

if TYPE_CHECKING:
    from .methods import MethodUnderTest


def check_two_processes(methods: Sequence[MethodUnderTest], folder: Path) -> None:
    """Each method trains two steps in two gloo processes on the CPU, and both end with the same finite weights.

    The processes import the modules in which the methods are defined.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    modules = [tested.method.__module__ for tested in methods]
    assert "__main__" not in modules, "a method in a notebook or script cannot be imported; put it into a module"
    torch.multiprocessing.spawn(_process, (port, modules, list(methods), str(folder)), nprocs=2)
    for index, tested in enumerate(methods):
        first, second = (torch.load(folder / f"{index}-{rank}.pt") for rank in (0, 1))
        assert first, tested
        different = [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]
        # Queues and statistics may hold what each process has seen; the gradient is shared, so the parameters are one.
        parameters = dict(tested.on_toy_network().named_parameters())
        assert [name for name in different if name in parameters] == [], tested
        assert [name for name in parameters if not torch.isfinite(first[name]).all()] == [], tested


def _process(rank: int, port: int, modules: list[str], methods: list[MethodUnderTest], folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    device = distributed.start(torch.device("cpu"))
    for index, (module, tested) in enumerate(zip(modules, methods, strict=True)):
        importlib.import_module(module)
        distributed.seed(0)
        made = tested.on_toy_network()
        how = dataclasses.replace(tested.method.optimization, ema=0.0)
        done = train(made, tested.volumes(), how, Run(Budget(steps=2), device))
        torch.save(done.state, Path(folder) / f"{index}-{rank}.pt")
    distributed.stop()
