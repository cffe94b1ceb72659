"""What ITK and GDCM read of a file; run by :mod:`.native_files` in the process of :mod:`.reader_process`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..serialization import to_json
from .itk import geometry_of, in_plain_words
from .reader_process import Answer

T = TypeVar("T")


def header_of(path: str, reader: str) -> Answer:
    """The "geometry" of the first three axes, the "size" along all, the values a voxel ("components"); no array."""
    file = _opened(path, reader)
    described = {"geometry": geometry_of(file), "size": file.GetSize(), "components": file.GetNumberOfComponents()}
    return to_json(described), None


def voxels_of(paths: Sequence[str], reader: str, dimensions: int) -> Answer:
    """The voxels (slices, y, x, components) of all ``paths``; of further ``dimensions`` the first volume."""
    arrays = [_voxels(path, reader, dimensions) for path in paths]
    return None, arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _voxels(path: str, reader: str, dimensions: int) -> np.ndarray:
    file = _opened(path, reader)
    size, components = file.GetSize(), file.GetNumberOfComponents()
    if len(size) > dimensions:
        file.SetExtractSize([*size[:dimensions], *[0] * (len(size) - dimensions)])
    return sitk.GetArrayFromImage(_asked(path, file.Execute)).reshape(-1, size[1], size[0], components)


def _opened(path: str, reader: str) -> sitk.ImageFileReader:
    file = sitk.ImageFileReader()
    file.SetImageIO(reader)
    file.SetFileName(path)
    file.SetNumberOfThreads(1)
    _asked(path, file.ReadImageInformation)
    return file


def _asked(path: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except (RuntimeError, MemoryError) as problem:
        raise InputError(f"{path} {in_plain_words(problem)}.") from problem
