"""What fine-tuning starts from: a checkpoint, or a fresh network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from .. import events
from ..checkpoints.card import Card
from ..checkpoints.format import load
from ..checkpoints.header import digest
from ..descriptions import FinetuneJob
from ..networks.registry import build
from ..networks.spec import NetworkSpec
from ..planning.compatibility import modality_mismatch, warning_text
from ..planning.fingerprint import adapt, fingerprint, plan_for
from ..planning.patch import PatchRule
from ..planning.plan import Plan
from ..planning.presets import choose_network, patch_voxels
from ..volumes.dataset import CaseFiles
from .loop import Run


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


def open_start(job: FinetuneJob, cases: Sequence[CaseFiles], run: Run) -> Start:
    """What ``job`` names to start from, with a plan that follows ``cases``.

    Raises:
        InputError: the checkpoint cannot be read, or does not fit the volumes.
    """
    seen = fingerprint(cases)
    if job.checkpoint == "none":
        spec, voxels = choose_network(job.network, job.size, job.dimensions, seen, run.device)
        return Start(spec, plan_for(seen, job.dimensions, PatchRule(build(spec).total_stride), voxels))
    path = Path(job.checkpoint)
    card, weights = load(path)
    rule = PatchRule(build(card.network).total_stride)
    plan = adapt(card.plan, seen, rule, patch_voxels(card.network))
    for index, (expected, found) in enumerate(zip(plan.channels, seen.channels, strict=True)):
        if mismatch := modality_mismatch(expected.modality, found.modality, index):
            text = warning_text(mismatch, f"channel {found.name!r} of these volumes")
            run.emit(events.warning(f"{text} It is scaled like {expected.modality} and may lose its contrast."))
    # A generic starter may meet several channels: its first convolution is refitted to them.
    return Start(dataclasses.replace(card.network, in_channels=len(plan.channels)), plan, card, weights, digest(path))
