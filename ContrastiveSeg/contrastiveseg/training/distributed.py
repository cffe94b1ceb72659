"""Training in several processes, as ``torchrun`` starts them, or in one. Process 0 writes files and emits events."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import torch
from torch import distributed as dist

from ..contrast.gather import rank, world

__all__ = ["agreed", "barrier", "rank", "start", "stop", "world"]


def start(device: torch.device) -> torch.device:
    """Join the process group that ``torchrun`` announces in the environment; return this process's own device."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ or dist.is_initialized():
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    # The others wait while process 0 validates and writes; the default of ten minutes may be too short for that.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))
    return device


def stop() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
        # A workaround: DistributedDataParallel keeps gloo's threads alive, and one that still frees a tensor of
        # Python's while the interpreter ends aborts the process (pytorch#179291; seen once in some fifty runs).
        time.sleep(0.2)


def agreed(value: float, device: torch.device) -> float:
    """Process 0's ``value`` (float32), so that all stop at the same step and learn at the same rate."""
    if world() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float32, device=device)
    dist.broadcast(shared, src=0)
    return float(shared.item())


def barrier() -> None:
    """Wait for all processes."""
    if world() > 1:
        dist.barrier()
