"""The momentum teacher: a slowly following copy of a network, which nothing is back-propagated into."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

#: The warm momentum of step t is t / (t + WARM): the teacher is made of the last eighth or so of the steps.
WARM = 9

Network = TypeVar("Network", bound=nn.Module)


class Teacher(nn.Module, Generic[Network]):
    """An exponential moving average of ``student``: its parameters averaged, its buffers copied.

    It stays in evaluation mode and its parameters ask for no gradient. Being a module, it is part of what resuming
    needs.

    Args:
        without: names of the student's child lists that the teacher does not need, e.g. ("decoder",).

    Attributes:
        network: the copy; call its own methods.
    """

    network: Network
    updates: Tensor

    def __init__(self, student: Network, without: Sequence[str] = ()) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).requires_grad_(False)
        for name in without:
            setattr(self.network, name, nn.ModuleList())
        self.register_buffer("updates", torch.tensor(0))
        self.train()

    def train(self, mode: bool = True) -> Teacher[Network]:
        """Evaluation mode whatever ``mode`` says."""
        super().train(False)
        return self

    @torch.no_grad()
    def follow(self, student: Network, momentum: float, warm: bool = True) -> None:
        """One step: parameter <- momentum * parameter + (1 - momentum) * student's; to be called after each update.

        Args:
            warm: in step t = 0, 1, ... the momentum is at most t / (t + 9): a copy at first, then ever slower. The
                usual 1 - 1 / (t + 1) (Tarvainen and Valpola; UA-MT's code) makes the mean of all steps since the
                random start, which in a run of some hundred steps is far behind its student.
        """
        if warm:
            steps = int(self.updates)
            momentum = min(steps / (steps + WARM), momentum)
        self.updates += 1
        theirs, buffers = dict(student.named_parameters()), dict(student.named_buffers())
        own = dict(self.network.named_parameters())
        torch._foreach_mul_(list(own.values()), momentum)
        torch._foreach_add_(list(own.values()), [theirs[name] for name in own], alpha=1 - momentum)
        for name, buffer in self.network.named_buffers():
            buffer.copy_(buffers[name])
