"""Whether the voxels that a header declares fit into the memory, before room is made for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import InputError

_SYSTEM = Path("/proc/meminfo")
#: The limit of a container (cgroups of version 2).
_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def check_memory(path: Path, voxel_bytes: int) -> None:
    """Refuse a volume that the memory cannot hold: a packed file of 1 MB may hold 1 GB of zeros.

    Raises:
        InputError: naming both sizes. Where the system does not tell what is free, nothing is refused.
    """
    if (free := free_memory(voxel_bytes)) < voxel_bytes:
        raise InputError(
            f"{path} says that it holds {voxel_bytes / 2**30:.3g} GiB of voxels, and {free / 2**30:.3g} GiB of memory "
            "are free. If that is its size, crop or resample it first; else its header is damaged."
        )


def free_memory(unknown: int) -> int:
    """Bytes of memory that are free; ``unknown`` where the system does not tell."""
    return min(_limits(), default=unknown)


def _limits() -> Iterator[int]:
    with suppress(OSError, ValueError, StopIteration):
        lines = _SYSTEM.read_text(encoding="ascii").splitlines()
        yield 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    with suppress(OSError, ValueError):  # "max" where there is none
        yield int(_CONTAINER.read_text(encoding="ascii"))
