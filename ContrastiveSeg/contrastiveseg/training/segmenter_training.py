"""Training a segmenter on the cases of a fine-tuning, scoring it on the others, and writing its checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import events
from ..checkpoints.card import Card
from ..checkpoints.familiarity import Familiarity
from ..checkpoints.format import save
from ..checkpoints.licensing import inherited, sources
from ..data.cached_volumes import CachedVolumes
from ..data.sampling import class_frequencies
from ..descriptions import FinetuneJob
from ..methods.method import Optimization, SegmentationMethod
from ..networks.registry import build
from ..networks.segmenter import Segmenter, load_transferred
from ..results import HeldOutCase, TransferReport
from ..segmentation.one_piece import one_piece_labels
from ..serialization import to_json
from . import distributed
from .familiarity import familiarity_of
from .loop import train
from .run import Run, Trained
from .scoring import score_cases, working_dice
from .setup import provenance
from .start import Start
from .task import Task


@dataclass(frozen=True)
class TrainedSegmenter:
    """A training's outcome, the network with its weights, and what was transferred, None from scratch."""

    trained: Trained
    network: Segmenter
    report: TransferReport | None


@dataclass(frozen=True)
class SegmenterTraining:
    """A fine-tuning with its data prepared. It can be trained once, or several times to compare.

    Attributes:
        method, settings, how: the method, its settings and its optimization, as the job asks for.
        start: network, plan and weights at the beginning. task: the cases. run: budget, device and output.
    """

    job: FinetuneJob
    method: type[SegmentationMethod]
    settings: Any
    how: Optimization
    start: Start
    task: Task
    run: Run

    def train(self, held: Sequence[int], select: bool = True) -> TrainedSegmenter:
        """Train on all cases but ``held``, and write the checkpoint if the run has an output.

        ``select`` keeps the weights that did best on the held-out cases during training; their scores are then a
        little optimistic.
        """
        torch.manual_seed(self.job.seed)
        start, source = self.start, self.task.source
        method = self.method(build(start.network), start.plan, self.settings, len(self.task.labels) + 1)
        method.class_names = tuple(label.name for label in self.task.labels)
        method.set_prior(class_frequencies(self.training_volumes(held), len(self.task.labels) + 1))
        report, transferred = None, set()
        if start.card and start.weights:
            thinner = start.network.arguments != start.card.network.arguments
            report = load_transferred(method.backbone, start.backbone_weights, start.card.transferred, thinner)
            prefixes = tuple(f"segmenter.backbone.{name}." for name in report.loaded)
            if self.head_fits:
                method.segmenter.head.load_state_dict(
                    {name: start.weights[f"head.{name}"] for name in method.segmenter.head.state_dict()}
                )
                prefixes += ("segmenter.head.",)
            transferred = {name for name, _ in method.named_parameters() if name.startswith(prefixes)}
            self.run.emit(events.log(_transfer_text(report, self.head_fits)))

        def validate(state: dict[str, Tensor]) -> float:
            return working_dice(method, self.card(held), state, source.subset(held), self.run)

        trained = train(
            method,
            self.training_volumes(held),
            self.how,
            self.run,
            transferred=transferred,
            validate=validate if held and select else None,
            write=(lambda trained: self._write(held, trained)) if self.run.output else None,
        )
        method.load_state_dict(trained.state)
        return TrainedSegmenter(trained, method.segmenter, report)

    def score(self, held: Sequence[int], outcome: TrainedSegmenter) -> list[HeldOutCase]:
        """Segment the ``held`` cases on their own grids and measure them."""
        self.run.emit(events.StageStarted(events.Stage.SCORE))
        return score_cases(outcome.network, self.card(held), [self.task.files[i] for i in held], self.run)

    def card(self, held: Sequence[int]) -> Card:
        """The card of a network trained without ``held``; :meth:`save` adds the provenance."""
        start, cases = self.start, self.training_volumes(held).cases
        settings, labels = to_json(self.settings), self.task.labels
        return Card("segmenter", self.job.method, start.network, start.plan, settings, labels, one_piece_labels(cases))

    def training_volumes(self, held: Sequence[int]) -> CachedVolumes:
        """All cases but ``held``."""
        source = self.task.source
        return source.subset([i for i in range(len(source)) if i not in held])

    @property
    def in_place(self) -> bool:
        """Whether the output replaces the checkpoint that is started from."""
        output, base = self.run.output, self.job.checkpoint
        return bool(output and base and output.exists() and Path(base).exists() and output.samefile(base))

    @property
    def head_fits(self) -> bool:
        """Whether the checkpoint's head predicts exactly the labels of this task; colors may differ."""
        base = self.start.card.labels if self.start.card and self.start.card.decision == "largest" else ()
        return [(label.value, label.name) for label in base] == [(x.value, x.name) for x in self.task.labels]

    def _write(self, held: Sequence[int], trained: Trained) -> None:
        # Resuming starts from the same checkpoint, so a stopped run does not replace it.
        if not (trained.cancelled and self.in_place):
            self.save(held, trained)

    def without_output(self) -> SegmenterTraining:
        """The same training, which writes nothing."""
        return dataclasses.replace(self, run=dataclasses.replace(self.run, output=None, resume=False))

    def familiarity(self, held: Sequence[int], outcome: TrainedSegmenter) -> Familiarity | None:
        """What the labeled cases that were trained on look like to the network; None where it cannot be told."""
        if distributed.rank():
            return None
        self.run.emit(events.StageStarted(events.Stage.FEATURES))
        network, steps = outcome.network, outcome.trained.steps
        return familiarity_of(network, self.card(held), self.training_volumes(held), steps, self.run)

    def save(
        self,
        held: Sequence[int],
        trained: Trained,
        scores: Mapping[str, float] | None = None,
        familiarity: Familiarity | None = None,
    ) -> None:
        """Write the checkpoint: the segmenter without its auxiliary heads, which only training uses."""
        if distributed.rank():
            return
        base, prefix = self.start.card, "segmenter."
        weights = {
            name.removeprefix(prefix): tensor
            for name, tensor in trained.state.items()
            if name.startswith(prefix) and not name.startswith(prefix + "auxiliary.")
        }
        origin = provenance(
            self.job,
            self.training_volumes(held).cases,
            self.how,
            trained,
            earlier_training=base.provenance if base else None,
            base=self.start.digest,
            base_method=base.method if base else None,
            scores=scores or {},
            sources=sources(base, Path(self.job.checkpoint or "none").stem, self.start.digest),
            citation=_citations(base.provenance.citation if base else "", self.method.citation),
        )
        license = inherited(origin.license, base.provenance.license if base else "")
        origin = dataclasses.replace(origin, license=license)
        assert self.run.output is not None
        card = dataclasses.replace(self.card(held), familiarity=familiarity, provenance=origin)
        save(self.run.output, weights, card)


def _transfer_text(report: TransferReport, head: bool) -> str:
    fresh = f"; fresh: {', '.join(report.fresh)}" if report.fresh else ""
    loaded = f"Loaded {', '.join(report.loaded)} ({report.loaded_parameters:,} parameters){fresh}"
    return f"{loaded}; head: {'loaded' if head else 'fresh'}."


def _citations(*given: str) -> str:
    """Each work once, in order: a checkpoint that was fine-tuned again cites nothing twice."""
    works = [work.strip().rstrip(".") for citation in given for work in citation.split(";") if work.strip()]
    return "; ".join(dict.fromkeys(works)) + "."
