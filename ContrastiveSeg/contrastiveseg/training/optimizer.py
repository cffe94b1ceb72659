"""The optimizer, its learning rate over the budget, and the averaged weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from ..contrast.momentum import update_average
from ..methods.method import Optimization


def make_optimizer(
    module: nn.Module, how: Optimization, transferred: Collection[str] = (), rates: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """An optimizer over ``module``'s trainable parameters, in groups that learn at the same rate.

    Args:
        transferred: names of the parameters that came from a checkpoint; they learn at ``how.transferred_rate``.
        rates: further factors, by the beginning of a parameter's name.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            factor = how.transferred_rate if name in transferred else 1.0
            factor *= next((rate for start, rate in (rates or {}).items() if name.startswith(start)), 1.0)
            groups.setdefault(factor, []).append(parameter)
    parameters = [{"params": group, "factor": factor} for factor, group in groups.items()]
    if how.optimizer == "sgd":
        return _SGD(parameters, how.learning_rate, momentum=how.momentum, weight_decay=how.weight_decay)
    # One kernel for all parameters: two percent of a small network's step on a CPU.
    fused = {parameter.device.type for group in groups.values() for parameter in group} <= {"cpu", "cuda"}
    return _AdamW(parameters, how.learning_rate, weight_decay=how.weight_decay, fused=fused)


class _LoadsNoCompiler(torch.optim.Optimizer):
    """Methods of an optimizer without the wrappers by which torch loads its compiler: 1.5 s before the first step, for
    a training that compiles nothing."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class _AdamW(_LoadsNoCompiler, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class _SGD(_LoadsNoCompiler, torch.optim.SGD):
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


def learning_rate(how: Optimization, done: float) -> float:
    """The rate after a share ``done`` in [0, 1] of the budget: linear warm-up, then cosine or polynomial decay."""
    if done < how.warm_up:
        return how.learning_rate * (done + 1e-3) / (how.warm_up + 1e-3)
    left = 1 - (done - how.warm_up) / max(1 - how.warm_up, 1e-9)
    decay = 0.5 * (1 - math.cos(math.pi * left)) if how.schedule == "cosine" else max(left, 0.0) ** 0.9
    return how.learning_rate * decay


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's rate to ``rate`` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


class AveragedWeights:
    """Exponential moving average of a module's state dict (:func:`.contrast.momentum.update_average`)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        # Asking for the state dict takes as long as the average of a small network, so where each tensor is, is kept.
        paths = {name: name.rpartition(".") for name in self.state}
        self._places = {name: (module.get_submodule(path), own) for name, (path, _, own) in paths.items()}

    def update(self) -> None:
        """One step toward the module; the decay grows from small, so that the start is soon forgotten."""
        self.updates += 1
        values = {name: getattr(part, own) for name, (part, own) in self._places.items()}
        update_average(self.state, values, min(self.decay, (1 + self.updates) / (10 + self.updates)))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as flat named tensors "<parameter index>.<key>", for a resume file without pickle."""
    state: Mapping[int, Mapping] = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": value
        for index, entries in state.items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
