"""Single steps of training, and what they do to the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..data.batch import Batch
from ..data.sampling import PatchSource
from ..events import Event, Progress
from ..methods.method import Method, Optimization
from ..networks.training import for_training
from ..training.loop import train
from ..training.optimizer import make_optimizer
from ..training.run import Budget, Run, Trained


def trained(
    method: Method, source: PatchSource, steps: int, progress: float | None = None, rate: float = 2e-3
) -> list[dict[str, float]]:
    """The terms of ``steps`` steps as the loop takes them; ``progress`` of the budget, by default that of the step."""
    method.train()
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], rate, weight_decay=1e-5)
    seen = []
    for step in range(steps):
        method.progress = step / steps if progress is None else progress
        batch = method.draw(source, np.random.default_rng([0, step]))
        torch.manual_seed(step)
        seen.append(_update(method, optimizer, batch))
    return seen


def trained_on_one_batch(method: Method, batch: Batch, steps: int, progress: float = 0.5) -> list[float]:
    """The losses of ``steps`` steps on the same batch with the same augmentation, by the method's own optimizer."""
    method.train()
    method.progress = progress
    optimizer = make_optimizer(method, method.optimization, rates=method.rates)
    losses = []
    for _ in range(steps):
        torch.manual_seed(0)
        losses.append(_update(method, optimizer, batch)["loss"])
    return losses


def _update(method: Method, optimizer: torch.optim.Optimizer, batch: Batch) -> dict[str, float]:
    terms = method(batch)
    optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()
    optimizer.step()
    method.after_step()
    return {name: float(value.detach()) for name, value in terms.items()}


def mean_of(terms: Iterable[dict[str, float]], name: str) -> float:
    """The mean of the term ``name`` over steps."""
    return float(np.mean([t[name] for t in terms]))


def parts_with_gradient(module: nn.Module, skipping: str = "teacher") -> set[str]:
    """Parts with a gradient other than zero: "encoder", "decoder.0" .., and the names of a method's heads.

    Parameters whose names begin with ``skipping`` must have none.
    """
    reached = set()
    for name, parameter in module.named_parameters():
        if parameter.grad is not None and parameter.grad.abs().max() > 0:
            assert not name.startswith(skipping), name
            parts = name.removeprefix("backbone.").split(".")
            reached.add(".".join(parts[:2]) if parts[0] == "decoder" else parts[0])
    return reached


def copied(module: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of ``module`` as they are now."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    """Names of tensors of ``module`` that are no longer bit for bit what they were."""
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def check_a_step_in_bfloat16(method: Method, batch: Batch) -> None:
    """Under autocast, as the loop has it: the loss is of float32, and terms and gradients are finite."""
    for_training(method)
    with torch.autocast("cpu", torch.bfloat16):
        terms = method.step(batch)
    assert terms["loss"].dtype == torch.float32, "under autocast the loss is to be computed in float32"
    assert [name for name, term in terms.items() if not torch.isfinite(term)] == []
    terms["loss"].backward()
    gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    assert any(gradient.any() for gradient in gradients.values())
    assert [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()] == []


def check_it_resumes(
    made: Callable[[bool], Method], source: PatchSource, optimization: Optimization, folder: Path
) -> None:
    """A run of ``made(False)``, cancelled and resumed as ``made(True)``, ends bit for bit as an uninterrupted one."""

    def run(output: str, stop: int | None = None, resume: bool = False) -> Trained:
        seen: list[Event] = []
        settings = Run(
            Budget(steps=4),
            torch.device("cpu"),
            output=folder / output,
            resume=resume,
            emit=seen.append,
            cancelled=lambda: stop is not None and sum(isinstance(e, Progress) for e in seen) >= stop,
        )
        return train(made(resume), source, replace(optimization, ema=0.0), settings)

    uninterrupted = run("uninterrupted.safetensors")
    assert run("interrupted.safetensors", stop=3).cancelled
    resumed = run("interrupted.safetensors", resume=True)
    assert resumed.steps == uninterrupted.steps == 4
    different = [n for n, tensor in uninterrupted.state.items() if not torch.equal(tensor, resumed.state[n])]
    assert different == [], "the state dict does not hold all that a step depends on"
