"""Voxel arrays with their grid in patient space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import InputError
from .plausible_labels import looks_like_labels


@dataclass(frozen=True)
class NiftiTransforms:
    """What a NIfTI header says of the voxels' place, as stored, in its units.

    It is written again with whatever is made on its grid, which then lies on its image for readers of either transform.

    Attributes:
        doubt: in what the header contradicts itself, or leaves open, as the end of a sentence; "" if in nothing.
    """

    qform_code: int
    sform_code: int
    pixdim: tuple[float, ...]
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    rows: tuple[float, ...]
    units: int
    doubt: str = ""


@dataclass(frozen=True)
class Geometry:
    """The voxel grid in patient space, in ITK's convention (LPS, millimeters, axes x, y, z).

    Attributes:
        nifti: the header of the file that it comes from, if that is a NIfTI; equal grids may have different ones.
        unsaid: what the header of another file leaves open, as the end of a sentence.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, float, float, float, float, float, float, float, float]
    nifti: NiftiTransforms | None = field(default=None, compare=False, repr=False)
    unsaid: str = field(default="", compare=False, repr=False)

    @property
    def doubt(self) -> str:
        """What the file that it comes from contradicts itself in or leaves open, as the end of a sentence; "" for
        nothing."""
        return self.nifti.doubt if self.nifti else self.unsaid

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (z, y, x)."""
        return (self.size[2], self.size[1], self.size[0])

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """Voxel spacing in mm in array order (z, y, x)."""
        return (self.spacing[2], self.spacing[1], self.spacing[0])

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in milliliters."""
        return self.spacing[0] * self.spacing[1] * self.spacing[2] / 1000.0

    def position(self, index: Sequence[int]) -> tuple[float, float, float]:
        """(x, y, z) in mm of the center of voxel ``index`` (z, y, x)."""
        steps = np.array(index[::-1]) * self.spacing
        x, y, z = (float(v) for v in np.reshape(self.direction, (3, 3)) @ steps + self.origin)
        return (x, y, z)


@dataclass(frozen=True)
class Volume:
    """Image intensities: ``array`` is (C, z, y, x) in the file's own type, on ``geometry``; ``unsaid`` is the doubt of
    the files of its further channels.

    >>> import numpy as np
    >>> import contrastiveseg as cs
    >>> volume = cs.Volume.from_array(np.zeros((12, 32, 32)), spacing=(5.0, 1.0, 1.0))
    >>> volume.array.shape, volume.geometry.spacing
    ((1, 12, 32, 32), (1.0, 1.0, 5.0))
    """

    array: np.ndarray
    geometry: Geometry
    name: str = ""
    unsaid: str = ""

    @classmethod
    def from_array(cls, array: np.ndarray, spacing: Sequence[float], name: str = "") -> Volume:
        """A volume of an array alone, whose axes follow the patient's: z up, y to the back, x to the left.

        Args:
            array: (z, y, x), or (C, z, y, x) for several channels; whole or floating numbers. spacing: mm (z, y, x).

        Raises:
            InputError: an array of another shape or kind, with NaN or infinity, or with values that 32 bits do not
                hold; or a spacing that is none.
        """
        array, steps = np.asarray(array), np.asarray(spacing, float)
        array = array[None] if array.ndim == 3 else array
        if array.ndim != 4 or array.size == 0 or array.dtype.kind not in "buif":
            raise InputError(
                f"A volume is an array (z, y, x) or (channels, z, y, x) of numbers, not {array.dtype} of shape "
                f"{array.shape}."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError("The array holds NaN or infinity. Replace them first.")
        if array.dtype.kind == "f" and max(array.max(), -array.min()) > np.finfo(np.float32).max:
            raise InputError(
                f"The array holds values of {array.min():g} to {array.max():g}, too large for numbers of 32 bits. "
                "Scale them first."
            )
        if steps.shape != (3,) or not np.isfinite(steps).all() or steps.min() <= 0:
            raise InputError(f"A spacing is three numbers above 0, in mm along z, y and x, not {spacing}.")
        z, y, x = (int(n) for n in array.shape[1:])
        dz, dy, dx = (float(step) for step in steps)
        return cls(array, Geometry((x, y, z), (dx, dy, dz), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), name)

    @property
    def doubt(self) -> str:
        """What speaks against using it, as the end of a sentence: its geometry's doubt, no content, or labels."""
        blank = any(channel.min() == channel.max() for channel in self.array)
        nothing = "every voxel of its image, or of a channel of it, has the same value" if blank else ""
        labels = ""
        if all(looks_like_labels(channel) for channel in self.array):
            labels = "it looks like a label map (a few whole numbers, in areas of one each); leave it out if it is one"
        return "; ".join(filter(None, (self.geometry.doubt, self.unsaid, nothing, labels)))

    def cut(self, box: tuple[slice, slice, slice]) -> Volume:
        """The part in ``box``, slices along (z, y, x) with a start and a stop, where it lies."""
        array = self.array[:, box[0], box[1], box[2]]
        z, y, x = (int(n) for n in array.shape[1:])
        origin = self.geometry.position([side.start for side in box])
        return Volume(array, replace(self.geometry, size=(x, y, z), origin=origin, nifti=None), self.name)


def label_type(highest: int) -> type[np.unsignedinteger]:
    """The smallest type for label maps with labels of up to ``highest``."""
    return np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16


def nonzero_box(array: np.ndarray) -> tuple[slice, slice, slice]:
    """The smallest box of ``array`` (C, z, y, x) outside of which all channels are 0; all of it if it is 0 itself."""
    anything = (array != 0).any(0)
    sides = []
    for axis in range(3):
        found = np.flatnonzero(anything.any(tuple(a for a in range(3) if a != axis)))
        sides.append(slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, anything.shape[axis]))
    return (sides[0], sides[1], sides[2])


@dataclass(frozen=True)
class LabelMap:
    """Integer labels: ``array`` is (z, y, x), 0 is background, on ``geometry``.

    >>> import contrastiveseg as cs
    >>> labels = cs.Predictor.open("organs.safetensors")("scans/imagesTr/synthetic_00000.nii.gz")
    >>> labels.array.dtype.name, labels.array.shape == labels.geometry.shape
    ('uint8', True)
    """

    array: np.ndarray
    geometry: Geometry
    name: str = ""
