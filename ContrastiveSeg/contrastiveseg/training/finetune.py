"""Fine-tuning: a few labeled volumes and a checkpoint (or none) in, a segmenter out, with proof on held-out cases."""

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
from ..checkpoints.format import save
from ..checkpoints.open import build_segmenter
from ..data.cached_volumes import CachedVolumes
from ..descriptions import FinetuneJob
from ..errors import Cancelled, InputError
from ..methods.method import SegmentationMethod
from ..methods.registry import find_method
from ..networks.registry import build
from ..networks.segmenter import Segmenter, TransferReport, load_transferred
from ..segmentation.one_piece import one_piece_labels
from ..serialization import to_json
from . import distributed
from .loop import train
from .run import Run, Trained
from .scoring import CaseScores, score_cases, working_dice
from .setup import (
    cache_folder,
    finish,
    method_settings,
    open_run,
    optimization,
    provenance,
    told,
)
from .start import Start, open_start
from .task import Task, check_unseen, held_out, labeled_cases, prepared_task, unlabeled_cases


@dataclass(frozen=True)
class Outcome:
    """One training: what came out, the network with those weights, and what was transferred."""

    trained: Trained
    network: Segmenter
    report: TransferReport | None


def finetune(job: FinetuneJob, emit: events.Emit = events.silent, cancelled: events.Cancelled = events.never) -> dict:
    """Run ``job``; returns the paths written, the transfer report and the scores on the held-out cases.

    The result's "held_out" are the scores of the new checkpoint, "before" those of the one it started from (None if
    that knows not all of these labels, by name), each a list of :class:`.scoring.CaseScores`.

    Raises:
        InputError: data, checkpoint, output, settings or budget cannot be used.
        Cancelled: stopped; the best (or averaged) weights so far and a resume file are kept.
    """
    method = find_method("finetune", job.method)
    assert issubclass(method, SegmentationMethod)
    settings = method_settings(method, job.settings)
    if job.compare_scratch and job.checkpoint == "none":
        raise InputError(
            "--compare-scratch compares a checkpoint with training from scratch; with 'none' they are one."
        )
    emit(events.StageStarted(events.Stage.PLAN))
    cases, unlabeled = labeled_cases(job), unlabeled_cases(job, method)
    held = held_out(job, cases)
    run = open_run(job, emit, cancelled)
    start = open_start(job, cases, run)
    # A budget in minutes may call for another resolution on another device; such a run is not resumed.
    run = dataclasses.replace(run, identity=f"{run.identity} {start.plan.spacing}")
    with cache_folder(job, keep_if_refused=False) as folder:
        emit(events.StageStarted(events.Stage.PREPROCESS))
        task = prepared_task(job, cases, unlabeled, start.plan, start.card, folder, run)
        proving = range(len(cases)) if job.validation == "leave-one-out" else held
        check_unseen(start.card, [task.source.cases[i] for i in proving], emit)
        tuning = FineTuning(job, method, settings, start, task, run)
        result: dict[str, Any] = {}
        if job.validation == "leave-one-out":
            result["leave_one_out"] = tuning.leave_one_out()
            emit(events.log(f"Leave-one-out Dice {result['leave_one_out']['dice']:.3f} over {len(cases)} cases."))
        emit(events.StageStarted(events.Stage.TRAIN))
        outcome = tuning.train(held)
        trained = outcome.trained
        if trained.cancelled and not trained.steps:
            raise Cancelled("Stopped before the first step; no checkpoint was written.")
        # Saved before it is scored: what is learned is safe whatever happens next.
        tuning.save(held, outcome)
        if trained.cancelled:
            raise Cancelled(
                f"Stopped after {trained.steps} steps. {run.output} holds the {trained.kept} weights so far; "
                "--resume goes on."
            )
        result |= {**told(Path(job.output)), "steps": trained.steps, "minutes": round(trained.minutes, 2)}
        result |= {"kept": trained.kept, "transfer": to_json(outcome.report)}
        try:
            result |= tuning.prove(held, outcome, result.get("leave_one_out"))
        except Cancelled as stop:
            raise Cancelled(f"{stop} {run.output} is finished.") from stop
    finish(Path(job.output))
    return result


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuning made ready: it can be trained once, or again and again to compare."""

    job: FinetuneJob
    method: type[SegmentationMethod]
    settings: Any
    start: Start
    task: Task
    run: Run

    def train(self, held: Sequence[int], select: bool = True) -> Outcome:
        """Train on all cases but ``held``.

        ``select`` keeps the weights that did best on the held-out cases during training; their scores are then a
        little optimistic.
        """
        distributed.seed(self.job.seed)
        start, source = self.start, self.task.source
        objective = self.method(build(start.network), start.plan, self.settings, len(self.task.labels) + 1)
        report, transferred = None, set()
        if start.card and start.weights:
            report = load_transferred(objective.backbone, start.backbone_weights, start.card.transferred)
            prefixes = tuple(f"segmenter.backbone.{name}." for name in report.loaded)
            if self.head_fits:
                objective.segmenter.head.load_state_dict(
                    {name: start.weights[f"head.{name}"] for name in objective.segmenter.head.state_dict()}
                )
                prefixes += ("segmenter.head.",)
            transferred = {name for name, _ in objective.named_parameters() if name.startswith(prefixes)}
            self.run.emit(events.log(_told_transfer(report, self.head_fits)))

        def validate(state: dict[str, Tensor]) -> float:
            return working_dice(objective, self.card(held), state, source.subset(held), self.run)

        trained = train(
            objective,
            self.trained_on(held),
            optimization(self.method, self.job),
            self.run,
            transferred=transferred,
            validate=validate if held and select else None,
        )
        objective.load_state_dict(trained.state)
        return Outcome(trained, objective.segmenter, report)

    def score(self, held: Sequence[int], outcome: Outcome) -> list[CaseScores]:
        """Segment the ``held`` cases on their own grids and measure them."""
        self.run.emit(events.StageStarted(events.Stage.SCORE))
        return score_cases(outcome.network, self.card(held), [self.task.files[i] for i in held], self.run)

    def prove(
        self, held: Sequence[int], outcome: Outcome, leave_one_out: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What the training was worth, told, noted in the checkpoint and as parts of the job's result."""
        scores = self.score(held, outcome)
        for case in scores:
            self.run.emit(events.log(_told_scores(case)))
        noted = {"held_out_dice": _mean_dice(scores)} if scores else {}
        if leave_one_out:
            noted["leave_one_out_dice"] = leave_one_out["dice"]
        if noted:
            self.save(held, outcome, noted)
        before = self.before(held)
        if before:
            self.run.emit(
                events.log(f"Held-out Dice {_mean_dice(before):.3f} before and {_mean_dice(scores):.3f} after.")
            )
        proof: dict[str, Any] = {"held_out": to_json(scores), "before": to_json(before)}
        if self.job.compare_scratch:
            proof["comparison"] = self.compare(held, scores)
        return proof

    def card(self, held: Sequence[int]) -> Card:
        """What a network trained here without ``held`` is, but for its provenance."""
        start, cases = self.start, self.trained_on(held).cases
        settings, labels = to_json(self.settings), self.task.labels
        return Card("segmenter", self.job.method, start.network, start.plan, settings, labels, one_piece_labels(cases))

    def trained_on(self, held: Sequence[int]) -> CachedVolumes:
        """All cases but ``held``."""
        source = self.task.source
        return source.subset([i for i in range(len(source)) if i not in held])

    @property
    def head_fits(self) -> bool:
        """Whether the checkpoint's head predicts exactly the labels of this task, in whatever colors."""
        base = self.start.card.labels if self.start.card else ()
        return [(label.value, label.name) for label in base] == [(x.value, x.name) for x in self.task.labels]

    def beside(self, start: Start) -> FineTuning:
        """The same from ``start``, leaving nothing on disk."""
        return dataclasses.replace(self, start=start, run=dataclasses.replace(self.run, output=None, resume=False))

    def before(self, held: Sequence[int]) -> list[CaseScores] | None:
        """The scores of the checkpoint as it was, where it is a segmenter that has all of these labels by name."""
        base, names = self.start.card, {label.name: label.value for label in self.task.labels}
        if not held or not base or not self.start.weights or not names.keys() <= {x.name for x in base.labels}:
            return None
        self.run.emit(events.StageStarted(events.Stage.SCORE_CHECKPOINT))
        # Its other labels count as background, which is what they are in these label maps.
        labels = tuple(dataclasses.replace(label, value=names.get(label.name, 0)) for label in base.labels)
        whole = tuple(names[x.name] for x in base.labels if x.value in base.one_piece and x.name in names)
        network = build_segmenter(base, self.start.weights, Path(self.job.checkpoint))
        files = [self.task.files[i] for i in held]
        return score_cases(network, dataclasses.replace(base, labels=labels, one_piece=whole), files, self.run)

    def compare(self, held: Sequence[int], scores: Sequence[CaseScores]) -> dict[str, Any]:
        """The same training from scratch, and which won on the held-out cases."""
        self.run.emit(events.StageStarted(events.Stage.TRAIN_FROM_SCRATCH))
        rival = self.beside(Start(self.start.network, self.start.plan))
        outcome = rival.train(held)
        if outcome.trained.cancelled:
            raise Cancelled("Stopped while training from scratch to compare.")
        others = rival.score(held, outcome)
        ours, theirs = _mean_dice(scores), _mean_dice(others)
        won = "checkpoint" if ours > theirs else "scratch" if theirs > ours else "neither"
        self.run.emit(
            events.log(
                f"Held-out Dice {ours:.3f} from the checkpoint, {theirs:.3f} from scratch with the same budget: "
                + {"checkpoint": "pre-training paid.", "scratch": "scratch won.", "neither": "a draw."}[won]
            )
        )
        return {"won": won, "checkpoint_dice": ours, "scratch_dice": theirs, "scratch": to_json(others)}

    def leave_one_out(self) -> dict[str, Any]:
        """Train once without each case and score it there; nothing is selected on it."""
        files = self.task.files
        if len(files) < 2:
            raise InputError("Leave-one-out needs at least 2 labeled cases.")
        beside = self.beside(self.start)
        scores: list[CaseScores] = []
        for left_out, case in enumerate(files):
            self.run.emit(events.StageStarted(events.Stage.LEAVE_OUT, case.name))
            outcome = beside.train([left_out], select=False)
            if outcome.trained.cancelled:
                raise Cancelled("Stopped during leave-one-out; nothing was written.")
            scores += beside.score([left_out], outcome)
        return {"dice": _mean_dice(scores), "cases": to_json(scores)}

    def save(self, held: Sequence[int], outcome: Outcome, scores: Mapping[str, float] | None = None) -> None:
        """Write the checkpoint: segmenter weights without the auxiliary heads, which only training uses."""
        if distributed.rank():
            return
        base, prefix = self.start.card, "segmenter."
        weights = {
            name.removeprefix(prefix): tensor
            for name, tensor in outcome.trained.state.items()
            if name.startswith(prefix) and not name.startswith(prefix + "auxiliary.")
        }
        origin = provenance(
            self.job,
            self.trained_on(held).cases,
            optimization(self.method, self.job),
            outcome.trained,
            labels_used=True,
            base=self.start.digest,
            base_method=base.method if base else None,
            scores=scores or {},
            citation=_citations(base.provenance.citation if base else "", self.method.citation),
        )
        # What was learned from once stays so, even if the volume comes back without its label.
        again = {case.digest for case in origin.labeled_cases}
        earlier = [case for case in (base.provenance.labeled_cases if base else ()) if case.digest not in again]
        known = {case.digest for case in earlier}
        cases = (*(case for case in origin.cases if case.digest not in known), *earlier)
        count = origin.case_count + len(cases) - len(origin.cases)
        origin = dataclasses.replace(origin, cases=cases, case_count=count)
        assert self.run.output is not None
        save(self.run.output, weights, dataclasses.replace(self.card(held), provenance=origin))


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


def _citations(*given: str) -> str:
    """Each of the works once, in order: a checkpoint that was fine-tuned again cites nothing twice."""
    works = [work.strip().rstrip(".") for citation in given for work in citation.split(";") if work.strip()]
    return "; ".join(dict.fromkeys(works)) + "."
