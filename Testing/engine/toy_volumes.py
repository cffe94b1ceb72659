"""What the tests of pre-training methods share: tiny volumes, a tiny network, a few steps of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from contrastiveseg.contrast.momentum import WARM
from contrastiveseg.data.batch import Batch
from contrastiveseg.device import shield_thin_convolutions
from contrastiveseg.events import Event, Progress
from contrastiveseg.methods.method import Method, Optimization
from contrastiveseg.networks.backbone import Backbone
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel, Plan
from contrastiveseg.training.loop import train
from contrastiveseg.training.run import Budget, Run, Trained


class ToyVolumes:
    """A patch source over volumes of two balls in noise, of other size and brightness in each; labels 1 and 2.

    ``labeled`` are the cases with labels, ``data_sets`` the number of each case's data set.
    """

    def __init__(
        self,
        count: int = 4,
        shape: tuple[int, int, int] = (24, 24, 24),
        labeled: Sequence[int] | None = None,
        data_sets: Sequence[int] = (),
    ) -> None:
        random = np.random.default_rng(0)
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        self.images, self.labels = [], []
        for _ in range(count):
            labels = np.zeros(shape, np.int16)
            image = random.normal(0, 0.15, shape)
            for value, side in ((1, -0.4), (2, 0.4)):
                middle = random.uniform(-0.1, 0.1, 3) + np.array([side, 0, 0])
                ball = sum((a - m) ** 2 for a, m in zip(axes, middle, strict=True)) < random.uniform(0.2, 0.4) ** 2
                labels[ball] = value
                image[ball] += random.uniform(0.8, 1.2) * (1.5 if value == 2 else -1)
            self.images.append(image.astype(np.float32))
            self.labels.append(labels)
        self.labeled = tuple(range(count)) if labeled is None else tuple(labeled)
        self.unlabeled = tuple(c for c in range(count) if c not in self.labeled)
        self.data_sets = tuple(data_sets) or (0,) * count

    def __len__(self) -> int:
        return len(self.images)

    def shape(self, case: int) -> tuple[int, int, int]:
        return self.images[case].shape

    def box(self, case: int) -> tuple[tuple[int, int], ...]:
        return tuple((0, n) for n in self.shape(case))

    def crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        return _cut(self.images[case], start, size)[None]

    def label_crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        if case not in self.labeled:
            return np.full(tuple(size), -1, np.int16)
        return _cut(self.labels[case], start, size)

    def data_set(self, case: int) -> int:
        return self.data_sets[case]

    def foreground_voxels(self, case: int) -> np.ndarray:
        if case not in self.labeled:
            return np.empty((0, 4), np.int32)
        where = np.argwhere(self.labels[case])
        return np.concatenate([self.labels[case][tuple(where.T)][:, None], where], 1)


def _cut(array: np.ndarray, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    padded = np.pad(array, 32)
    return padded[tuple(slice(s + 32, s + 32 + n) for s, n in zip(start, size, strict=True))]


def toy_plan(dimensions: int = 3, size: int = 16) -> Plan:
    patch = (size,) * 3 if dimensions == 3 else (1, size, size)
    return Plan(dimensions, (Channel(),), (1.0, 1.0, 1.0), patch, 0)


def toy_backbone(dimensions: int = 3, norm: str = "instance", seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    arguments = {"widths": [8, 16, 32], "strides": [[2] * dimensions] * 2, "norm": norm}
    return build(NetworkSpec("unet", dimensions, 1, arguments))


def trained(
    objective: Method, source: ToyVolumes, steps: int, share: float | None = None, rate: float = 2e-3
) -> list[dict[str, float]]:
    """The terms of ``steps`` steps as the loop takes them; ``share`` of the budget, by default that of the step."""
    objective.train()
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], rate, weight_decay=1e-5)
    seen = []
    for step in range(steps):
        objective.progress = step / steps if share is None else share
        batch = objective.draw(source, np.random.default_rng([0, step]))
        torch.manual_seed(step)
        terms = objective(batch)
        optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        optimizer.step()
        objective.after_step()
        seen.append({name: float(value.detach()) for name, value in terms.items()})
    return seen


def mean_of(terms: Iterable[dict[str, float]], name: str) -> float:
    return float(np.mean([t[name] for t in terms]))


def reached(objective: nn.Module, skipping: str = "teacher") -> set[str]:
    """Parts with a gradient other than zero: "encoder", "decoder.0" .., and the names of the heads."""
    found = set()
    for name, parameter in objective.named_parameters():
        if parameter.grad is not None and parameter.grad.abs().max() > 0:
            assert not name.startswith(skipping), name
            parts = name.removeprefix("backbone.").split(".")
            found.add(".".join(parts[:2]) if parts[0] == "decoder" else parts[0])
    return found


def copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    """Names of tensors of ``module`` that are no longer bit for bit what they were."""
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def check_a_step_in_bfloat16(objective: Method, batch: Batch) -> None:
    """Under autocast, as the loop has it: the loss is of float32, and terms and gradients are finite."""
    shield_thin_convolutions(objective)
    with torch.autocast("cpu", torch.bfloat16):
        terms = objective.step(batch)
    assert terms["loss"].dtype == torch.float32
    assert [name for name, term in terms.items() if not torch.isfinite(term)] == []
    terms["loss"].backward()
    gradients = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    assert any(gradient.any() for gradient in gradients.values())
    assert [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()] == []


def check_it_resumes(
    made: Callable[[bool], Method], source: ToyVolumes, optimization: Optimization, folder: Path
) -> None:
    """A run of ``made(False)``, cancelled and taken up by ``made(True)``, ends bit for bit where an uncut one ends."""

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

    whole = run("whole.safetensors")
    assert run("cut.safetensors", stop=3).cancelled
    resumed = run("cut.safetensors", resume=True)
    assert resumed.steps == whole.steps == 4
    assert [n for n, tensor in whole.state.items() if not torch.equal(tensor, resumed.state[n])] == []


def check_the_key_encoder_follows(objective: Method, momentum: float) -> None:
    """The teacher is an encoder alone, and a step moves it toward the student's, by more as long as it is young."""
    trained(objective, ToyVolumes(), 3)
    teacher = objective.teacher.network
    before = {name: p.clone() for name, p in teacher.named_parameters()}
    assert all(name.startswith("encoder.") for name in before)
    trained(objective, ToyVolumes(), 1)
    momentum = min(3 / (3 + WARM), momentum)
    for name, old in before.items():
        expected = momentum * old + (1 - momentum) * dict(objective.backbone.named_parameters())[name]
        torch.testing.assert_close(dict(teacher.named_parameters())[name], expected)
