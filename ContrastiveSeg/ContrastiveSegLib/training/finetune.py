"""Fine-tuning: a few labelled volumes and a checkpoint (or none) in, a segmenter out, with proof on held-out cases."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import events
from ..checkpoints.card import Card
from ..checkpoints.format import load, save
from ..checkpoints.header import digest
from ..descriptions import FinetuneJob
from ..errors import Cancelled, InputError
from ..methods.objective import SegmentationObjective, find
from ..networks.registry import build
from ..networks.segmenter import TransferReport, load_transferred
from ..networks.spec import NetworkSpec
from ..records import to_json
from ..volumes.dataset import CaseFiles
from ..volumes.fingerprint import PatchRule, adapt, fingerprint, plan_for
from ..volumes.plan import Plan
from . import distributed
from .loop import Run, Trained, train
from .scoring import CaseScores, score_cases, working_dice
from .setup import (
    cache_folder,
    choose_network,
    finish,
    method_settings,
    open_run,
    optimisation,
    patch_voxels,
    provenance,
    told,
)
from .task import Task, held_out, labelled_cases, prepared_task, unlabelled_cases


@dataclass(frozen=True)
class Start:
    """What fine-tuning starts from; ``card`` and ``weights`` are None from scratch."""

    network: NetworkSpec
    plan: Plan
    card: Card | None = None
    weights: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Outcome:
    """One training: what came out, its scores on the held-out cases, and what was transferred."""

    trained: Trained
    scores: list[CaseScores]
    report: TransferReport | None


def finetune(job: FinetuneJob, emit: events.Emit = events.silent, cancelled: events.Cancelled = events.never) -> dict:
    """Run ``job``; returns the paths written, the transfer report and the scores.

    Raises:
        InputError: data, checkpoint, output, settings or budget cannot be used.
        Cancelled: stopped; the best (or averaged) weights so far and a resume file are kept.
    """
    method = find("finetune", job.method)
    assert issubclass(method, SegmentationObjective)
    settings = method_settings(method, job.settings)
    if job.compare_scratch and job.checkpoint == "none":
        raise InputError(
            "--compare-scratch compares a checkpoint with training from scratch; with 'none' they are one."
        )
    emit(events.stage("plan"))
    cases, unlabelled = labelled_cases(job), unlabelled_cases(job, method)
    held = held_out(job, cases)
    run = open_run(job, emit, cancelled)
    start = _start(job, cases, run)
    with cache_folder(job, keep_if_refused=False) as folder:
        emit(events.stage("preprocess"))
        task = prepared_task(job, cases, unlabelled, start.plan, start.card, folder, run)
        tuning = FineTuning(job, method, settings, start, task, run)
        result: dict[str, Any] = {}
        if job.validation == "leave-one-out":
            result["leave_one_out"] = tuning.leave_one_out()
            emit(events.log(f"Leave-one-out Dice {result['leave_one_out']['dice']:.3f} over {len(cases)} cases."))
        emit(events.stage("train"))
        outcome = tuning.train(held)
        trained = outcome.trained
        for case in outcome.scores:
            emit(events.log(_told_scores(case)))
        if distributed.rank() == 0:
            tuning.save(held, outcome, result.get("leave_one_out"))
        if trained.cancelled:
            raise Cancelled(
                f"Stopped after {trained.steps} steps. {run.output} holds the {trained.kept} weights so far; "
                "--resume goes on."
            )
        result |= {**told(Path(job.output)), "steps": trained.steps, "minutes": round(trained.minutes, 2)}
        result |= {"kept": trained.kept, "transfer": to_json(outcome.report), "held_out": to_json(outcome.scores)}
        if job.compare_scratch:
            result["comparison"] = tuning.compare(held, outcome)
    finish(Path(job.output))
    return result


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuning made ready: it can be trained once, or again and again to compare."""

    job: FinetuneJob
    method: type[SegmentationObjective]
    settings: Any
    start: Start
    task: Task
    run: Run

    def train(self, held: Sequence[int], select: bool = True) -> Outcome:
        """Train on all cases but ``held``, and score those on their own grids.

        ``select`` keeps the weights that did best on the held-out cases during training; their scores are then a
        little optimistic.
        """
        distributed.seed(self.job.seed)
        start, source = self.start, self.task.source
        objective = self.method(build(start.network), start.plan, self.settings, len(self.task.labels) + 1)
        report, transferred = None, set()
        if start.card and start.weights:
            report = load_transferred(objective.backbone, _backbone_weights(start.weights), start.card.transferred)
            prefixes = tuple(f"segmenter.backbone.{name}." for name in report.loaded)
            if self.head_fits:
                objective.segmenter.head.load_state_dict(
                    {name: start.weights[f"head.{name}"] for name in objective.segmenter.head.state_dict()}
                )
                prefixes += ("segmenter.head.",)
            transferred = {name for name, _ in objective.named_parameters() if name.startswith(prefixes)}
            self.run.emit(events.log(_told_transfer(report, self.head_fits)))
        card = Card("segmenter", self.job.method, start.network, start.plan, labels=self.task.labels)

        def validate(state: dict[str, Tensor]) -> float:
            return working_dice(objective, card, state, source.subset(held), self.run)

        trained = train(
            objective,
            source.subset(_others(held, len(source))),
            optimisation(self.method, self.job),
            self.run,
            transferred=transferred,
            validate=validate if held and select else None,
        )
        objective.load_state_dict(trained.state)
        files = [] if trained.cancelled else [self.task.files[i] for i in held]
        self.run.emit(events.stage("score"))
        return Outcome(trained, score_cases(objective.segmenter, card, files, self.run), report)

    @property
    def head_fits(self) -> bool:
        """Whether the checkpoint's head predicts exactly the labels of this task, in whatever colours."""
        base = self.start.card.labels if self.start.card else ()
        return [(label.value, label.name) for label in base] == [(x.value, x.name) for x in self.task.labels]

    def beside(self, start: Start) -> FineTuning:
        """The same from ``start``, leaving nothing on disk."""
        return dataclasses.replace(self, start=start, run=dataclasses.replace(self.run, output=None, resume=False))

    def compare(self, held: Sequence[int], outcome: Outcome) -> dict[str, Any]:
        """The same training from scratch, and which won on the held-out cases."""
        self.run.emit(events.stage("train from scratch"))
        rival = self.beside(Start(self.start.network, self.start.plan)).train(held)
        if rival.trained.cancelled:
            raise Cancelled(f"Stopped while training from scratch to compare. {self.run.output} is finished.")
        ours, theirs = _mean_dice(outcome.scores), _mean_dice(rival.scores)
        won = "checkpoint" if ours > theirs else "scratch" if theirs > ours else "neither"
        self.run.emit(
            events.log(
                f"Held-out Dice {ours:.3f} from the checkpoint, {theirs:.3f} from scratch with the same budget: "
                + {"checkpoint": "pre-training paid.", "scratch": "scratch won.", "neither": "a draw."}[won]
            )
        )
        return {"won": won, "checkpoint_dice": ours, "scratch_dice": theirs, "scratch": to_json(rival.scores)}

    def leave_one_out(self) -> dict[str, Any]:
        """Train once without each case and score it there; nothing is selected on it."""
        files = self.task.files
        if len(files) < 2:
            raise InputError("Leave-one-out needs at least 2 labelled cases.")
        beside = self.beside(self.start)
        scores: list[CaseScores] = []
        for left_out, case in enumerate(files):
            self.run.emit(events.stage(f"leave out {case.name}"))
            outcome = beside.train([left_out], select=False)
            if outcome.trained.cancelled:
                raise Cancelled("Stopped during leave-one-out; nothing was written.")
            scores += outcome.scores
        return {"dice": _mean_dice(scores), "cases": to_json(scores)}

    def save(self, held: Sequence[int], outcome: Outcome, leave_one_out: Mapping[str, Any] | None = None) -> None:
        """Write the checkpoint: segmenter weights without the auxiliary heads, which only training uses."""
        base, prefix = self.start.card, "segmenter."
        scores = {"held_out_dice": _mean_dice(outcome.scores)} if outcome.scores else {}
        if leave_one_out:
            scores["leave_one_out_dice"] = leave_one_out["dice"]
        weights = {
            name.removeprefix(prefix): tensor
            for name, tensor in outcome.trained.state.items()
            if name.startswith(prefix) and not name.startswith(prefix + "auxiliary.")
        }
        origin = provenance(
            self.job,
            self.task.source.subset(_others(held, len(self.task.source))).cases,
            optimisation(self.method, self.job),
            outcome.trained,
            labels_used=True,
            base=digest(Path(self.job.checkpoint)) if base else None,
            base_method=base.method if base else None,
            scores=scores,
            citation="; ".join(c for c in (base.provenance.citation if base else "", self.method.citation) if c),
        )
        card = Card(
            "segmenter",
            self.job.method,
            self.start.network,
            self.start.plan,
            to_json(self.settings),
            self.task.labels,
            provenance=origin,
        )
        assert self.run.output is not None
        save(self.run.output, weights, card)


def _start(job: FinetuneJob, cases: Sequence[CaseFiles], run: Run) -> Start:
    seen = fingerprint(cases)
    if job.checkpoint == "none":
        spec, voxels = choose_network(job.network, job.size, job.dimensions, seen, run.device)
        return Start(spec, plan_for(seen, job.dimensions, PatchRule(build(spec).total_stride), voxels))
    card, weights = load(Path(job.checkpoint))
    rule = PatchRule(build(card.network).total_stride)
    plan = adapt(card.plan, seen, rule, patch_voxels(card.network))
    for ours, theirs in zip(plan.channels, seen.channels, strict=True):
        if ours.modality != theirs.modality:
            run.emit(
                events.warning(
                    f"The checkpoint was trained on {ours.modality}, and channel {theirs.name!r} of these volumes "
                    f"looks like {theirs.modality}: scaled as {ours.modality} is, it may lose its contrast."
                )
            )
    # A generic starter may meet several channels: its first convolution is refitted to them.
    return Start(dataclasses.replace(card.network, in_channels=len(plan.channels)), plan, card, weights)


def _backbone_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's tensors of a pre-trained or a fine-tuned checkpoint, without the head's."""
    return {name.removeprefix("backbone."): t for name, t in weights.items() if not name.startswith(("head.", "aux"))}


def _others(held: Sequence[int], count: int) -> list[int]:
    return [i for i in range(count) if i not in held]


def _mean_dice(scores: Sequence[CaseScores]) -> float:
    """Over the cases where it is defined; 0 if there is none."""
    return statistics.fmean([s.dice for s in scores if s.dice is not None] or [0.0])


def _told_scores(case: CaseScores) -> str:
    by_label = ", ".join(f"{name} {dice:.3f}" for name, dice in case.labels.items())
    if case.dice is None:
        return f"Held out {case.name}: nothing to find, and nothing found."
    return f"Held out {case.name}: Dice {case.dice:.3f}" + (f" ({by_label})." if by_label else ".")


def _told_transfer(report: TransferReport, head: bool) -> str:
    fresh = f"; fresh: {', '.join(report.fresh)}" if report.fresh else ""
    told = f"Loaded {', '.join(report.loaded)} ({report.loaded_parameters:,} parameters){fresh}"
    return f"{told}; head: {'loaded' if head else 'fresh'}."
