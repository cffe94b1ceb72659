"""From training data to a plan: by the headers of all cases and the voxels of a few."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError, together
from ..volumes.channel_files import check_channel_order
from ..volumes.dataset import CaseFiles
from ..volumes.orientation import oriented_axes
from ..volumes.reading import read_channels, read_geometry
from ..volumes.resample import resampled_shape
from .normalize import looks_like_ct, sample, window_from
from .patch import PatchRule, fit_patch
from .plan import Channel, Conventions, Modality, Normalization, Plan

#: Volumes whose voxels are read to decide modality and HU window; headers are read of all.
_READ_CASES = 16
#: Names of MR channels in public data sets.
_MR_NAMES = r"(mri?|t[12]\w*|pd\w*|flair|adc|dwi|swi|dixon|bold)\b"
#: Voxels of each of them that decide the HU window, about.
_VOXELS = 100_000


@dataclass(frozen=True)
class Fingerprint:
    """What the training data look like, axes (z, y, x) in one orientation.

    ``spacing`` is the median in mm; ``shape`` the median size in voxels at that spacing. ``doubts`` are sentences on
    volumes whose intensities may be of another kind than those of the others.
    """

    channels: tuple[Channel, ...]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    cases: int
    doubts: tuple[str, ...] = ()

    @property
    def slice_axis(self) -> int:
        """The axis across which the volumes are one slice, else with the thickest slices; z (axial) among equals."""
        # The thickness of a lone slice says nothing: that of an image of two dimensions is 1 mm, whatever its pixels.
        if 1 in self.shape:
            return self.shape.index(1)
        return thickest_axis(self.spacing)


def thickest_axis(spacing: Sequence[float]) -> int:
    """The axis with the thickest slices, the first of those that are equal to the micrometer."""
    return int(np.argmax([round(s, 3) for s in spacing]))


def fingerprint_of(
    cases: Sequence[CaseFiles],
    declared: Sequence[str] = (),
    expected: int = 1,
    orientation: str = "LPS",
    unseen: Sequence[CaseFiles] = (),
) -> Fingerprint:
    """The fingerprint of ``cases``: the grid of all, modality and intensities of a few.

    Args:
        unseen: cases that are held out: they are checked, and decide nothing.
        orientation: that volumes are turned to, see :class:`.plan.Conventions`.
        declared: names of the channels, as a dataset.json gives them. "CT" and those of MR decide the modality; for
            channels with other names, and without any, intensities do.
        expected: their number, where none are declared; see :func:`.reading.read_volume`.

    Raises:
        InputError: no cases, a file that cannot be read, cases with different numbers of channels, or another number
            of channels than are declared.
    """
    if not cases:
        raise InputError("There are no volumes to train on. Give them, or their folder, as --images.")
    spacings, shapes = [], []
    counts: dict[int, str] = {}
    refused: list[InputError] = []
    for number, case in enumerate((*cases, *unseen)):
        try:
            check_channel_order(case.images, declared)
            geometry, channels = read_geometry(case.images[0], len(declared) or expected)
        except InputError as problem:
            refused.append(problem)
            continue
        counts.setdefault(channels * len(case.images), case.name)
        if number >= len(cases):
            continue
        axes = oriented_axes(geometry, orientation)
        spacings.append(axes.spacing_zyx(geometry))
        shapes.append(axes.shape_zyx(geometry))
    if refused:
        raise together(refused)
    if len(counts) > 1:
        different = ", ".join(f"{name} has {n}" for n, name in counts.items())
        raise InputError(f"The volumes differ in their number of channels ({different}). Train on one kind at a time.")
    if declared and len(declared) not in counts:
        count, name = next(iter(counts.items()))
        raise InputError(
            f"dataset.json declares {len(declared)} channel(s) ({', '.join(declared)}), {name} has {count}. Correct "
            "its channel_names (or modality). Files named CASE_0000, CASE_0001, ... are the channels of one case."
        )
    median = np.median(np.array(spacings), axis=0)
    spacing = (float(median[0]), float(median[1]), float(median[2]))
    resampled = np.array([resampled_shape(s, p, spacing) for s, p in zip(shapes, spacings, strict=True)])
    z, y, x = (int(n) for n in np.median(resampled, axis=0))
    kinds, doubts = _channels(cases, unseen, next(iter(counts)), declared)
    return Fingerprint(kinds, spacing, (z, y, x), len(cases), doubts)


def _channels(
    cases: Sequence[CaseFiles], unseen: Sequence[CaseFiles], count: int, declared: Sequence[str]
) -> tuple[tuple[Channel, ...], tuple[str, ...]]:
    """Modality and normalization of each channel, as declared or from the voxels of a few cases over the list; and
    what speaks against them, also in the ``unseen`` cases."""
    chosen = [cases[i] for i in np.unique(np.linspace(0, len(cases) - 1, _READ_CASES).astype(int))]
    read = [*chosen, *unseen[:_READ_CASES]]
    votes: list[list[bool]] = [[] for _ in range(count)]
    lowest: list[list[float]] = [[] for _ in range(count)]
    samples: list[list[np.ndarray]] = [[] for _ in range(count)]
    refused: list[InputError] = []
    for number, case in enumerate(read):
        try:
            array = read_channels(case.images, count).array
        except InputError as problem:
            refused.append(problem)
            continue
        for channel in range(count):
            votes[channel].append(looks_like_ct(array[channel]))
            lowest[channel].append(float(array[channel].min()))
            if number < len(chosen):
                samples[channel].append(sample(array[channel], _VOXELS))
    if refused:
        raise together(refused)
    channels, doubts = [], []
    for index in range(count):
        name = declared[index] if declared else "image" if count == 1 else f"image {index + 1}"
        modality = declared_modality(name) if declared else None
        like_ct = all(votes[index][: len(chosen)])
        if modality == "CT" or (modality is None and like_ct):
            channels.append(Channel(name, "CT", window_from(np.concatenate(samples[index]))))
        else:
            channels.append(Channel(name, "MR", Normalization()))
        if modality is None and 0 < sum(votes[index]) < len(read):
            other = read[votes[index].index(False)].name
            scaled = (
                "all are scaled as CT, since those trained on do" if like_ct else "each is scaled by itself, as MR is"
            )
            doubts.append(
                f"Of channel {name!r} some volumes look like CT in Hounsfield units, and others, such as {other}, do "
                f"not: {scaled}. If all are CT, bring those to Hounsfield units in whole numbers, or say CT in a "
                "dataset.json."
            )
        if modality == "CT" and max(lowest[index]) >= 0:
            other = read[int(np.argmax(lowest[index]))].name
            doubts.append(
                f"dataset.json says that channel {name!r} is CT, and {other} has no value below 0. Its values are "
                "scaled as Hounsfield units: if they are none, correct them first."
            )
    return tuple(channels), tuple(doubts)


def declared_modality(name: str) -> Modality | None:
    """The modality that a channel's name in dataset.json says, as "CT", "MRI" or "T2-FLAIR"."""
    if re.fullmatch("ct", name.strip(), re.IGNORECASE):
        return "CT"
    return "MR" if re.match(_MR_NAMES, name.strip(), re.IGNORECASE) else None


def make_plan(
    fingerprint: Fingerprint, dimensions: int, rule: PatchRule, voxels: int, slice_axis: int | None = None
) -> Plan:
    """A plan for data with this ``fingerprint``, 2D or 3D, with a patch of at most ``voxels``.

    Args:
        slice_axis: None for the one with the thickest slices.
    """
    shape, axis = fingerprint.shape, fingerprint.slice_axis if slice_axis is None else slice_axis
    if dimensions == 2:
        plane = tuple(n for a, n in enumerate(shape) if a != axis)
        flat = list(fit_patch(plane, rule, voxels))
        flat.insert(axis, 1)
        patch = (flat[0], flat[1], flat[2])
        return Plan(2, fingerprint.channels, fingerprint.spacing, patch, axis)
    z, y, x = fit_patch(shape, rule, voxels)
    return Plan(3, fingerprint.channels, fingerprint.spacing, (z, y, x), axis)


def adapt_plan(base: Plan, fingerprint: Fingerprint, rule: PatchRule, voxels: int, keep_spacing: bool = True) -> Plan:
    """The plan for fine-tuning a network that was pre-trained with ``base`` on data with ``fingerprint``.

    Spacing and normalization stay as pre-training had them, so that both phases see the same kind of input; only the
    patch follows the new data. A generic starter (modality "any") takes spacing and normalization from the data. An
    imported network keeps its conventions, and the axis that its slices are cut along.

    Args:
        keep_spacing: False takes the spacing of ``fingerprint`` in any case.

    Raises:
        InputError: the number of channels differs.
    """
    if base.generic:
        return make_plan(fingerprint, base.dimensions, rule, voxels)
    if len(base.channels) != len(fingerprint.channels):
        raise InputError(
            f"The checkpoint expects {len(base.channels)} channel(s) and the volumes have {len(fingerprint.channels)}. "
            "Give one image a channel (CASE_0000, CASE_0001, ...), or start from another checkpoint."
        )
    spacing = base.spacing if keep_spacing else fingerprint.spacing
    shape = resampled_shape(fingerprint.shape, fingerprint.spacing, spacing)
    own = base.conventions == Conventions()
    adapted = make_plan(
        replace(fingerprint, shape=shape), base.dimensions, rule, voxels, None if own else base.slice_axis
    )
    return replace(adapted, channels=base.channels, spacing=spacing, conventions=base.conventions)
