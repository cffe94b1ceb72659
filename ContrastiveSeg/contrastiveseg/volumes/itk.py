"""Conversion between volumes and SimpleITK images, and ITK's errors in plain words."""

from __future__ import annotations

import re

import numpy as np
import SimpleITK as sitk

from .volume import Geometry

# ITK's warnings (an sform that disagrees with pixdim, a folder without series) are answered by checks of our own.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def geometry_of(image: sitk.Image | sitk.ImageFileReader) -> Geometry:
    """The grid of an image, or of a reader that has read its header. 2D grids become one slice 1 mm thick."""
    dimension = image.GetDimension()
    size, spacing, origin = image.GetSize(), image.GetSpacing(), image.GetOrigin()
    direction = np.eye(3)
    n = min(dimension, 3)
    direction[:n, :n] = np.reshape(image.GetDirection(), (dimension, dimension))[:n, :n]
    return Geometry(
        size=(*size[:n], 1)[:3],
        spacing=(*spacing[:n], 1.0)[:3],
        origin=(*origin[:n], 0.0)[:3],
        direction=tuple(direction.ravel().tolist()),
    )


def image_on(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """``array``, (z, y, x) or (C, z, y, x), as an image on ``geometry``; several channels become a vector image."""
    if array.ndim == 4:
        image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1), isVector=True)
    else:
        image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def in_plain_words(problem: Exception) -> str:
    """What an ITK exception means, as the end of a sentence that begins with the file's name."""
    text = str(problem)
    if "Unable to determine ImageIO" in text:
        return "is not an image of the kind its name says, or is damaged"
    if "Zero-valued spacing" in text:
        return "has a voxel spacing of 0, or one that is not a number. Correct its header"
    if isinstance(problem, MemoryError) or re.search("bad_alloc|allocat", text):
        return "needs more memory than its header says. It may be damaged"
    if "No space left" in text:
        return "could not be written: No space left on the device"
    if "Unknown exception" in text:
        return "is damaged, or of a kind that is not read here. Convert it to .nii.gz with the program that made it"
    if "File cannot be read" in text or re.search(r"fread got only|data not read|hit end|inflat|zlib|decompress", text):
        return "is damaged or cut short. Copy it again from where it came"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = re.sub(r"^(sitk::|itk::|ITK )?ERROR: *|\w+\(0x[0-9a-f]+\): *", "", lines[-1] if lines else "unknown problem")
    return f"cannot be read: {last.rstrip('.')}"
