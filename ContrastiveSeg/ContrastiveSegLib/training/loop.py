"""The one training loop: any objective, any source of crops, one process or many."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .. import events
from ..device import autocast, keep_large_buffers, shield_thin_convolutions
from ..errors import ContrastiveSegError, InputError
from ..methods.objective import Objective, Optimisation
from ..volumes.batch import Batch
from ..volumes.sampling import PatchSource
from . import distributed
from .optimiser import (
    AveragedWeights,
    learning_rate,
    load_optimiser_tensors,
    make_optimiser,
    optimiser_tensors,
    set_learning_rate,
)
from .resume import Mark, cut_metrics, load_mark, metrics_path, resume_path, save_mark

#: So many steps in a row may give a loss or gradient that is not finite (each is skipped) before training stops.
_PATIENCE = 10


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

    def share(self, step: int, seconds: float) -> float:
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
    objective: Objective,
    source: PatchSource,
    how: Optimisation,
    run: Run,
    *,
    transferred: Collection[str] = (),
    validate: Callable[[dict[str, Tensor]], float] | None = None,
) -> Trained:
    """Minimise ``objective`` over crops of ``source`` until the budget is used or the run is cancelled.

    Every step's randomness follows from (seed, step, process) alone, so a resumed run repeats the uninterrupted one.

    Args:
        transferred: names of the objective's parameters that came from a checkpoint (they learn at a lower rate).
        validate: scores a state dict of the objective, higher is better.

    Raises:
        ContrastiveSegError: the loss is not finite for many steps in a row.
    """
    if run.device.type == "cpu":
        keep_large_buffers()
        shield_thin_convolutions(objective)
    objective.to(run.device).train()
    module = _distributed(objective, run.device)
    optimiser = make_optimiser(objective, how, transferred)
    average = AveragedWeights(objective, how.ema) if how.ema else None
    best: dict[str, Tensor] = {}
    mark = Mark(run.identity, 0, 0.0)
    main = distributed.rank() == 0
    if run.resume and run.output:
        mark, parts = load_mark(resume_path(run.output), run.identity)
        objective.load_state_dict(parts["objective"])
        load_optimiser_tensors(optimiser, parts.get("optimiser", {}))
        best = parts.get("best", {})
        if average:
            average.updates, average.state = mark.averages, {k: v.to(run.device) for k, v in parts["average"].items()}

    step, seconds, best_score, failures = mark.step, mark.seconds, mark.best_score, 0
    checks = _checkpoints(run.validations if validate else 0, run.budget.share(step, seconds))
    progress = _progress(run, step, seconds)

    def save() -> None:
        if main and run.output:
            parts = {"objective": objective.state_dict(), "optimiser": optimiser_tensors(optimiser), "best": best}
            if average:
                parts["average"] = average.state
            updates = average.updates if average else 0
            save_mark(resume_path(run.output), Mark(run.identity, step, seconds, updates, best_score), parts)

    stopped = False
    last_save = time.monotonic()
    with ThreadPoolExecutor(1) as drawer, _curve(run, step, main) as curve:
        coming = drawer.submit(_draw, objective, source, run.seed, step)
        while True:
            stopped = distributed.agreed(run.cancelled(), run.device)
            if stopped or distributed.agreed(run.budget.share(step, seconds) >= 1, run.device):
                break
            start = time.monotonic()
            batch = coming.result()
            coming = drawer.submit(_draw, objective, source, run.seed, step + 1)
            rate = learning_rate(how, run.budget.share(step, seconds))
            set_learning_rate(optimiser, rate)
            terms = _step(module, optimiser, batch, how, run, step)
            failures = 0 if terms is not None else failures + 1
            if failures >= _PATIENCE:
                raise ContrastiveSegError(
                    f"The loss was not finite for {_PATIENCE} steps in a row (step {step}). Lower --learning-rate, or "
                    "use --precision 32."
                )
            if terms is not None:
                objective.after_step()
                if average:
                    average.update(objective)
            seconds += time.monotonic() - start
            if main and terms is not None:
                if curve:
                    curve.write(json.dumps({"step": step, "seconds": round(seconds, 3), "lr": rate, **terms}) + "\n")
                    curve.flush()
                for name, value in terms.items():
                    run.emit(events.metric(name, step, value))
            step += 1
            progress(step if run.budget.steps else seconds)
            if checks and run.budget.share(step, seconds) >= checks[0]:
                checks.pop(0)
                state = average.state if average else objective.state_dict()
                if main and validate:
                    score = validate(state)
                    run.emit(events.metric("validation_dice", step, score))
                    if curve:
                        curve.write(json.dumps({"step": step - 1, "validation_dice": score}) + "\n")
                    if best_score is None or score > best_score:
                        best_score, best = score, _copied(state)
                objective.train()
            if time.monotonic() - last_save > run.save_seconds:
                save()
                last_save = time.monotonic()
    if stopped:
        save()
    distributed.barrier()
    kept = "best" if best else "average" if average else "last"
    state = best or (average.state if average else objective.state_dict())
    return Trained(_copied(state), kept, step, seconds / 60, best_score, stopped)


def _step(
    module: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, how: Optimisation, run: Run, step: int
) -> dict[str, float] | None:
    """One update; None if the loss or the gradient was not finite (the weights then stay)."""
    torch.manual_seed((run.seed * 1_000_003 + step) * 1009 + distributed.rank())
    with autocast(run.device, run.dtype):
        terms = module(batch.to(run.device))
    optimiser.zero_grad(set_to_none=True)
    terms["loss"].backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), how.clip)
    values = {name: float(value.detach()) for name, value in terms.items()}
    if not (math.isfinite(values["loss"]) and math.isfinite(float(norm))):
        return None
    optimiser.step()
    return values


def _draw(objective: Objective, source: PatchSource, seed: int, step: int) -> Batch:
    return objective.draw(source, np.random.default_rng([seed, step, distributed.rank()]))


def _distributed(objective: Objective, device: torch.device) -> nn.Module:
    if distributed.world() == 1:
        return objective
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(objective, device_ids=ids, find_unused_parameters=True)


def _checkpoints(count: int, used: float) -> list[float]:
    """The shares of the budget at which to validate that are still to come."""
    return [(i + 1) / count for i in range(count) if (i + 1) / count > used]


def _progress(run: Run, step: int, seconds: float) -> Callable[[float], None]:
    if run.budget.steps:
        return events.Progress(run.emit, run.budget.steps, "steps", step)
    return events.Progress(run.emit, 60 * (run.budget.minutes or 0), "seconds", seconds)


def _curve(run: Run, step: int, main: bool) -> TextIO | nullcontext[None]:
    """The metrics file, opened to append; a fresh run empties it, a resumed one cuts what it will write again."""
    if not (main and run.output):
        return nullcontext()
    path = metrics_path(run.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_metrics(path, step)
    return open(path, "a", encoding="utf-8")


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
