"""Files that native readers read, ITK's for NRRD and MetaImage and GDCM for DICOM: always in a process of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..serialization import from_json
from .alignment import SHEAR, are_voxel_sizes, is_place, straightened
from .reader_process import read_apart
from .volume import Geometry

#: SimpleITK's names of its readers. No other one is to try a file.
DICOM = "GDCMImageIO"
#: DICOM's numbers often have few decimals.
DICOM_SHEAR = 5 * SHEAR
_READERS = {".mha": "MetaImageIO", ".mhd": "MetaImageIO", ".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO"}
_HEADER, _VOXELS = f"{__package__}.native:header_of", f"{__package__}.native:voxels_of"


@dataclass(frozen=True)
class NativeHeader:
    """The grid of the first three axes, the length of all, and the values a voxel."""

    geometry: Geometry
    size: tuple[int, ...]
    components: int


def native_header(path: Path, apart: float | None = None) -> NativeHeader:
    """The header of a file, which is DICOM unless its ending says otherwise.

    Args:
        apart: how far its slices lie apart, in mm, where that is known better than from the header.

    Raises:
        InputError: it cannot be read, holds numbers that are none, or has axes that are sheared.
    """
    header = _asked(path)
    grid = header["geometry"]
    if apart is not None:
        grid["spacing"] = [*grid["spacing"][:2], apart]
    finite = np.isfinite([*grid["spacing"], *grid["origin"], *grid["direction"]]).all()
    if not finite or not are_voxel_sizes(np.array(grid["spacing"])) or not is_place(grid["origin"]):
        raise InputError(
            f"{path} has a voxel spacing of 0 or of a size that cannot be, lies farther off than can be, or has a grid "
            "that is not of numbers. Correct its header."
        )
    stated = from_json(NativeHeader, header)
    shear = DICOM_SHEAR if _reader(path) == DICOM else SHEAR
    return replace(stated, geometry=straightened(path, stated.geometry, shear))


def components_of(path: Path) -> int:
    """The values a voxel, whatever the file says of its grid.

    Raises:
        InputError: it cannot be read.
    """
    return int(_asked(path)["components"])


def _asked(path: Path) -> Any:
    header, _ = read_apart(path, _HEADER, 0, {"path": _name(path), "reader": _reader(path)})
    return header


def native_voxels(paths: Sequence[Path], voxel_bytes: int, dimensions: int = 3) -> np.ndarray:
    """The voxels (slices, y, x, components) of ``paths``, one behind the other, in a type that holds all.

    Args:
        voxel_bytes: of all, as the headers say. dimensions: of further ones, the first volume is read.

    Raises:
        InputError: a file that cannot be read.
    """
    where = paths[0] if len(paths) == 1 else paths[0].parent
    arguments = {"paths": [_name(p) for p in paths], "reader": _reader(paths[0]), "dimensions": dimensions}
    _, array = read_apart(where, _VOXELS, voxel_bytes, arguments)
    assert array is not None
    return array


def _reader(path: Path) -> str:
    return _READERS.get(path.suffix.lower(), DICOM)


def _name(path: Path) -> str:
    """The path as ITK takes it; what it cannot take ends its process."""
    try:
        str(path).encode()
    except UnicodeEncodeError as problem:
        raise InputError(
            f"{path} has characters in its name, or in a folder's, that are not UTF-8. Rename that."
        ) from problem
    return str(path)
