"""How many tiles a GPU's memory holds, and what happens where it holds fewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from ..device import out_of_memory
from ..errors import InputError

#: The most tiles a call: more keep a GPU no busier, and a run that is stopped waits for its last call.
_MOST_TILES = 8
#: Maps of a network's first level that are in memory together, in float32: those of the levels below count as one.
_MAPS = 10


class NotEnoughMemory(InputError):
    """The memory does not hold one tile."""


def tiles_at_once(tile: Sequence[int], channels: int, device: torch.device, dimensions: int) -> int:
    """How many tiles to give to the network in one call: on a GPU as many as half of its free memory holds.

    Args:
        tile: its voxels. channels: of the network's maps at full resolution. dimensions: 2 for slices.
    """
    if device.type == "cpu":
        return 1 if dimensions == 3 else 4
    if device.type != "cuda":
        return 4
    free = torch.cuda.mem_get_info(device)[0]
    # What torch keeps for further tensors is free as well.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    needed = prod(tile) * channels * torch.float32.itemsize * _MAPS
    return max(1, min(_MOST_TILES, free // (2 * needed)))


def holds(size: int, device: torch.device) -> bool:
    """Whether a third of a GPU's free memory holds ``size`` bytes."""
    return size <= torch.cuda.mem_get_info(device)[0] // 3


def within_memory(compute: Callable[[int], Tensor], batch: int, tile: Sequence[int], device: torch.device) -> Tensor:
    """``compute(batch)``; when memory runs out, again with half the batch, down to one tile.

    Raises:
        NotEnoughMemory: one tile does not fit the memory either.
    """
    while True:
        try:
            return compute(batch)
        except RuntimeError as problem:
            if not out_of_memory(problem):
                raise
        # outside of the except clause, whose traceback would keep the failed tensors alive
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if batch == 1:
            raise NotEnoughMemory(
                f"Not enough memory on {device} for one tile of {'x'.join(map(str, tile))} voxels. Close other "
                "programs that use it, compute on the CPU, or use a smaller network."
            )
        batch //= 2
