"""The working voxel spacing: coarser than the volumes where the budget is too short for their own resolution.

At a coarse spacing a patch holds more of the body and a step costs less. With few labels and minutes on a CPU that is
worth more than fine voxels: on the left atrium, at 1.25 mm, 400 steps at 2.5 mm take a quarter of the time and give a
higher Dice on the volumes' own grid (docs/explanation/what-we-tried.md). Segmenting resamples the logits back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

import numpy as np

from ..errors import InputError
from ..volumes.dataset import CaseFiles
from ..volumes.named_labels import read_case_labels
from ..volumes.orientation import canonical_axes
from ..volumes.painted_slices import painted_slices
from ..volumes.reading import read_geometry
from ..volumes.resample import resample_image, resample_labels, resampled_shape
from .fingerprint import Fingerprint
from .plan import Spacing, millimeters

#: With so many steps of the largest patch, training is at the volumes' own resolution. That takes some hours of two
#: cores: after ten minutes the left atrium has a Dice of 0.877 at its own 1.25 mm and of 0.891 at 1.77 mm.
FULL_STEPS = 20_000
#: With GOOD_STEPS or more, but fewer than FULL_STEPS, volumes are coarsened to this share of the largest patch: 1.77 mm
#: on the left atrium, where two minutes of two cores give a Dice of 0.88 for 0.87 at 2.5 mm. With fewer steps, to less.
GOOD_STEPS, GOOD_SHARE = 290, 0.72
#: A volume is not made smaller than this; about what the left atrium has at 2.5 mm.
LEAST_VOXELS = 40_000
#: Mean Dice that each structure must keep on the way to the coarse grid and back: 0.96 for the left atrium at 2.5 mm,
#: 0.93 for the hippocampus, whose volumes are small, at 1.2 mm instead of 1.
LEAST_DICE = 0.95
#: The same with FINE_STEPS or more, as five minutes of two cores have. It is 0.975 for the left atrium at 1.77 mm. A
#: wall of 8 mm keeps 0.974 at 1.5 mm and 0.963 at 2.1 mm, and five minutes give 1.4 points of Dice more at 1.5 mm.
FINE_STEPS, FINE_DICE = 700, 0.97
#: Where every structure keeps so much, finer voxels only take steps and surroundings away, even if the budget reaches
#: the volumes there: left atria of thick slices have it at 1.49 mm, and two minutes give 1.4 points more than at 1.05.
ENOUGH_DICE = 0.98
#: Fewer voxels of a structure in any case are too few to learn it from.
LEAST_STRUCTURE = 10
#: With fewer steps of the largest patch, patches are smaller, so that there are more of them: a structure of 600 voxels
#: was missed after 60 steps of two patches of 150,000 voxels and found (Dice 0.81) after 150 of 64,000.
LEAST_STEPS = 300
#: The smallest patch that is chosen so.
LEAST_PATCH = 32**3
#: Labeled cases that are looked at, evenly spread.
_CASES = 4
#: Each candidate is coarser than the one before by this factor.
_STEP = 2**0.25
#: Voxels of a training step (two patches of PATCH_VOXELS) that a device processes a second: one CPU thread, a GPU.
_CPU_THREAD, _GPU = 400_000, 20_000_000


@dataclass(frozen=True)
class Resolution:
    """The working spacing in mm, (z, y, x), and in words why it was chosen."""

    spacing: Spacing
    reason: str


def check_resolution(wanted: str) -> float | None:
    """Millimeters, None for "auto" and "native".

    Raises:
        InputError: none of these.
    """
    if wanted in ("auto", "native"):
        return None
    try:
        length = float(wanted)
    except ValueError:
        length = math.nan
    if not 0 < length < math.inf:
        raise InputError(f"--resolution takes auto, native or a voxel spacing in mm, not {wanted!r}.")
    return length


def steps_affordable(minutes: float, voxels: int, device: str, threads: int) -> float:
    """About how many steps of two patches of ``voxels`` a network of matching size makes in ``minutes``.

    A rough figure from the type of the ``device`` alone, so that the same job always gets the same resolution. A factor
    of 2 changes the spacing by 1.26.
    """
    speed = _CPU_THREAD * min(threads, 4) if device == "cpu" else _GPU
    return minutes * 60 * speed / (2 * voxels)


def affordable_patch(voxels: int, steps: float) -> int:
    """The most voxels of a 3D patch, of at most ``voxels``, where there is time for ``steps`` steps of those."""
    return max(min(voxels, round(voxels * steps / LEAST_STEPS)), min(voxels, LEAST_PATCH))


def choose_resolution(
    wanted: str, seen: Fingerprint, dimensions: Literal[2, 3], steps: float, voxels: int, cases: Sequence[CaseFiles]
) -> Resolution:
    """The working spacing for data like ``seen``.

    "native" is the median spacing of the volumes, a number of millimeters the spacing of all axes that are not coarser
    already. "auto" is "native" with FULL_STEPS or more, slice by slice, and without label maps. Else it is the finest
    spacing at which the median volume has no more voxels than the budget can train: GOOD_SHARE of ``voxels`` with
    GOOD_STEPS or more, proportionally fewer below, but at least LEAST_VOXELS, or at which every structure of labeled
    ``cases`` would still keep ENOUGH_DICE, whichever is coarser; and it stays fine enough for every structure, with
    FINE_STEPS or more finer than below.

    Args:
        steps: how many steps of two patches of ``voxels`` the budget has, or would have time for.

    Raises:
        InputError: ``wanted`` is none of these.
    """
    length = check_resolution(wanted)
    if length is not None:
        chosen = coarser(seen.spacing, length, seen.slice_axis if dimensions == 2 else None)
        return Resolution(chosen, "as asked for")
    if wanted == "native":
        return Resolution(seen.spacing, "the volumes' own, as asked for")
    # Strokes do not show what a structure looks like.
    labeled = [case for case in cases if case.labels and case.labeling.part != "painted"]
    if dimensions == 2 or not labeled:
        return Resolution(seen.spacing, "the volumes' own")
    if steps >= FULL_STEPS:
        return Resolution(seen.spacing, "the volumes' own, which the budget allows")
    most = max(GOOD_SHARE * voxels * min(steps / GOOD_STEPS, 1), LEAST_VOXELS)
    masks = list(_structures(labeled, len(seen.channels)))
    least = FINE_DICE if steps >= FINE_STEPS else LEAST_DICE
    reached = math.prod(seen.shape) <= most
    why = "which the budget allows" if reached else "as coarser voxels would lose its structures"
    best, reason = seen.spacing, f"the volumes' own, {why}"
    for spacing in _candidates(seen.spacing):
        size = math.prod(resampled_shape(seen.shape, seen.spacing, spacing))
        if (reached and size < LEAST_VOXELS) or not _kept(masks, spacing, ENOUGH_DICE if reached else least):
            break
        if reached:
            why = "as its structures need no finer voxels"
        elif size <= most:
            reached, why = True, "so that the budget reaches more of each volume"
        else:
            why = "for the budget, as far as its structures allow"
        best, reason = spacing, f"coarser, {why}"
    return Resolution(best, reason)


def coarser(spacing: Sequence[float], length: float, slice_axis: int | None = None) -> Spacing:
    """``spacing`` with every axis at least ``length`` mm, but for ``slice_axis``."""
    z, y, x = (s if axis == slice_axis else max(s, length) for axis, s in enumerate(spacing))
    return (z, y, x)


def at_spacing(seen: Fingerprint, spacing: Spacing) -> Fingerprint:
    """``seen`` as it is after resampling to ``spacing``."""
    return replace(seen, shape=resampled_shape(seen.shape, seen.spacing, spacing), spacing=spacing)


def finer_than_working(native: Spacing, working: Spacing) -> Spacing | None:
    """``native``, for the plan's ``volume_spacing``, where the network works at a coarser spacing, else None."""
    return native if any(own < ours for own, ours in zip(native, working, strict=True)) else None


def resolution_text(resolution: Resolution, native: Spacing) -> str:
    """A sentence for the log."""
    own = "" if resolution.spacing == native else f" (the volumes have {millimeters(native)} mm)"
    return f"Working at {millimeters(resolution.spacing)} mm{own}: {resolution.reason}."


@dataclass(frozen=True)
class _Structure:
    """One label of one case, cut to its box: ``mask`` (z, y, x) of 0 and 1 at ``spacing``.

    Where only slices across one axis are labeled, ``kept`` is that axis: it says nothing of other spacings there.
    """

    value: int
    mask: np.ndarray
    spacing: Spacing
    kept: int | None


def _structures(cases: Sequence[CaseFiles], channels: int) -> Iterator[_Structure]:
    for index in np.unique(np.linspace(0, len(cases) - 1, _CASES).astype(int)):
        case = cases[int(index)]
        geometry, _ = read_geometry(case.images[0], channels)
        axes = canonical_axes(geometry)
        try:
            labels = axes.apply(read_case_labels(case, geometry).array)
        except InputError:  # preparing the volumes names all that cannot be read, not the first of a few
            continue
        slices = painted_slices(labels >= 0) if case.labeling.part == "slices" else None
        kept = slices.axis if slices else None
        for value in np.unique(labels[labels > 0]):
            inside = np.nonzero(labels == value)
            box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in inside)
            yield _Structure(int(value), (labels[box] == value).astype(np.uint8), axes.spacing_zyx(geometry), kept)


def _candidates(native: Spacing) -> Iterator[Spacing]:
    """Spacings coarser than ``native``, finest first, until each axis has been coarsened eightfold."""
    for step in count(1):
        length = round(min(native) * _STEP**step, 4)
        if length > 8 * max(native):
            return
        yield coarser(native, length)


def _kept(structures: Sequence[_Structure], spacing: Spacing, least: float) -> bool:
    """Whether every structure keeps a mean Dice of ``least`` when it is resampled to ``spacing`` and back."""
    losses: dict[int, list[float]] = {}
    for structure in structures:
        target = [
            own if axis == structure.kept else max(own, wanted)
            for axis, (own, wanted) in enumerate(zip(structure.spacing, spacing, strict=True))
        ]
        margin = [(math.ceil(2 * t / s),) * 2 for t, s in zip(target, structure.spacing, strict=True)]
        mask = np.pad(structure.mask, margin)
        small = resample_labels(mask, resampled_shape(mask.shape, structure.spacing, target))
        if int(small.sum()) < LEAST_STRUCTURE:
            return False
        again = resample_image(small[None], mask.shape)[0] > 0.5
        both = np.count_nonzero(again & (mask > 0))
        loss = 1 - 2 * both / (np.count_nonzero(again) + int(mask.sum()))
        # Across the slices as much would be lost as along each of the two axes within them.
        losses.setdefault(structure.value, []).append(loss if structure.kept is None else 1.5 * loss)
    return all(1 - float(np.mean(lost)) >= least for lost in losses.values())
