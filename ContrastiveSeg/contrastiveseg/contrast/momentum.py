"""Exponential moving averages of weights, and the momentum teacher: an averaged copy that receives no gradient."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

#: The warm momentum of step t is t / (t + WARM): the teacher averages about the last eighth of the steps.
WARM = 9

NetworkType = TypeVar("NetworkType", bound=nn.Module)


@torch.no_grad()
def update_average(average: Mapping[str, Tensor], values: Mapping[str, Tensor], momentum: float) -> None:
    """One step in place: average <- momentum * average + (1 - momentum) * value; integers (counters) are copied.

    Tensors pair by name; ``values`` may hold more than ``average``.
    """
    floating = {name: tensor for name, tensor in average.items() if tensor.is_floating_point()}
    # One pass over the memory, which is what it costs.
    torch._foreach_lerp_(list(floating.values()), [values[name] for name in floating], 1 - momentum)
    for name in average.keys() - floating.keys():
        average[name].copy_(values[name])


class Teacher(nn.Module, Generic[NetworkType]):
    """An exponential moving average of ``student``: its parameters averaged, its buffers copied.

    It stays in evaluation mode and its parameters require no gradient. It is a module, so its state is saved for
    resuming.

    Args:
        without: names of the student's child lists that the teacher does not need, e.g. ("decoder",).

    Attributes:
        network: the copy; call its own methods.
    """

    network: NetworkType
    updates: Tensor

    def __init__(self, student: NetworkType, without: Sequence[str] = ()) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).requires_grad_(False)
        for name in without:
            setattr(self.network, name, nn.ModuleList())
        self.register_buffer("updates", torch.tensor(0))
        self.train()

    def train(self, mode: bool = True) -> Teacher[NetworkType]:
        """Evaluation mode whatever ``mode`` says."""
        super().train(False)
        return self

    @torch.no_grad()
    def follow(self, student: NetworkType, momentum: float, warm: bool = True) -> None:
        """:func:`update_average` of the parameters toward the student's; to be called after each optimizer step.

        Args:
            warm: in step t = 0, 1, ... the momentum is at most t / (t + 9): a copy at first, then ever slower. The
                usual 1 - 1 / (t + 1) (Tarvainen and Valpola; UA-MT's code) gives the mean of all steps since the
                random start, which in a run of some hundred steps is far behind its student.
        """
        if warm:
            steps = int(self.updates)
            momentum = min(steps / (steps + WARM), momentum)
        self.updates += 1
        update_average(dict(self.network.named_parameters()), dict(student.named_parameters()), momentum)
        buffers = dict(student.named_buffers())
        for name, buffer in self.network.named_buffers():
            buffer.copy_(buffers[name])
