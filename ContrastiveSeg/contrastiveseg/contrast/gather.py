"""Rows of all processes for the loss of each, with gradients back to the process a row came from."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """How many processes train together (1 without ``torch.distributed``)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world() > 1 else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, dim: int) -> Tensor:
        ctx.dim, ctx.length = dim, rows.shape[dim]
        parts = [torch.empty_like(rows) for _ in range(world())]
        dist.all_gather(parts, rows)
        return torch.cat(parts, dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Every process's loss depends on these rows, so their gradient is the sum over all processes.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(ctx.dim, rank() * ctx.length, ctx.length), None


def gather(rows: Tensor, dim: int) -> Tensor:
    """``rows`` of every process, joined along ``dim`` in process order; ``rows`` itself when there is one process.

    Differentiable: the backward pass sums over processes, so that with gradients averaged over processes (as
    ``DistributedDataParallel`` does) a mean of per-process losses has exactly the gradient of the joint loss.
    All processes must hold tensors of the same shape and call this in the same order.
    """
    return rows if world() == 1 else _Gather.apply(rows.contiguous(), dim)
