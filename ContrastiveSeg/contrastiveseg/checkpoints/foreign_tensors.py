"""Reading other people's weight files without running their code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from ..errors import InputError
from ..files import check_fetched, near, readable

Tensors = dict[str, Tensor]

#: Under these keys files hold their tensors by name; several may lie in one another.
_HOLDERS = ("network_weights", "net", "state_dict", "model_state_dict", "model")
#: What DataParallel and torch.compile put before every name.
_WRAPPERS = ("module.", "_orig_mod.")


def load_content(path: Path) -> Any:
    """What the ``.safetensors`` or pickled file at ``path`` holds: tensors, numbers, texts, containers of them.

    Besides those, which ``weights_only`` lets through, only numpy's scalars are allowed, as nnU-Net stores them with
    its weights. None of these can run code.

    Raises:
        InputError: the file is not there, or holds anything else.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.{near(path)}")
    with readable(path), path.open("rb") as file:
        check_fetched(path, file.read(1024))
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(str(path))
        with torch.serialization.safe_globals(_numpy_scalars()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # a reader of foreign files may raise anything
        raise InputError(
            f"{path} cannot be read as tensors alone. Files that hold whole Python objects are not loaded, as they can "
            "run code; ask for its state_dict. A file of another kind, or one cut short, cannot be loaded either."
        ) from problem


def tensors_in(content: Any, path: Path) -> Tensors:
    """The tensors by name in what :func:`load_content` has read from ``path``.

    Raises:
        InputError: there are none, or one that is sparse, quantized or without values.
    """
    for key in _HOLDERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise InputError(f"{path} holds no tensors by name. Give the file of the network's weights, its state_dict.")
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise InputError(f"{path}: {name} is sparse, quantized or without values. Save it as a plain tensor.")
    return {_bare(str(name)): tensor for name, tensor in tensors.items()}


def _bare(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _numpy_scalars() -> list[Any]:
    """numpy's scalar, its dtype and that of float64; numpy 1 and 2 call the module of the first differently."""
    scalar = np.float64().__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((scalar, name) for name in names), np.dtype, type(np.dtype(np.float64))]
