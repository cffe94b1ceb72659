"""Every method where data are scarce: one volume, smaller than the patch, of two channels, and fewer than a batch."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from contrastiveseg.data.batch import Batch
from contrastiveseg.methods.configuration import method_settings
from contrastiveseg.methods.method import Method, SegmentationMethod
from contrastiveseg.methods.registry import available_methods, find_method
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel
from contrastiveseg.testing.steps import copied
from contrastiveseg.testing.volumes import ToyVolumes, toy_plan

#: MCSC's Transformer and blocks at their usual size take seconds a step; CVRL's teacher is to be sure from the start.
CHANGED = {
    ("finetune", "mcsc"): {"embedding": 12, "heads": 2, "depth": 2, "width": 8, "fine_block": 4, "coarse_block": 2},
    ("finetune", "cvrl"): {"confidence": 0.0},
}
METHODS = available_methods()


class TwoChannels(ToyVolumes):
    """With ``ignored``, every third slice holds numbers below 0, drawn by that seed, which say that it has no label."""

    def __init__(self, ignored: int | None = None, **given) -> None:
        super().__init__(**given, partly=ignored is not None)
        for labels in self.labels:
            if ignored is not None:
                labels[:] = np.where(labels < 0, 0, labels)
                labels[::3] = -np.random.default_rng(ignored).integers(1, 9, labels[::3].shape)

    def crop(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        one = super().crop(case, start, size)
        return np.concatenate([one, 1 - one])


def made(stage: str, name: str, dimensions: int) -> Method:
    """On a network of two channels, with weights that are always the same."""
    cls = find_method(stage, name)
    plan = replace(toy_plan(dimensions), channels=(Channel("one"), Channel("two")))
    torch.manual_seed(0)
    network = build(NetworkSpec("unet", dimensions, 2, {"widths": [4, 8, 8], "strides": [[2] * dimensions] * 2}))
    settings = method_settings(cls, CHANGED.get((stage, name), {}))
    if issubclass(cls, SegmentationMethod):
        return cls(network, plan, settings, 3).train()
    return cls(network, plan, settings).train()


def weights_after(method: Method, steps: int) -> dict[str, torch.Tensor]:
    source = TwoChannels(count=1, shape=(9, 10, 11))
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 1e-3)
    for step in range(steps):
        method.progress = step / steps
        torch.manual_seed(step)
        terms = method(method.draw(source, np.random.default_rng(step)))
        assert all(torch.isfinite(term) for term in terms.values()), terms
        optimizer.zero_grad()
        terms["loss"].backward()
        assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)
        optimizer.step()
        method.after_step()
    return copied(method)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("stage", "name"), METHODS)
def test_one_small_volume_of_two_channels_trains_and_the_same_seed_gives_the_same_weights(stage, name, dimensions):
    start = copied(made(stage, name, dimensions))
    first, second = (weights_after(made(stage, name, dimensions), 2) for _ in range(2))
    assert [key for key, tensor in first.items() if not torch.equal(tensor, second[key])] == []
    assert any(not torch.equal(tensor, start[key]) for key, tensor in first.items())


def gradients(method: Method, batch: Batch) -> dict[str, torch.Tensor]:
    """The loss and the gradients of a step, and what the method remembers of it."""
    torch.manual_seed(0)
    loss = method(batch)["loss"]
    loss.backward()
    method.after_step()
    found = {n: p.grad for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    return found | {"the loss": loss.detach()} | dict(method.named_buffers())


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("stage", "name"), METHODS)
def test_what_stands_under_an_ignored_voxel_changes_nothing(stage, name, dimensions):
    """No class is looked up by it, weighed, counted or taken for another, in any term of the method."""
    results = []
    for ignored in (1, 2):
        method = made(stage, name, dimensions)
        # Beyond warm starts and first stages, so that all terms take part.
        method.progress = 0.7
        source = TwoChannels(ignored, count=4, labeled=(0, 1), shape=(18, 18, 18))
        batch = method.draw(source, np.random.default_rng(0))
        if batch.labels is None:
            batch = replace(batch, labels=torch.randint(-9, 3, (len(batch.images), *batch.images.shape[2:])))
        results.append(gradients(method, batch))
    one, other = results
    assert one.keys() == other.keys()
    assert [key for key, tensor in one.items() if not torch.equal(tensor, other[key])] == []
