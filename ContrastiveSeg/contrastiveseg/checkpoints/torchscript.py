"""The tensors of a TorchScript file, read without its program.

``torch.jit.load`` would run what the file holds. Its archive is a zip: ``data.pkl`` names the tensors of each module,
and ``data/`` has their values. The pickle is read by a reader that knows tensors and nothing else; classes of the
program become plain containers of their attributes.

Source: torch 2.13, torch/csrc/jit/serialization/export_module.cpp, pickler.cpp; torch/_utils.py.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .archives import MOST_WEIGHTS

#: Bytes of the pickle and of all values, at most.
_MOST_PICKLE, _MOST_VALUES = 64 * 2**20, MOST_WEIGHTS
_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def is_torchscript(path: Path) -> bool:
    """Whether the file is an archive with a program, by the names in it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name or name.endswith("/constants.pkl") for name in archive.namelist())


def torchscript_tensors(path: Path) -> dict[str, Tensor]:
    """The parameters and buffers by name, as the module's ``state_dict`` has them.

    Raises:
        InputError: it is no such file, or holds what is neither a tensor nor a plain value.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [one for one in archive.namelist() if one.endswith("/data.pkl") and one.count("/") == 1]
            if archive.getinfo(name).file_size > _MOST_PICKLE or _size(archive) > _MOST_VALUES:
                raise ValueError("it is too large")
            root = _Reader(archive, name.removesuffix("data.pkl")).load()
        tensors = dict(_named(root, ""))
    except Exception as problem:  # a reader of foreign files may raise anything
        raise InputError(
            f"{path} cannot be read as a TorchScript file ({problem}). Give the state_dict, model.pt."
        ) from problem
    if not tensors:
        raise InputError(f"{path} holds no tensors. Give the state_dict, model.pt.")
    return tensors


def _size(archive: zipfile.ZipFile) -> int:
    return sum(info.file_size for info in archive.infolist())


class _Container:
    """A module, or another object of the program: its attributes by name."""

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Reader(pickle.Unpickler):
    """Knows tensors, their storages, and objects of the program as containers; refuses every other name."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")))
        self._archive, self._folder, self._bytes = archive, folder, 0

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Container
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch.jit._pickle" and name in (
            "build_intlist",
            "build_boollist",
            "build_doublelist",
            "build_tensorlist",
        ):
            return list
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, key: Any) -> Tensor:
        kind, dtype, name, _place, _count = key
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(name, str):
            raise pickle.UnpicklingError("a storage is not described as one")
        values = bytearray(self._archive.read(f"{self._folder}data/{name}"))
        return torch.frombuffer(values, dtype=dtype) if values else torch.empty(0, dtype=dtype)

    def _tensor(
        self, storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_more: Any
    ) -> Tensor:
        count = math.prod(size)
        self._bytes += count * storage.element_size()
        # By strides of 0, or by naming one storage often, a small file could fill the memory.
        if count > len(storage) or self._bytes > _MOST_VALUES:
            raise pickle.UnpicklingError("its tensors are larger than its values")
        # as_strided checks that what is named lies in the storage.
        return torch.as_strided(storage, tuple(size), tuple(stride), offset).clone()


def _named(value: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, one in value.state.items() if isinstance(value, _Container) else ():
        if isinstance(one, Tensor):
            yield f"{prefix}{name}", one
        elif isinstance(one, _Container):
            yield from _named(one, f"{prefix}{name}.")
