"""Two processes with half a batch each train like one process with the whole batch, and hold the same keys."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from contrastiveseg.contrast.position_contrast import dense_position_contrast, position_contrast
from contrastiveseg.contrast.queue import KeyQueue
from contrastiveseg.testing.processes import in_two_processes


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), nn.Conv2d(4, 6, 1)
    )


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images of both branches, positions and data sets; each position of the first half is near one of the second."""
    random = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 4, 1, 6, 6, generator=random)
    return first, second, torch.tensor([[0.1], [0.5], [0.15], [0.5]]), torch.tensor([0, 0, 0, 1])


def loss_of(
    net: nn.Module,
    first: torch.Tensor,
    second: torch.Tensor,
    where: torch.Tensor,
    data_sets: torch.Tensor,
    gather: bool,
) -> torch.Tensor:
    one, other = net(first), net(second)
    dense = dense_position_contrast(one, other, where, 0.1, gather=gather, data_sets=data_sets)
    return dense + position_contrast(
        one.mean((2, 3)), other.mean((2, 3)), where, 0.1, gather=gather, data_sets=data_sets
    )


def train(rank: int, folder: str) -> None:
    for gather in (True, False):
        # The mean of gradients is DistributedDataParallel's; by hand, since that never gives its group's threads up.
        net = network()
        loss = loss_of(net, *(part[2 * rank : 2 * rank + 2] for part in data()), gather)
        loss.backward()
        for parameter in net.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= 2
        torch.save([loss.detach(), *(p.grad for p in net.parameters())], f"{folder}/{rank}-{gather}.pt")


def push(rank: int, folder: str) -> None:
    """Two keys a step, for two steps; a key says who pushed it (hundreds), in which step (tens) and its number."""
    queue = KeyQueue(5, 1)
    for step in range(2):
        names = 100 * rank + 10 * step + torch.arange(2)
        queue.push(names.unsqueeze(1).float(), names)
    torch.save([queue.ids, queue.keys.flatten(), queue.written], f"{folder}/{rank}-queue.pt")


def process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo")
    train(rank, folder)
    push(rank, folder)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What two processes wrote, each file named "rank-what.pt"."""
    folder = tmp_path_factory.mktemp("processes")
    in_two_processes(process, str(folder))
    return folder


def test_gathered_gradient_is_that_of_the_joint_batch(folder):
    net = network()
    joint = loss_of(net, *data(), gather=True)
    joint.backward()
    saved = {(r, g): torch.load(folder / f"{r}-{g}.pt") for r in (0, 1) for g in (True, False)}

    mean = (saved[0, True][0] + saved[1, True][0]) / 2
    torch.testing.assert_close(mean, joint.detach(), rtol=0, atol=1e-5)
    for parameter, first, second in zip(net.parameters(), saved[0, True][1:], saved[1, True][1:], strict=True):
        torch.testing.assert_close(first, parameter.grad, rtol=0, atol=1e-5)
        torch.testing.assert_close(first, second)
    # Without gathering, each process misses the other's negatives: the test above is able to fail.
    assert not torch.allclose(saved[0, False][1], next(net.parameters()).grad, atol=1e-3)


def test_each_process_holds_the_keys_of_all(folder):
    for rank in (0, 1):
        ids, keys, written = torch.load(folder / f"{rank}-queue.pt")
        assert ids.tolist() == keys.tolist() == [11, 110, 111, 101, 10]
        assert written == 8
