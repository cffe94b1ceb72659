"""The plan: everything about the data that pre-training, fine-tuning and inference must agree on.

Derived once from the training data (:mod:`.fingerprint`), stored in the checkpoint, used by every later stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Modality = Literal["any", "MR", "CT", "other"]
#: Voxel spacing in mm, (z, y, x) of the canonical orientation.
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Normalization:
    """How a channel's intensities are put on one scale (mean about 0, standard deviation about 1).

    ``zscore``: per volume; clip to the 0.5-99.5 percentiles of the foreground (voxels above the volume's minimum),
    then subtract their mean and divide by their standard deviation. For MR and anything without a fixed unit.
    ``window``: clip to [low, high] (HU), subtract ``mean``, divide by ``deviation``; the four numbers come from the
    training data. For CT.

    Imported networks have others. ``standard``: per volume; subtract the mean and divide by the standard deviation,
    nothing is clipped. ``unit``: per volume; lowest value to 0, highest to 1. ``none``: left as it is.

    Attributes:
        over: the voxels that ``standard`` changes, and takes its numbers from: the whole volume, those of the channel
            that are not 0, or those where any channel is not 0 with their holes filled.
    """

    scheme: Literal["zscore", "window", "standard", "unit", "none"] = "zscore"
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    deviation: float = 1.0
    over: Literal["volume", "nonzero", "filled"] = "volume"


@dataclass(frozen=True)
class Channel:
    """One input channel.

    ``modality`` "any" marks a generic starter that adapts to the user's data, "other" an imported network that does not
    say what it was trained on.
    """

    name: str = "image"
    modality: Modality = "any"
    normalization: Normalization = field(default_factory=Normalization)


#: Neighboring tiles overlap by no more: their number grows without bounds towards 1.
MOST_OVERLAP = 0.95


@dataclass(frozen=True)
class Conventions:
    """How volumes are turned, cut, resampled and tiled; the defaults are ours, imported networks bring their own.

    Attributes:
        orientation: where x, y and z of the arrays run to, as "LPS" or "RAS"; "stored" leaves volumes as they are.
        crop: volumes are cut to the box of what is not 0 in any channel; outside of it is background.
        resampling: "linear" averages where voxels get larger. nnU-Net's do not, and interpolate within slices and copy
            the nearest one where slices are thick; "nnunet-cubic" prepares images by cubic splines.
        padding: what lies around a volume that is smaller than a tile: its border repeated, or 0. With 0, tiles are
            never smaller than the patch.
        overlap: of neighboring tiles, as a share of the tile.
        mirrored: axes of the network along which it may be given mirrored copies; None for all.
    """

    orientation: str = "LPS"
    crop: bool = False
    resampling: Literal["linear", "nnunet-cubic", "nnunet-linear"] = "linear"
    padding: Literal["edge", "zero"] = "edge"
    overlap: float = 0.2
    mirrored: tuple[int, ...] | None = None


def is_orientation(text: str) -> bool:
    """Whether ``text`` is "stored", or three letters, one for an end of each of the patient's axes."""
    return text == "stored" or sorted(text.translate(str.maketrans("RAI", "LPS"))) == ["L", "P", "S"]


@dataclass(frozen=True)
class Plan:
    """What the network sees. Axes are (z, y, x) of the volume turned as :class:`Conventions` say, else LPS.

    Attributes:
        dimensions: 3, or 2 for slice by slice.
        channels: one entry an input channel.
        spacing: working voxel spacing in mm; with ``dimensions == 2`` the slice axis keeps the volume's own spacing
            and its entry here is only a typical value.
        volume_spacing: median spacing of the training volumes where the network works at a coarser one
            (:mod:`.resolution`); None where it works at theirs.
        patch: training patch in voxels; 1 on the slice axis when ``dimensions == 2``.
        slice_axis: 0, 1 or 2, the axis slices are cut along (used in 2D, and for MACL's slice position).
        conventions: how volumes come to the network, and label maps from it.
    """

    dimensions: Literal[2, 3]
    channels: tuple[Channel, ...]
    spacing: Spacing
    patch: tuple[int, int, int]
    slice_axis: int = 0
    volume_spacing: Spacing | None = None
    conventions: Conventions = field(default_factory=Conventions)

    @property
    def generic(self) -> bool:
        """Whether it is a starter's, which takes spacing and normalization from the data it is fine-tuned on."""
        return all(channel.modality == "any" for channel in self.channels)

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """The patch as the network sees it: (z, y, x), or the two in-plane sizes in 2D."""
        if self.dimensions == 3:
            return self.patch
        return tuple(n for axis, n in enumerate(self.patch) if axis != self.slice_axis)

    @property
    def aspect(self) -> tuple[float, ...]:
        """Spacing in mm of the network's axes, for rotations in physical space."""
        if self.dimensions == 3:
            return self.spacing
        return tuple(s for axis, s in enumerate(self.spacing) if axis != self.slice_axis)

    @property
    def has_ct(self) -> bool:
        """Whether a channel holds Hounsfield units, which mean the same everywhere."""
        return any(channel.modality == "CT" for channel in self.channels)


def millimeters(zyx: Sequence[float]) -> str:
    """Lengths along z, y and x as text, x first."""
    return " x ".join(f"{length:.3g}" for length in reversed(zyx))
