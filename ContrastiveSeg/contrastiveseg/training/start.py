"""What fine-tuning starts from: a checkpoint, or a fresh network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from .. import events
from ..checkpoints.card import Card
from ..checkpoints.format import load
from ..checkpoints.header import digest
from ..checkpoints.licensing import tell_terms
from ..descriptions import FinetuneJob
from ..networks.registry import build
from ..networks.spec import NetworkSpec
from ..planning.compatibility import modality_mismatch, warning_text
from ..planning.fingerprint import Fingerprint, adapt_plan, fingerprint_of, make_plan
from ..planning.patch import PatchRule
from ..planning.plan import Plan
from ..planning.presets import choose_network, for_thick_slices, patch_voxels
from ..planning.resolution import (
    affordable_patch,
    at_spacing,
    choose_resolution,
    finer_than_working,
    resolution_text,
    steps_affordable,
)
from ..volumes.dataset import CaseFiles
from ..volumes.dataset_json import declared_channels
from .run import Run


@dataclass(frozen=True)
class Start:
    """Network and plan to train with; ``card``, ``weights`` and ``digest`` are the checkpoint's, None from scratch."""

    network: NetworkSpec
    plan: Plan
    card: Card | None = None
    weights: Mapping[str, Tensor] | None = None
    digest: str | None = None

    @property
    def backbone_weights(self) -> dict[str, Tensor]:
        """The backbone's tensors of a pre-trained or a fine-tuned checkpoint, without the head's."""
        given = self.weights or {}
        return {n.removeprefix("backbone."): t for n, t in given.items() if not n.startswith(("head.", "aux"))}


def open_start(job: FinetuneJob, cases: Sequence[CaseFiles], run: Run, held: Sequence[int] = ()) -> Start:
    """What ``job`` names to start from, with a plan that follows ``cases`` but for those ``held`` out.

    Raises:
        InputError: the checkpoint cannot be read, or does not fit the volumes.
    """
    declared = declared_channels(Path(path) for path in job.images)
    unseen = [cases[i] for i in held]
    cases = [case for i, case in enumerate(cases) if i not in held]
    if job.checkpoint in ("none", None):
        native = _told(fingerprint_of(cases, declared, unseen=unseen), run)
        # The size of the patch does not depend on the resolution, but the network's levels do.
        _, voxels = choose_network(job.network, job.size, job.dimensions, native, run.device)
        seen = _at_working_spacing(job, native, job.dimensions, voxels, cases, run)
        spec, _ = choose_network(job.network, job.size, job.dimensions, seen, run.device)
        rule, voxels = PatchRule(build(spec).total_stride), _patch_voxels(voxels, job.dimensions, run)
        plan = _with_a_norm(make_plan(seen, job.dimensions, rule, voxels), rule)
        return Start(spec, dataclasses.replace(plan, volume_spacing=finer_than_working(native.spacing, plan.spacing)))
    path = Path(job.checkpoint or "")
    card, weights = load(path)
    tell_terms(card, run.emit)
    orientation = card.plan.conventions.orientation
    native = _told(fingerprint_of(cases, declared, orientation=orientation, unseen=unseen), run)
    voxels, seen = patch_voxels(card.network), native
    if card.plan.generic or job.resolution != "auto":
        seen = _at_working_spacing(job, native, card.plan.dimensions, voxels, cases, run)
    network = for_thick_slices(card.network, seen) if card.plan.generic else card.network
    if network != card.network:
        run.emit(events.log(_thick_slices(path.name)))
    rule, voxels = PatchRule(build(network).total_stride), _patch_voxels(voxels, card.plan.dimensions, run)
    plan = _with_a_norm(adapt_plan(card.plan, seen, rule, voxels, keep_spacing=job.resolution == "auto"), rule)
    plan = dataclasses.replace(plan, volume_spacing=finer_than_working(native.spacing, plan.spacing))
    for index, (expected, found) in enumerate(zip(plan.channels, seen.channels, strict=True)):
        if mismatch := modality_mismatch(expected.modality, found.modality, index):
            text = warning_text(mismatch, f"channel {found.name!r} of these volumes")
            run.emit(events.warning(f"{text} It is scaled like {expected.modality} and may lose its contrast."))
    if plan.dimensions == 3 and 1 in native.shape and (slices := plan.patch[native.slice_axis]) > 1:
        run.emit(events.warning(_single_slices(path.name, slices)))
    # A generic starter may meet several channels: its first convolution is refitted to them.
    return Start(dataclasses.replace(network, in_channels=len(plan.channels)), plan, card, weights, digest(path))


def _with_a_norm(plan: Plan, rule: PatchRule) -> Plan:
    """``plan`` with a patch of more than one voxel at the bottleneck, of which instance norm can make nothing."""
    if plan.patch_shape != rule.multiple:
        return plan
    doubled = 1 if plan.dimensions == 2 and plan.slice_axis == 2 else 2
    z, y, x = (2 * n if axis == doubled else n for axis, n in enumerate(plan.patch))
    return dataclasses.replace(plan, patch=(z, y, x))


def _told(seen: Fingerprint, run: Run) -> Fingerprint:
    """``seen``, whose doubts are warned of."""
    for doubt in seen.doubts:
        run.emit(events.warning(doubt))
    return seen


def _thick_slices(name: str) -> str:
    return (
        f"The slices are thick, single or few: {name}, pre-trained on cubes of voxels, halves later across them, and "
        "its kernels are summed where they become shorter."
    )


def _single_slices(name: str, slices: int) -> str:
    return (
        f"The volumes are single slices, and {name} sees {slices} at once, of which all but one are padding here. For "
        "images of two dimensions start with --checkpoint none --dimensions 2, or from a checkpoint pre-trained with "
        "--dimensions 2."
    )


def _at_working_spacing(
    job: FinetuneJob, native: Fingerprint, dimensions: Literal[2, 3], voxels: int, cases: Sequence[CaseFiles], run: Run
) -> Fingerprint:
    """``native`` at the spacing that ``job.resolution`` asks for or the budget calls for, which is logged."""
    chosen = choose_resolution(job.resolution, native, dimensions, _steps(voxels, run), voxels, cases)
    run.emit(events.log(resolution_text(chosen, native.spacing)))
    return at_spacing(native, chosen.spacing)


def _patch_voxels(voxels: int, dimensions: Literal[2, 3], run: Run) -> int:
    """The most voxels of a patch: in few minutes smaller ones make more steps; a number of steps stays what it is."""
    return affordable_patch(voxels, _steps(voxels, run)) if dimensions == 3 and run.budget.minutes else voxels


def _steps(voxels: int, run: Run) -> float:
    """How many steps of two patches of ``voxels`` the budget has, or has time for."""
    if run.budget.minutes:
        return steps_affordable(run.budget.minutes, voxels, run.device.type, torch.get_num_threads())
    return run.budget.steps or 0
