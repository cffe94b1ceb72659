"""Which device and which precision to compute in, and how to make the CPU's memory allocator fit for it."""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .descriptions import Precision
from .errors import InputError
from .printable import quoted


def resolve_device(name: str) -> torch.device:
    """ "auto", "cpu", "cuda", "cuda:N" or "mps" as a device that is really there.

    Raises:
        InputError: the device is not known or not present.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise InputError(f"There is no device {quoted(name)}. Use auto, cpu, cuda, cuda:N or mps.") from problem
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise InputError(f"{name} is asked for, but {count} CUDA devices are usable here. Use --device auto.")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("mps is asked for, but this machine has none. Use --device auto.")
    elif device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"There is no device {quoted(name)}. Use auto, cpu, cuda, cuda:N or mps.")
    return device


def out_of_memory(problem: RuntimeError) -> bool:
    """Whether torch failed for want of memory, on a GPU or on the CPU."""
    said = ("can't allocate memory", "out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(problem, torch.OutOfMemoryError) or any(text in str(problem) for text in said)


def autocast_dtype(device: torch.device, precision: Precision) -> torch.dtype | None:
    """The type to run networks in (None: float32), for ``torch.autocast``.

    "auto" takes bfloat16 on GPUs that compute in it, and on a CPU only where a probe shows that it is faster.
    """
    if precision == "32" or device.type == "mps":
        return None
    if precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    return torch.bfloat16 if _cpu_prefers_bf16() else None


@functools.cache
def _cpu_prefers_bf16() -> bool:
    """Time one 3D convolution, forward and backward, in both types; CPUs without bf16 units are >100 times slower."""
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    x = torch.randn(2, 32, 16, 16, 16)
    convolution = torch.nn.Conv3d(32, 32, 3, padding=1)

    def seconds(dtype: torch.dtype | None) -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            convolution(x).float().square().mean().backward()
        return time.perf_counter() - start

    # In turns, and the shortest of each: on a busy machine most runs are interrupted, and the answer must not change.
    turns = [(seconds(None), seconds(torch.bfloat16)) for _ in range(9)][1:]
    in_float32, in_bfloat16 = (min(times) for times in zip(*turns, strict=True))
    return in_bfloat16 < 0.9 * in_float32


@contextmanager
def autocast(device: torch.device, dtype: torch.dtype | None) -> Iterator[None]:
    """``torch.autocast`` to ``dtype``, or nothing when it is None."""
    with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        yield


@functools.cache
def keep_large_buffers() -> None:
    """Let glibc keep freed tensors above 32 MB instead of returning them to the kernel (Linux only).

    Without it every large activation is page-faulted in anew: a quarter of the time of a 96^3 forward pass.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        mmap_threshold, trim_threshold, two_gib = -3, -1, 2**31 - 1
        libc.mallopt(mmap_threshold, two_gib)
        libc.mallopt(trim_threshold, two_gib)
