"""The momentum teacher (CVRL specification T6, IDEAL specification test 4) and the ramp of weights."""

import math

import pytest
import torch
from torch import nn

from contrastiveseg.contrast.momentum import Teacher
from contrastiveseg.contrast.ramps import ramp
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.spec import NetworkSpec


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Dropout(0.5))


def moved(network: nn.Module) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
        network(torch.randn(2, 1, 4, 4, 4))


def test_parameters_are_averaged_and_buffers_copied():
    network = student()
    teacher = Teacher(network)
    old = {name: p.clone() for name, p in teacher.network.named_parameters()}
    moved(network)
    teacher.follow(network, 0.9, warm=False)
    for name, parameter in network.named_parameters():
        expected = 0.9 * old[name] + 0.1 * parameter
        torch.testing.assert_close(dict(teacher.network.named_parameters())[name], expected, rtol=3e-7, atol=1e-7)
    for name, buffer in network.named_buffers():
        assert torch.equal(dict(teacher.network.named_buffers())[name], buffer)
    assert int(network[1].num_batches_tracked) == 1


def test_a_warm_start_forgets_the_first_weights():
    network = student()
    teacher = Teacher(network)
    moved(network)
    teacher.follow(network, 0.9)
    assert all(torch.equal(a, b) for a, b in zip(teacher.network.parameters(), network.parameters(), strict=True))
    old = teacher.network[0].weight.clone()
    moved(network)
    teacher.follow(network, 0.9)
    torch.testing.assert_close(teacher.network[0].weight, 0.1 * old + 0.9 * network[0].weight)


def test_a_young_teacher_is_near_its_student():
    """Behind a student that moves by 1 a step it lags by a share of the steps, later by what its momentum says."""
    network = nn.Linear(1, 1, bias=False)
    teacher = Teacher(network)
    lags = {}
    for step in range(3000):
        nn.init.constant_(network.weight, step)
        teacher.follow(network, 0.99)
        lags[step] = step - teacher.network.weight.item()
    assert lags[0] == 0
    assert 5 < lags[66] < 10
    assert lags[2999] == pytest.approx(99, abs=1)


def test_it_is_never_trained_and_never_in_training_mode():
    network = student()
    teacher = Teacher(network)
    nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    image = torch.randn(2, 1, 4, 4, 4)
    assert not teacher.network(image).requires_grad
    assert torch.equal(teacher.network(image), teacher.network(image))
    network(image).sum().backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert not {p.data_ptr() for p in teacher.parameters()} & {p.data_ptr() for p in network.parameters()}


def test_a_part_that_is_not_needed_is_left_out():
    backbone = build(NetworkSpec("unet", 3, 1, {"widths": [4, 8], "strides": [[2, 2, 2]]}))
    teacher = Teacher(backbone, without=("decoder",))
    assert all(name.startswith("network.encoder.") or name == "updates" for name in teacher.state_dict())
    assert len(backbone.decoder) == 1
    teacher.follow(backbone, 0.9)
    maps = teacher.network.encode(torch.randn(2, 1, 8, 8, 8))
    assert [m.shape[1] for m in maps] == [4, 8]


def test_state_survives_a_resumption():
    network = student()
    teacher = Teacher(network)
    for _ in range(3):
        moved(network)
        teacher.follow(network, 0.9)
    again = Teacher(student())
    again.load_state_dict(teacher.state_dict())
    assert int(again.updates) == 3
    moved(network)
    for one in (teacher, again):
        one.follow(network, 0.9)
    assert all(
        torch.equal(a, b) for a, b in zip(teacher.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_ramp():
    assert ramp(0, 40) == pytest.approx(0.006738, abs=1e-6)
    assert ramp(20, 40) == pytest.approx(math.exp(-1.25))
    assert ramp(40, 40) == ramp(99, 40) == ramp(0, 0) == 1
    rising = [ramp(t / 10, 4) for t in range(50)]
    assert rising == sorted(rising)
