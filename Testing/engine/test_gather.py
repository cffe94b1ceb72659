"""Two processes with half a batch each train like one process with the whole batch."""

import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from ContrastiveSegLib.contrast.position_contrast import dense_position_contrast, position_contrast


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), nn.Conv2d(4, 6, 1)
    )


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 4, 1, 6, 6, generator=random)
    return first, second, torch.tensor([[0.1], [0.5], [0.15], [0.9]])


def loss_of(
    net: nn.Module, first: torch.Tensor, second: torch.Tensor, where: torch.Tensor, gather: bool
) -> torch.Tensor:
    one, other = net(first), net(second)
    dense = dense_position_contrast(one, other, where, 0.1, gather=gather)
    return dense + position_contrast(one.mean((2, 3)), other.mean((2, 3)), where, 0.1, gather=gather)


def train(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for gather in (True, False):
        # The mean of gradients is DistributedDataParallel's; by hand, since that never gives its group's threads up.
        net = network()
        loss = loss_of(net, *(part[2 * rank : 2 * rank + 2] for part in data()), gather)
        loss.backward()
        for parameter in net.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= 2
        torch.save([loss.detach(), *(p.grad for p in net.parameters())], f"{folder}/{rank}-{gather}.pt")
    dist.destroy_process_group()


def test_gathered_gradient_is_that_of_the_joint_batch(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(train, (port, str(tmp_path)), nprocs=2)
    net = network()
    joint = loss_of(net, *data(), gather=True)
    joint.backward()
    saved = {(r, g): torch.load(tmp_path / f"{r}-{g}.pt") for r in (0, 1) for g in (True, False)}

    mean = (saved[0, True][0] + saved[1, True][0]) / 2
    torch.testing.assert_close(mean, joint.detach(), rtol=0, atol=1e-5)
    for parameter, first, second in zip(net.parameters(), saved[0, True][1:], saved[1, True][1:], strict=True):
        torch.testing.assert_close(first, parameter.grad, rtol=0, atol=1e-5)
        torch.testing.assert_close(first, second)
    # Without gathering, each process misses the other's negatives: the test above is able to fail.
    assert not torch.allclose(saved[0, False][1], next(net.parameters()).grad, atol=1e-3)
