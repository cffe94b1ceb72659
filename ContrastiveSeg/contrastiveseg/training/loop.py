"""The training loop: any method, any source of crops, one process or several."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .. import events
from ..checkpoints.format import not_finite
from ..data.batch import Batch
from ..data.sampling import PatchSource
from ..device import autocast, keep_large_buffers, out_of_memory
from ..errors import Cancelled, ContrastiveSegError
from ..methods.method import Method, Optimization
from ..networks.training import for_training
from . import distributed
from .curve import Curve, open_curve
from .optimizer import learning_rate, set_learning_rate
from .run import Run, Trained
from .state import TrainingState, copy_to_cpu
from .thread_beside import thread_beside

#: Training stops after so many steps in a row whose gradient was not finite; each of them is skipped.
_MAX_SKIPPED = 10
_ADVICE = "Lower --learning-rate, or use --precision 32."


def train(
    method: Method,
    source: PatchSource,
    how: Optimization,
    run: Run,
    *,
    transferred: Collection[str] = (),
    validate: Callable[[dict[str, Tensor]], float] | None = None,
    write: Callable[[Trained], None] | None = None,
) -> Trained:
    """Train ``method`` on crops of ``source`` until the budget is used or the run is cancelled.

    Every step's randomness follows from (seed, step, process) alone, so a resumed run repeats the uninterrupted one.

    Args:
        transferred: names of the method's parameters that came from a checkpoint, whose learning rate
            is ``how.transferred_rate`` times that of the others.
        validate: scores a state dict of the method, higher is better.
        write: writes the checkpoint of what was learned, also of a stopped run.

    Raises:
        ContrastiveSegError: the gradient is not finite for many steps in a row, or in all of them, or the weights are
            not in the end.
    """
    if run.device.type == "cpu":
        keep_large_buffers()
        for_training(method)
    method.to(run.device).train()
    module = _distributed(method, run.device)
    state = TrainingState(method, how, run, transferred)
    if run.resume:
        state.restore()
    stopped = _take_steps(module, method, source, state, how, validate)
    kept, weights = state.final_weights()
    _check_learned(state, weights)
    minutes, interventions = state.seconds / 60, method.interventions
    trained = Trained(copy_to_cpu(weights), kept, state.step, minutes, state.best_score, stopped, interventions)
    # What was learned comes first: on a disk with little room the resume file may be what does not fit.
    if write and state.step:
        write(trained)
    if stopped and state.step:
        trained = dataclasses.replace(trained, resumable=state.save_at_the_end())
    distributed.barrier()
    return trained


def _take_steps(
    module: nn.Module,
    method: Method,
    source: PatchSource,
    state: TrainingState,
    how: Optimization,
    validate: Callable[[dict[str, Tensor]], float] | None,
) -> bool:
    """Train ``method``, which ``module`` is or wraps, on from ``state``; returns whether the run was cancelled."""
    run, main, failures = state.run, distributed.rank() == 0, 0
    progress = _progress(run, state.step, state.seconds)
    with thread_beside() as drawer, closing(open_curve(run, state.step, state.validated, main)) as curve:
        next_batch = drawer.submit(_draw, method, source, run.seed, state.step)
        while True:
            # Clocks differ between processes: with rates of their own, the copies of the weights would drift apart.
            used = distributed.agreed(run.budget.progress(state.step, state.seconds), run.device)
            if validate and state.validated < run.validations and used >= (state.validated + 1) / run.validations:
                _validate(state, validate, curve, main)
            stopped = bool(distributed.agreed(run.cancelled(), run.device))
            if stopped or used >= 1:
                return stopped
            start = time.monotonic()
            batch = next_batch.result()
            next_batch = drawer.submit(_draw, method, source, run.seed, state.step + 1)
            rate = learning_rate(how, used)
            set_learning_rate(state.optimizer, rate)
            method.progress, method.steps_done = used, state.step
            terms = _step(module, state.optimizer, batch, how, run, state.step)
            if terms is not None:
                state.after_step()
            state.seconds += time.monotonic() - start
            if terms is not None and main:
                _report(state, curve, rate, terms)
            failures = 0 if terms is not None else failures + 1
            state.skipped += terms is None
            if failures >= _MAX_SKIPPED:
                raise ContrastiveSegError(
                    f"The gradient was not finite for {_MAX_SKIPPED} steps in a row (step {state.step}). {_ADVICE}"
                )
            state.step += 1
            progress(state.step if run.budget.steps else state.seconds)
            state.save_if_due()


def _report(state: TrainingState, curve: Curve, rate: float, terms: Mapping[str, float]) -> None:
    """Write a step's loss terms to the curve, and emit them."""
    curve.add({"step": state.step, "seconds": round(state.seconds, 3), "lr": rate, **terms})
    for name, value in terms.items():
        state.run.emit(events.Metric(name, state.step, value))


def _validate(state: TrainingState, validate: Callable[[dict[str, Tensor]], float], curve: Curve, main: bool) -> None:
    """Score what was learned so far, in the ``main`` process."""
    with suppress(Cancelled):  # the loop ends after this, with what it has
        if main:
            score = state.validate(validate)
            state.run.emit(events.Metric("validation_dice", state.step, score))
            curve.add({"step": state.step - 1, "validation_dice": score})
        # Counted when it is done: a resumed run makes up for one that was cancelled.
        state.validated += 1


def _step(
    module: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, how: Optimization, run: Run, step: int
) -> dict[str, float] | None:
    """One update; None if the gradient was not finite (the weights then stay).

    The gradient is already averaged over the processes, so that all of them decide alike.
    """
    seed = (run.seed * 1_000_003 + step) * 1009 + distributed.rank()
    if run.device.type == "cpu":
        torch.default_generator.manual_seed(seed)  # torch.manual_seed traces the stack, for devices that come later
    else:
        torch.manual_seed(seed)
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
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if not math.isfinite(float(norm)):
        return None
    if norm > how.clip:  # clip_grad_norm_ multiplies by 1 where there is nothing to clip
        nn.utils.clip_grads_with_norm_(parameters, how.clip, norm)
    optimizer.step()
    values = {name: float(value.detach()) for name, value in terms.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _check_learned(state: TrainingState, weights: Mapping[str, Tensor]) -> None:
    """Warn of skipped steps.

    Raises:
        ContrastiveSegError: no step has changed the weights, or they are not finite.
    """
    if state.step and state.skipped == state.step:
        raise ContrastiveSegError(
            f"Nothing was learned: the gradient was not finite in any of the {state.step} steps. {_ADVICE}"
        )
    if bad := not_finite(weights):
        raise ContrastiveSegError(f"The weights are no longer numbers after {state.step} steps ({bad[0]}). {_ADVICE}")
    if state.skipped:
        state.run.emit(
            events.warning(
                f"{state.skipped} of {state.step} steps were skipped, as their gradient was not finite. {_ADVICE}"
            )
        )


def _draw(method: Method, source: PatchSource, seed: int, step: int) -> Batch:
    return method.draw(source, np.random.default_rng([seed, step, distributed.rank()]))


def _distributed(method: Method, device: torch.device) -> nn.Module:
    if distributed.world() == 1:
        return method
    # Gradients of channels-last maps have other strides than DDP's buckets: copied, for what a user need not act on.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(method, device_ids=ids, find_unused_parameters=True)


def _progress(run: Run, step: int, seconds: float) -> Callable[[float], None]:
    if run.budget.steps:
        return events.ProgressMeter(run.emit, run.budget.steps, "steps", step)
    return events.ProgressMeter(run.emit, 60 * (run.budget.minutes or 0), "seconds", seconds)
