"""The one training loop: any objective, any source of crops, one process or many."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .. import events
from ..checkpoints.format import not_finite
from ..data.batch import Batch
from ..data.sampling import PatchSource
from ..device import autocast, keep_large_buffers, out_of_memory, shield_thin_convolutions
from ..errors import Cancelled, ContrastiveSegError, InputError
from ..methods.method import Method, Optimization
from . import distributed
from .optimizer import (
    AveragedWeights,
    learning_rate,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
)
from .resume import ResumeState, cut_metrics, load_resume_state, metrics_path, resume_path, save_resume_state

#: So many steps in a row may give a gradient that is not finite (each is skipped) before training stops.
_PATIENCE = 10
_CALMER = "Lower --learning-rate, or use --precision 32."


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps, or of minutes spent training (validation not counted)."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise InputError("Give the budget either in steps or in minutes.")
        if not 0 < (self.steps or self.minutes or 0) < math.inf:
            raise InputError("The budget must be a number above 0.")

    def progress(self, step: int, seconds: float) -> float:
        """How much of it is used, 1 at the end."""
        return step / self.steps if self.steps else seconds / (60 * (self.minutes or 1))


@dataclass(frozen=True)
class Run:
    """Everything of a run that is not the objective or the data.

    Attributes:
        output: the checkpoint to be; the curve and the resume file lie beside it. None keeps nothing on disk.
        identity: names the job, so that only the same job resumes it.
        save_seconds: between two writings of the resume file.
        validations: how often, evenly over the budget, ``validate`` is called.
    """

    budget: Budget
    device: torch.device
    dtype: torch.dtype | None = None
    seed: int = 0
    output: Path | None = None
    identity: str = ""
    resume: bool = False
    save_seconds: float = 60.0
    validations: int = 10
    emit: events.Emit = events.silent
    cancelled: events.Cancelled = events.never


@dataclass(frozen=True)
class Trained:
    """The outcome: ``state`` is the objective's state dict to keep (best validated, else averaged, else last)."""

    state: dict[str, Tensor]
    kept: str
    steps: int
    minutes: float
    best_score: float | None
    cancelled: bool


def train(
    objective: Method,
    source: PatchSource,
    how: Optimization,
    run: Run,
    *,
    transferred: Collection[str] = (),
    validate: Callable[[dict[str, Tensor]], float] | None = None,
) -> Trained:
    """Minimize ``objective`` over crops of ``source`` until the budget is used or the run is cancelled.

    Every step's randomness follows from (seed, step, process) alone, so a resumed run repeats the uninterrupted one.

    Args:
        transferred: names of the objective's parameters that came from a checkpoint (they learn at a lower rate).
        validate: scores a state dict of the objective, higher is better.

    Raises:
        ContrastiveSegError: the gradient is not finite for many steps in a row, or in all of them, or the weights are
            not in the end.
    """
    if run.device.type == "cpu":
        keep_large_buffers()
        shield_thin_convolutions(objective)
    objective.to(run.device).train()
    module = _distributed(objective, run.device)
    state = _State(objective, how, run, transferred)
    if run.resume:
        state.restore()
    checks = _checkpoints(run.validations if validate else 0, run.budget.progress(state.step, state.seconds))
    progress = _progress(run, state.step, state.seconds)
    main, stopped, failures, last_save = distributed.rank() == 0, False, 0, time.monotonic()
    with ThreadPoolExecutor(1) as drawer, closing(_curve(run, state.step, main)) as curve:
        coming = drawer.submit(_draw, objective, source, run.seed, state.step)
        while True:
            # Clocks differ between processes: with rates of their own, the copies of the weights would drift apart.
            used = distributed.agreed(run.budget.progress(state.step, state.seconds), run.device)
            stopped = bool(distributed.agreed(run.cancelled(), run.device))
            if stopped or used >= 1:
                break
            start = time.monotonic()
            batch = coming.result()
            coming = drawer.submit(_draw, objective, source, run.seed, state.step + 1)
            rate = learning_rate(how, used)
            set_learning_rate(state.optimizer, rate)
            objective.progress = used
            terms = _step(module, state.optimizer, batch, how, run, state.step)
            if terms is not None:
                state.after_step()
            state.seconds += time.monotonic() - start
            if terms is not None and main:
                curve.note({"step": state.step, "seconds": round(state.seconds, 3), "lr": rate, **terms})
                for name, value in terms.items():
                    run.emit(events.Metric(name, state.step, value))
            failures = 0 if terms is not None else failures + 1
            state.skipped += terms is None
            if failures >= _PATIENCE:
                raise ContrastiveSegError(
                    f"The gradient was not finite for {_PATIENCE} steps in a row (step {state.step}). {_CALMER}"
                )
            state.step += 1
            progress(state.step if run.budget.steps else state.seconds)
            if checks and run.budget.progress(state.step, state.seconds) >= checks[0]:
                checks.pop(0)
                if main and validate:
                    with suppress(Cancelled):  # in the middle of a validation: the loop ends above, with what it has
                        score = state.judge(validate)
                        run.emit(events.Metric("validation_dice", state.step, score))
                        curve.note({"step": state.step - 1, "validation_dice": score})
            if time.monotonic() - last_save > run.save_seconds:
                state.try_to_save()
                last_save = time.monotonic()
    if stopped and state.step:
        state.save()
    distributed.barrier()
    kept, weights = state.keep()
    _check_learned(state, weights)
    return Trained(_copied(weights), kept, state.step, state.seconds / 60, state.best_score, stopped)


class _State:
    """What moves during training: weights, optimizer, average, the best so far; and its file for resuming."""

    def __init__(self, objective: Method, how: Optimization, run: Run, transferred: Collection[str]) -> None:
        self.objective, self.run = objective, run
        self.optimizer = make_optimizer(objective, how, transferred, objective.rates)
        self.average = AveragedWeights(objective, how.ema) if how.ema else None
        self.step, self.skipped, self.seconds = 0, 0, 0.0
        self.best: dict[str, Tensor] = {}
        self.best_score: float | None = None
        self._warned = False

    def after_step(self) -> None:
        self.objective.after_step()
        if self.average:
            self.average.update(self.objective)

    def judge(self, validate: Callable[[dict[str, Tensor]], float]) -> float:
        """Validate the weights as they are, and remember them if they are the best."""
        weights = self.average.state if self.average else self.objective.state_dict()
        score = validate(weights)
        self.objective.train()
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best = score, _copied(weights)
        return score

    def keep(self) -> tuple[str, dict[str, Tensor]]:
        """The weights to keep, and what they are."""
        if self.best:
            return "best", self.best
        return ("average", self.average.state) if self.average else ("last", self.objective.state_dict())

    def save(self) -> None:
        """Write the resume file (process 0 only)."""
        if distributed.rank() or not self.run.output:
            return
        parts = {
            "objective": self.objective.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "best": self.best,
            "average": self.average.state if self.average else {},
        }
        updates = self.average.updates if self.average else 0
        mark = ResumeState(self.run.identity, self.step, self.seconds, updates, self.best_score, self.skipped)
        save_resume_state(resume_path(self.run.output), mark, parts)

    def try_to_save(self) -> None:
        """Write the resume file; where that fails, training goes on without, and the first time it is told."""
        try:
            self.save()
        except (InputError, OSError) as problem:
            if not self._warned:
                self.run.emit(events.warning(f"{problem} Training goes on, but could not be resumed from here."))
            self._warned = True

    def restore(self) -> None:
        """Take up where the resume file left off."""
        assert self.run.output is not None
        mark, parts = load_resume_state(resume_path(self.run.output), self.run.identity)
        self.objective.load_state_dict(parts["objective"])
        load_optimizer_tensors(self.optimizer, parts.get("optimizer", {}))
        self.step, self.skipped, self.seconds = mark.step, mark.skipped, mark.seconds
        self.best_score = mark.best_score
        self.best = parts.get("best", {})
        if self.average:
            self.average.updates = mark.averages
            self.average.state = {name: t.to(self.run.device) for name, t in parts["average"].items()}


def _step(
    module: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, how: Optimization, run: Run, step: int
) -> dict[str, float] | None:
    """One update; None if the gradient was not finite (the weights then stay).

    The gradient is already averaged over the processes, so that all of them decide alike.
    """
    torch.manual_seed((run.seed * 1_000_003 + step) * 1009 + distributed.rank())
    try:
        with autocast(run.device, run.dtype):
            terms = module(batch.to(run.device))
        optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
    except RuntimeError as problem:
        if not out_of_memory(problem):
            raise
        raise ContrastiveSegError(
            f"Not enough memory on {run.device} for a training step. Close what else uses it, or choose fewer crops a "
            "step (a setting, see 'methods'), a smaller network (--size tiny) or another device (--device)."
        ) from problem
    norm = nn.utils.clip_grad_norm_(module.parameters(), how.clip)
    if not math.isfinite(float(norm)):
        return None
    optimizer.step()
    values = {name: float(value.detach()) for name, value in terms.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _check_learned(state: _State, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that no step has changed or that are not numbers, and tell of steps that were skipped."""
    if state.step and state.skipped == state.step:
        raise ContrastiveSegError(
            f"Nothing was learned: the gradient was not finite in any of the {state.step} steps. {_CALMER}"
        )
    if bad := not_finite(weights):
        raise ContrastiveSegError(f"The weights are no longer numbers after {state.step} steps ({bad[0]}). {_CALMER}")
    if state.skipped:
        state.run.emit(
            events.warning(
                f"{state.skipped} of {state.step} steps were skipped, as their gradient was not finite. {_CALMER}"
            )
        )


def _draw(objective: Method, source: PatchSource, seed: int, step: int) -> Batch:
    return objective.draw(source, np.random.default_rng([seed, step, distributed.rank()]))


def _distributed(objective: Method, device: torch.device) -> nn.Module:
    if distributed.world() == 1:
        return objective
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(objective, device_ids=ids, find_unused_parameters=True)


def _checkpoints(count: int, used: float) -> list[float]:
    """The shares of the budget at which to validate that are still to come."""
    return [(i + 1) / count for i in range(count) if (i + 1) / count > used]


def _progress(run: Run, step: int, seconds: float) -> Callable[[float], None]:
    if run.budget.steps:
        return events.ProgressMeter(run.emit, run.budget.steps, "steps", step)
    return events.ProgressMeter(run.emit, 60 * (run.budget.minutes or 0), "seconds", seconds)


def _curve(run: Run, step: int, main: bool) -> _Curve:
    """The metrics file, opened to append; a fresh run empties it, a resumed one cuts what it will write again."""
    if not (main and run.output):
        return _Curve(None, run.emit)
    path = metrics_path(run.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_metrics(path, step)
    return _Curve(open(path, "a", encoding="utf-8"), run.emit)


class _Curve:
    """The metrics file. Where nothing more can be written to it, training goes on without."""

    def __init__(self, file: TextIO | None, emit: events.Emit) -> None:
        self.file, self.emit = file, emit

    def note(self, line: dict) -> None:
        """One line of the curve, on disk at once."""
        if not self.file:
            return
        try:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        except OSError as problem:
            self.emit(events.warning(f"{self.file.name} ends here: {problem.strerror or problem}. Training goes on."))
            self.close()

    def close(self) -> None:
        if self.file:
            with suppress(OSError):  # it would write what it could not
                self.file.close()
        self.file = None


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
