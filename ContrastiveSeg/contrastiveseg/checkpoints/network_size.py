"""Refusing a card whose network is far larger than the weights that the file holds, before memory is taken for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from ..errors import InputError
from ..networks.registry import build
from ..networks.spec import NetworkSpec

#: A file may leave out modules that were not trained, so a network may have so many times the file's numbers,
_TIMES = 16
#: and always so many: 64 MiB.
_ALWAYS = 2**24


def check_network_size(spec: NetworkSpec, stored: int, path: Path) -> None:
    """Build the network without memory for its parameters, and stop where they are too many.

    A network that cannot be built is not refused here: whoever builds it says why.

    Args:
        stored: how many numbers the checkpoint ``path`` holds.

    Raises:
        InputError: the network that ``spec`` names is too large for the file.
    """
    most, seen = max(_TIMES * stored, _ALWAYS), 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal seen
        seen += parameter.numel()
        if seen > most:
            raise _TooLarge(
                f"{path}: its card names a network of more than {most} parameters, and the file holds {stored}. The "
                "file is damaged or was changed by hand; copy it again."
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), _NoValues():
            build(spec)
    except _TooLarge:
        raise
    except InputError:
        return
    finally:
        hook.remove()


class _TooLarge(InputError):
    pass


class _NoValues(TorchFunctionMode):
    """Tensors without memory take no values: random ones would make torch load its compiler, which takes a second."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        in_place = getattr(func, "__name__", "") in ("normal_", "uniform_", "fill_", "zero_", "trunc_normal_")
        return args[0] if in_place else func(*args, **(kwargs or {}))
