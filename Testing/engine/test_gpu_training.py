"""Training on a GPU that is not there: nothing of a step is left on the CPU."""

import numpy as np
import pytest
import torch
from fake_gpu import GPU, OnGpu, fake_gpu, moved_to_gpu

from contrastiveseg.methods.registry import available_methods
from contrastiveseg.testing.methods import MethodUnderTest
from contrastiveseg.training.optimizer import make_optimizer

SMALL = {"mcsc": {"embedding": 12, "heads": 2, "depth": 2, "width": 8, "fine_block": 4, "coarse_block": 2}}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("stage", "name"), available_methods())
def test_a_step_lies_on_the_device_of_the_weights(stage, name, dimensions, monkeypatch):
    tested = MethodUnderTest(stage, name, SMALL.get(name, {}))
    method = tested.on_toy_network(dimensions)
    moved_to_gpu(method)
    optimizer = make_optimizer(method, method.optimization, rates=method.rates)
    for method.progress in (0.0, 0.5, 1.0):
        batch = method.draw(tested.volumes(partly=True), np.random.default_rng(0))
        with fake_gpu(monkeypatch, strict=True):
            loss = method(batch.to(GPU))["loss"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            method.after_step()
        assert isinstance(loss, OnGpu)


def test_the_stand_in_refuses_what_a_gpu_refuses(monkeypatch):
    with fake_gpu(monkeypatch, strict=True):
        there = torch.ones(3).to(GPU)
        assert (there * torch.tensor(2.0)).tolist() == [2, 2, 2]
        for place in (lambda: there + torch.ones(3), lambda: torch.cat([there, torch.ones(3)])):
            with pytest.raises(RuntimeError, match="on the CPU"):
                place()
