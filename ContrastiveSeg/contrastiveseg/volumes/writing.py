"""Writing label maps, probabilities and other maps on the grid they belong to."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .. import files
from ..errors import InputError
from .itk import image_on, in_plain_words
from .nifti import write_nifti
from .origin import FIELD, origin_text
from .volume import Geometry

#: What volumes can be written as.
WRITTEN = (".nii.gz", ".nii", ".nrrd", ".mha")
#: NRRD and MHA: half the time of ITK's default, for label maps about as small.
COMPRESSION_LEVEL = 3


def write_labels(path: Path, array: np.ndarray, geometry: Geometry, compress: bool = True, origin: str = "") -> None:
    """Write integer labels (z, y, x) to a .nii.gz, .nii, .nrrd or .mha file, by write-then-rename.

    The geometry reads back exactly as it was given, if it came from a file of the same format.

    Args:
        compress: for formats that leave the choice; ``.nii`` never is and ``.nii.gz`` always.
        origin: what it was made from, see :mod:`.origin`.

    Raises:
        InputError: the file's ending is not one of those, the disk is full, or the folder not writable.
    """
    if array.dtype == bool:
        array = array.astype(np.uint8)
    _write(path, array, geometry, compress, origin)


def write_maps(path: Path, array: np.ndarray, geometry: Geometry, compress: bool = True, origin: str = "") -> None:
    """Write (z, y, x), or (C, z, y, x) with C values a voxel, as float32; otherwise as :func:`write_labels`."""
    _write(path, array.astype(np.float32, copy=False), geometry, compress, origin)


def write_image(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write intensities (z, y, x) in their own type, but for 64 bits; otherwise as :func:`write_labels`."""
    _write(path, array.astype(np.float32) if array.dtype == np.float64 else array, geometry, True, "")


def check_writable_kind(path: Path) -> None:
    """Refuse a name whose ending cannot be written.

    Raises:
        InputError: it is none of :data:`WRITTEN`; or a name that ITK, which writes some of them, cannot take.
    """
    # A header file names its data file, which a rename of the header alone would lose.
    if files.volume_suffix(path) in ("", ".nhdr", ".mhd", ".img"):
        raise InputError(f"Cannot write {path}: the ending must be one of {', '.join(WRITTEN)}.")
    if files.volume_suffix(path) not in (".nii", ".nii.gz"):
        try:
            str(path).encode()
        except UnicodeEncodeError as problem:  # ITK would end the process
            raise InputError(
                f"Cannot write {path}: its name, or a folder's, is not UTF-8. Write a .nii.gz, or to another folder."
            ) from problem


def _write(path: Path, array: np.ndarray, geometry: Geometry, compress: bool, origin: str) -> None:
    check_writable_kind(path)
    suffix = files.volume_suffix(path)
    if array.shape[-3:] != geometry.shape:
        raise ValueError(f"array {array.shape} is not on the grid {geometry.shape}")
    # Uncompressed files go from process to process, and are not kept.
    with files.replacing(path, durable=compress) as temporary:
        if suffix in (".nii", ".nii.gz"):
            description = origin_text(origin) if origin else ""
            write_nifti(temporary, array, geometry, compress=suffix == ".nii.gz", description=description)
            return
        image = image_on(array, geometry)
        if suffix.endswith(".nrrd"):
            # NRRD stores spacing times direction; ITK multiplies the two, here by 1.
            image.SetDirection(_space_directions(geometry).ravel().tolist())
            image.SetSpacing((1.0, 1.0, 1.0))
        if origin:
            image.SetMetaData(FIELD, origin)
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(temporary))
        writer.SetUseCompression(compress)
        writer.SetCompressionLevel(COMPRESSION_LEVEL)
        try:
            writer.Execute(image)
        except RuntimeError as problem:
            # ITK does not always give the reason; the operating system does when a little more is written.
            with temporary.open("ab") as file:
                file.write(bytes(1 << 16))
            raise InputError(f"{path} {in_plain_words(problem)}.") from problem
        # ITK's writer of NRRD does not notice that the disk is full.
        if not _is_whole(temporary, sitk.GetArrayViewFromImage(image).nbytes, compress):
            with temporary.open("ab") as file:
                file.write(bytes(1 << 16))
            raise InputError(f"{path} was not written whole. Look whether its disk is full, and write it again.")


def _is_whole(path: Path, size: int, compressed: bool) -> bool:
    """Whether a .nrrd or .mha file ends where its ``size`` bytes of voxels do."""
    nrrd, content = path.suffix == ".nrrd", path.stat().st_size
    with path.open("rb") as file:
        header, end, _ = file.read(1 << 22).partition(b"\n\n" if nrrd else b"ElementDataFile = LOCAL\n")
        if nrrd and compressed:  # gzip ends with the size, modulo 2**32
            file.seek(max(content - 4, 0))
            return bool(end) and int.from_bytes(file.read(), "little") == size % (1 << 32)
    stored = re.search(rb"^CompressedDataSize = (\d+)$", header, re.MULTILINE)
    return bool(end) and content == len(header + end) + (int(stored[1]) if stored is not None else size)


def _space_directions(geometry: Geometry) -> np.ndarray:
    """(3, 3), a column an axis: the vectors that NRRD's reader splits into exactly this spacing and direction.

    The reader takes spacing = length and direction = vector * (1 / length), so the product of the two can be one
    rounding away from the vector they came from; the neighbors within two roundings are tried.
    """
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    steps = steps[np.argsort(np.abs(steps).sum(axis=1), kind="stable")]
    vectors = np.empty((3, 3))
    for axis, unit in enumerate(np.reshape(geometry.direction, (3, 3)).T):
        spacing = geometry.spacing[axis]
        candidates = spacing * unit + steps * np.spacing(spacing * unit)
        candidates[:, spacing * unit == 0] = 0.0
        lengths = np.sqrt(candidates[:, 0] ** 2 + candidates[:, 1] ** 2 + candidates[:, 2] ** 2)
        errors = np.abs(lengths - spacing) + np.abs(candidates * (1.0 / lengths)[:, None] - unit).max(axis=1)
        vectors[:, axis] = candidates[int(np.argmin(errors))]
    return vectors
