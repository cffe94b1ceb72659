"""What every method has to do: the checks of one, by name.

The method is trained as a job trains it and, on volumes in memory, step by step. All checks together take about half a
minute of a CPU for a method of the usual cost.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ..checkpoints.card import Card
from ..checkpoints.describe import describe
from ..checkpoints.format import load
from ..descriptions import FinetuneJob, PretrainJob
from ..errors import InputError
from ..jobs.queries import methods
from ..jobs.run import run
from ..methods.configuration import method_parameters, method_settings
from ..methods.method import Method, Optimization
from ..methods.registry import TrainingStage, available_methods, find_method
from ..networks.registry import build
from ..networks.segmenter import Segmenter
from ..serialization import from_json, to_json
from .processes import check_two_processes
from .steps import check_a_step_in_bfloat16, check_it_resumes, parts_with_gradient, trained_on_one_batch
from .volumes import ToyVolumes, toy_backbone, toy_plan, write_tiny_dataset

#: A check; it is given an empty folder to write to and raises AssertionError.
Check = Callable[[Path], None]
Dimensions = Literal[2, 3]

#: Background and the two labels of :class:`.volumes.ToyVolumes`.
_CLASSES = 3


@dataclasses.dataclass(frozen=True)
class MethodUnderTest:
    """A method by stage and name, with settings in place of its defaults."""

    stage: TrainingStage
    name: str
    given: Mapping[str, Any]

    @property
    def method(self) -> type[Method]:
        return find_method(self.stage, self.name)

    @property
    def settings(self) -> Any:
        return method_settings(self.method, self.given)

    def on_toy_network(self, dimensions: Dimensions = 3, seed: int = 0) -> Method:
        """The method in training, on a fresh network of few channels."""
        more = {"classes": _CLASSES} if self.stage == "finetune" else {}
        made = self.method(toy_backbone(dimensions, seed=seed), toy_plan(dimensions), self.settings, **more)
        return made.train()

    def volumes(self, partly: bool = False) -> ToyVolumes:
        """Volumes to draw from: in fine-tuning half of them without labels, where the method uses such.

        With ``partly``, the labels of the others are incomplete.
        """
        some = self.stage == "finetune" and getattr(self.method, "uses_unlabeled", False)
        return ToyVolumes(labeled=(0, 1) if some else None, partly=partly)


def method_checks(
    method: str | type[Method], stage: TrainingStage | None = None, settings: Mapping[str, Any] | None = None
) -> dict[str, Check]:
    """The checks of a method, by name.

    Args:
        method: its registered name or class. stage: which of the methods of that name; not needed with a class.
        settings: values in place of the defaults, as a job's ``settings``, to make a large method quick.

    Raises:
        InputError: there is no such method.
    """
    tested = MethodUnderTest(*_registered(method, stage), settings or {})
    checks: dict[str, Callable[..., None]] = {
        "describes_itself": _describes_itself,
        "resumes": _resumes,
        "trains_in_two_processes": _trains_in_two_processes,
    }
    for dimensions in (2, 3):
        checks |= {
            f"takes_a_step_{dimensions}d": partial(_takes_a_step, dimensions=dimensions),
            f"learns_a_batch_{dimensions}d": partial(_learns_a_batch, dimensions=dimensions),
            f"trains_what_it_transfers_{dimensions}d": partial(_trains_what_it_transfers, dimensions=dimensions),
            f"runs_as_a_job_{dimensions}d": partial(_runs_as_a_job, dimensions=dimensions),
        }
        if tested.stage == "finetune" or tested.method.uses_labels:
            checks[f"takes_incomplete_labels_{dimensions}d"] = partial(_takes_incomplete_labels, dimensions=dimensions)
    return {name: partial(check, tested) for name, check in checks.items()}


def check_method(
    method: str | type[Method], stage: TrainingStage | None = None, settings: Mapping[str, Any] | None = None
) -> None:
    """Run all checks of a method, one after the other; the arguments are those of :func:`method_checks`.

    Raises:
        InputError: there is no such method.
        AssertionError: a check failed.

    >>> from contrastiveseg.testing import check_method
    >>> check_method("supervised", "finetune")  # doctest: +SKIP
    """
    for check in method_checks(method, stage, settings).values():
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder))


def _registered(method: str | type[Method], stage: TrainingStage | None) -> tuple[TrainingStage, str]:
    for known in available_methods():
        if method in (known[1], find_method(*known)) and stage in (None, known[0]):
            return known
    where = f" to {stage} with" if stage else ""
    raise InputError(f"{method} is no registered method{where}. See contrastiveseg.methods.registry.register_method.")


def _describes_itself(tested: MethodUnderTest, folder: Path) -> None:
    """What ``inspect``, ``methods`` and the panel show is there, and settings go to a checkpoint's card and back."""
    method = tested.method
    assert len(method.description) > 40, "a sentence: what the method is, and how faithful to its paper"
    assert method.citation, "the paper to cite"
    assert isinstance(method.optimization, Optimization)
    assert method.optimization.learning_rate > 0
    assert dataclasses.is_dataclass(method.Settings), "Settings is to be a dataclass"
    assert method.Settings.__dataclass_params__.frozen, "Settings is to be frozen"  # type: ignore[attr-defined]
    for settings in (method.Settings(), tested.settings):
        assert from_json(method.Settings, json.loads(json.dumps(to_json(settings)))) == settings
    try:
        method_settings(method, {"there is no such setting": 1})
    except InputError:
        pass
    else:
        raise AssertionError("an unknown setting is to be refused")
    (shown,) = (m for m in methods() if (m["stage"], m["name"]) == (tested.stage, tested.name))
    assert shown["description"] == method.description
    assert shown["parameters"] == to_json(method_parameters(method))


def _takes_a_step(tested: MethodUnderTest, folder: Path, dimensions: Dimensions) -> None:
    """Terms are finite scalars, follow from the seeds alone, and bear half precision."""
    terms = []
    for _ in range(2):
        made = tested.on_toy_network(dimensions)
        batch = made.draw(tested.volumes(), np.random.default_rng(0))
        torch.manual_seed(0)
        terms.append(made(batch))
    first, second = terms
    assert first["loss"].requires_grad
    assert all(term.ndim == 0 and torch.isfinite(term) for term in first.values()), first
    different = [name for name, term in first.items() if not torch.equal(term, second[name])]
    assert different == [], "draw may use its generator alone, and step torch's global one"
    made = tested.on_toy_network(dimensions)
    check_a_step_in_bfloat16(made, made.draw(tested.volumes(), np.random.default_rng(0)))


def _takes_incomplete_labels(tested: MethodUnderTest, folder: Path, dimensions: Dimensions) -> None:
    """Labels that are missing in some slices, and structures that were not looked for, bring in nothing infinite."""
    made = tested.on_toy_network(dimensions)
    for made.progress in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        made.zero_grad(set_to_none=True)
        volumes = tested.volumes(partly=True)
        batch = made.draw(volumes, np.random.default_rng(0))
        assert batch.labels is not None
        # Crops of no volume at all have a negative number.
        incomplete = any(volumes.missing(case) is not None for case in batch.cases.tolist() if case >= 0)
        assert batch.missing is not None or not incomplete, (
            "crops are to say which structures were not looked for (draw_patches does)"
        )
        terms = made(batch)
        terms["loss"].backward()
        made.after_step()
        assert all(torch.isfinite(term) for term in terms.values()), terms
        gradients = [p.grad for p in made.parameters() if p.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def _learns_a_batch(tested: MethodUnderTest, folder: Path, dimensions: Dimensions) -> None:
    """The loss falls over some steps on one batch in one augmentation."""
    made = tested.on_toy_network(dimensions)
    losses = trained_on_one_batch(made, made.draw(tested.volumes(), np.random.default_rng(0)), 10)
    assert np.mean(losses[-3:]) < losses[0], f"the loss does not fall: {losses}"


def _trains_what_it_transfers(tested: MethodUnderTest, folder: Path, dimensions: Dimensions) -> None:
    """In the course of the budget every sub-module of ``transferred`` gets a gradient, and no other of the backbone."""
    made, reached = tested.on_toy_network(dimensions), set[str]()
    for made.progress in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        made.zero_grad(set_to_none=True)
        made(made.draw(tested.volumes(), np.random.default_rng(0)))["loss"].backward()
        made.after_step()
        reached |= parts_with_gradient(made.backbone)
    blocks = {f"decoder.{n}" for n in range(len(made.backbone.decoder))}
    transferred = {part for name in made.transferred for part in (blocks if name == "decoder" else {name})}
    assert reached == transferred, f"trained {sorted(reached)}, transferred {sorted(transferred)}"


def _resumes(tested: MethodUnderTest, folder: Path) -> None:
    """A run that was cancelled and resumed ends bit for bit as an uninterrupted one."""

    # A resumed run starts from other weights: what it goes on with must come from the file alone.
    def made(resumed: bool) -> Method:
        return tested.on_toy_network(seed=int(resumed))

    check_it_resumes(made, tested.volumes(), tested.method.optimization, folder)


def _trains_in_two_processes(tested: MethodUnderTest, folder: Path) -> None:
    """Two processes on a CPU take the same steps and end with the same weights."""
    check_two_processes([tested], folder)


def _runs_as_a_job(tested: MethodUnderTest, folder: Path, dimensions: Dimensions) -> None:
    """The job writes a checkpoint of the backbone (and the head) alone; from a pre-trained one one can fine-tune."""
    write_tiny_dataset(folder / "data")
    images, labels, output = (str(folder / p) for p in ("data/imagesTr", "data/labelsTr", "made.safetensors"))
    common: dict[str, Any] = {"steps": 2, "precision": "32", "threads": 1}
    fields = {"output": output, "method": tested.name, "dimensions": dimensions, "settings": tested.given, **common}
    if tested.stage == "finetune":
        unlabeled = (images,) if getattr(tested.method, "uses_unlabeled", False) else ()
        labeled = [str(next(Path(part).iterdir())) for part in (images, labels)]
        job = FinetuneJob(checkpoint="none", images=(labeled[0],), labels=(labeled[1],), unlabeled=unlabeled, **fields)
        assert run(job).steps == 2
        card = _check_checkpoint(tested, Path(output), dimensions)
        assert [label.value for label in card.labels] == [1, 2, 3]
        return
    assert run(PretrainJob(images=(images,), **fields)).steps == 2
    _check_checkpoint(tested, Path(output), dimensions)
    tuned = FinetuneJob(
        images=(images,), labels=(labels,), output=str(folder / "tuned.safetensors"), checkpoint=output, **common
    )
    transfer = run(tuned).transfer
    assert transfer is not None and "encoder" in transfer.loaded, "fine-tuning is to take over the encoder"  # noqa: PT018


def _check_checkpoint(tested: MethodUnderTest, path: Path, dimensions: Dimensions) -> Card:
    card, weights = load(path)
    kind = "segmenter" if tested.stage == "finetune" else "pretrained"
    assert (card.kind, card.method, card.plan.dimensions) == (kind, tested.name, dimensions)
    assert from_json(tested.method.Settings, card.settings) == tested.settings
    assert tested.name in describe(card)
    network = build(card.network)
    expected = network if kind == "pretrained" else Segmenter(network, len(card.labels) + 1)
    assert set(weights) == set(expected.state_dict()), "a checkpoint holds no teacher, queue or head of the method"
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    return card
