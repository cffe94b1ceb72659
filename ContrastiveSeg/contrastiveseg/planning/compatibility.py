"""What sets a volume apart from those a plan was made for: to be told, never a reason to refuse."""

from __future__ import annotations

import math

from ..volumes.orientation import canonical_axes
from ..volumes.volume import Volume
from .normalize import looks_like_ct
from .plan import Plan

#: Voxels of a channel that are looked at, about.
_VOXELS = 200_000
#: Voxels so many times coarser, or finer, than the plan's are far from what the network has seen.
_COARSE, _FINE = 2.0, 4.0


def misfits(volume: Volume, plan: Plan) -> list[str]:
    """Sentences about the modality of each channel and the spacing; none if both fit."""
    told = []
    step = max(1, math.ceil((volume.array[0].size / _VOXELS) ** (1 / 3)))
    for channel, array in zip(plan.channels, volume.array, strict=False):
        seen = "CT" if looks_like_ct(array[::step, ::step, ::step]) else "MR"
        if channel.modality not in ("any", seen):
            found = "does not look like it" if channel.modality == "CT" else "looks like CT"
            told.append(f"The checkpoint was trained on {channel.modality}, and channel {channel.name!r} {found}.")
    spacing = canonical_axes(volume.geometry).spacing_zyx(volume.geometry)
    # In 2D the slices keep their own distance.
    axes = [axis for axis in range(3) if plan.dimensions == 3 or axis != plan.slice_axis]
    ratios = [spacing[axis] / plan.spacing[axis] for axis in axes]
    if max(ratios) > _COARSE or min(ratios) < 1 / _FINE:
        told.append(
            f"Its voxels of {_mm(spacing)} mm (z, y, x) are far from the {_mm(plan.spacing)} mm that the checkpoint "
            "works at; much is lost or made up in between."
        )
    return told


def _mm(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{s:.3g}" for s in spacing)
