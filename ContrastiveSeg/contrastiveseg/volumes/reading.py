"""Reading volumes and label maps: NIfTI, NRRD, MHA/MHD, and folders with a DICOM series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import files
from ..errors import InputError
from .alignment import aligned, check_same_grid
from .byte_order import check_byte_order
from .memory import check_memory
from .native_files import NativeHeader, native_header, native_voxels
from .nifti import read_nifti, read_nifti_geometry
from .orientation import canonical_axes
from .patient_folders import is_dicom
from .segments import merged, on_grid_of_image, segments_of
from .series import check_series
from .text_headers import check_text_header
from .volume import Geometry, LabelMap, Volume, label_type

#: Labels stored as floats may be off their whole number by so much: an export that divided and multiplied.
WHOLE = 1e-3
#: What else to do with files that are given in place of volumes.
_HINTS = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".xlsx"), ' Lists of cases are JSON files ([{"image": FILE}, ...]).'),
    **dict.fromkeys(
        (".dcm", ".dicom", ".ima"),
        " Give the folder of its series; of a DICOM SEG or of contours (RTSTRUCT), a label map, which Slicer exports.",
    ),
    **dict.fromkeys(
        (".stl", ".obj", ".ply", ".vtk", ".vtp"), " Surfaces are not read. Slicer makes a label map of one."
    ),
    **dict.fromkeys((".mrb", ".mrml", ".mitk"), " Of a scene, save the volumes and segmentations as files."),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".rar", ".7z"), " Unpack it first."),
}


def read_volume(path: Path, channels: int = 1) -> Volume:
    """A volume with one channel, or several where the file has several values a voxel.

    A 2D image becomes a volume of one slice.

    Args:
        channels: how many are expected: as many volumes of a 4D file are its channels.

    Returns:
        array (C, z, y, x) in the file's own numeric type; the name is the file's without its ending.

    Raises:
        InputError: no such file, not an image, damaged or cut short, another series of volumes (4D), a spacing of 0,
            voxels that are not numbers; for a folder: no DICOM series, several, or slices not evenly spaced.
    """
    if files.volume_suffix(path) == ".seg.nrrd":
        raise InputError(f"{path} is a segmentation, not an image. Give the volume that it was made on.")
    array, geometry = _read(path, channels)
    return Volume(array, geometry, files.stem(path))


def read_channels(paths: Sequence[Path], channels: int = 1) -> Volume:
    """One volume from one file a channel, all on one grid, or from one file; named after the first file.

    Args:
        channels: how many are expected; see :func:`read_volume`.

    Raises:
        InputError: as :func:`read_volume`, or the grids differ, or the patients of DICOM series.
    """
    if len(paths) == 1:
        return read_volume(paths[0], channels)
    if len(series := [p for p in paths if p.is_dir()]) > 1:
        from .dicom import check_one_patient  # pydicom takes a tenth of a second to load

        check_one_patient(series)
    volumes = [read_volume(p) for p in paths]
    first = volumes[0]
    for path, volume in zip(paths, volumes, strict=True):
        check_same_grid(path, volume.geometry, first.geometry, str(paths[0]))
    name = first.name.removesuffix("_0000")
    doubts = [f"of {p.name}: {v.geometry.doubt}" for p, v in zip(paths, volumes, strict=True) if v.geometry.doubt]
    unsaid = "" if first.geometry.doubt else "; ".join(doubts)
    return Volume(np.concatenate([v.array for v in volumes]), first.geometry, name, unsaid)


def read_labels(path: Path, reference: Geometry | None = None) -> LabelMap:
    """Integer labels (z, y, x), uint8, or uint16 where a label exceeds 255.

    Args:
        reference: the image's grid, which the labels must share; if another tool stored the same voxels with axes
            swapped or flipped, they are turned back. A segmentation of Slicer may be cropped.

    Raises:
        InputError: as :func:`read_volume`; labels that are not whole, negative or above 65535; another grid; segments
            that overlap.
    """
    array, geometry = _read(path)
    segments = segments_of(path)
    if segments:
        array = merged(path, array, segments)[None]
    if array.shape[0] != 1:
        raise InputError(f"{path} has {array.shape[0]} values a voxel; labels need one. Export it as one label map.")
    labels = array[0]
    if not np.issubdtype(labels.dtype, np.integer):
        stored, labels = labels, np.round(labels)
        if labels.size and (off := np.abs(stored - labels)).max() > WHOLE:
            raise InputError(
                f"{path} holds values that are not whole numbers: it is not a label map ({stored.flat[off.argmax()]:g} "
                "is one). If it was resampled, do it anew with nearest neighbors."
            )
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if low < 0:
        raise InputError(
            f"{path} holds the negative label {low:g}. Labels are 0 for background and 1, 2, ... for structures."
        )
    if high > np.iinfo(np.uint16).max:
        raise InputError(f"{path} holds the label {high:g}; the largest possible is 65535. Is it an image?")
    label_map = LabelMap(labels.astype(label_type(int(high)), copy=False), geometry, files.stem(path))
    if reference is None:
        return label_map
    if segments and geometry.size != reference.size:
        on_grid = on_grid_of_image(path, label_map.array, geometry, reference)
        if on_grid is not None:
            return LabelMap(on_grid, reference, label_map.name)
    if canonical_axes(geometry) != canonical_axes(reference):
        return LabelMap(aligned(label_map, reference, "its image"), reference, label_map.name)
    check_same_grid(path, geometry, reference, "its image")
    return label_map


def read_geometry(path: Path, channels: int = 1) -> tuple[Geometry, int]:
    """The grid and the number of channels, from the header alone; ``channels`` as in :func:`read_volume`.

    Raises:
        InputError: as :func:`read_volume`, except for what depends on the voxels.
    """
    with files.readable(path):
        _check_exists(path)
        if path.is_dir():
            from .dicom import find_series  # pydicom takes a tenth of a second to load

            series = find_series(path)
            return series.geometry, series.channels
        if _is_nifti(path):
            return read_nifti_geometry(path, channels)
        header, _ = _header(path, channels)
    return header.geometry, header.components * _volumes(header)


def _read(path: Path, channels: int = 1) -> tuple[np.ndarray, Geometry]:
    """Voxels (C, z, y, x) and grid of a volume file or DICOM folder."""
    with files.readable(path):
        _check_exists(path)
        array, geometry = read_nifti(path, channels) if _is_nifti(path) else _read_natively(path, channels)
    if array.shape[1:] != geometry.shape:  # DICOM of several frames can say its size twice
        size, told = ("x".join(map(str, reversed(shape))) for shape in (array.shape[1:], geometry.shape))
        raise InputError(f"{path} is damaged: it has {size} voxels, and its header says {told}. Copy it again.")
    if np.iscomplexobj(array):
        raise InputError(f"{path} holds complex numbers. Save its magnitude as an image and give that.")
    if array.dtype.kind == "f" and (broken := array.size - int(np.count_nonzero(np.isfinite(array)))):
        raise InputError(
            f"{path} has {broken} voxels that are not numbers (NaN or infinite). Replace them in the source first."
        )
    if array.dtype == np.float64 and array.size and max(array.max(), -array.min()) > np.finfo(np.float32).max:
        raise InputError(
            f"{path} holds values of {array.min():g} to {array.max():g}, too large for numbers of 32 bits. Scale them "
            "in the source first."
        )
    return array, geometry


def _read_natively(path: Path, channels: int) -> tuple[np.ndarray, Geometry]:
    if path.is_dir():
        from .dicom import find_series, read_series

        series = find_series(path)
        return read_series(series), series.geometry
    header, voxel_bytes = _header(path, channels)
    check_memory(path, voxel_bytes)
    array = native_voxels([path], voxel_bytes, 3 if _volumes(header) == 1 else 4)
    check_byte_order(path, array)
    if header.components > 1:
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0))
    return array.reshape(-1, *header.geometry.shape), header.geometry


def _check_exists(path: Path) -> None:
    files.check_link(path)
    files.check_there(path)
    if path.is_dir():
        return
    if not path.is_file():  # a device or a pipe, which might never end
        raise InputError(f"{path} is neither a file nor a folder. Give a volume file.")
    if not files.volume_suffix(path):
        known = ", ".join(files.VOLUME_SUFFIXES)
        hint = _HINTS.get(".dcm" if is_dicom(path) else path.suffix.lower(), " Convert it to one of these.")
        raise InputError(
            f"{path} is not a volume this program reads ({known}, or a folder holding a DICOM series).{hint}"
        )
    ending = files.volume_suffix(path)
    if path.name[-len(ending) :] not in (ending, ending.upper()):  # ITK reads no mixture
        raise InputError(f"{path}: the ending is spelled with capital and small letters. Rename it to {ending}.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes). Copy it again from where it came.")
    with path.open("rb") as file:
        files.check_fetched(path, file.read(1024))


def _is_nifti(path: Path) -> bool:
    return path.is_file() and files.volume_suffix(path) in (".nii", ".nii.gz", ".img")


def _header(path: Path, channels: int) -> tuple[NativeHeader, int]:
    """The checked header of a file that is no NIfTI, and the bytes of its voxels."""
    checked = check_text_header(path)
    header = native_header(path)
    header = replace(header, geometry=replace(header.geometry, unsaid=checked.unsaid))
    dimensions, volumes = len(header.size), _volumes(header)
    check_series(path, dimensions, volumes, channels if dimensions == 4 and header.components == 1 else 1)
    return header, checked.voxel_bytes


def _volumes(header: NativeHeader) -> int:
    """How many volumes a file holds one behind the other."""
    return math.prod(header.size[3:])
