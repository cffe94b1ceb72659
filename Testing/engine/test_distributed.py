"""Two processes train like one with the joint batch, and end together."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.events import Event, Progress
from contrastiveseg.methods.method import Method, Optimization
from contrastiveseg.methods.registry import available_methods
from contrastiveseg.testing.methods import MethodUnderTest
from contrastiveseg.testing.processes import check_two_processes, in_two_processes
from contrastiveseg.training import distributed, loop
from contrastiveseg.training.loop import train
from contrastiveseg.training.run import Budget, Run

#: MCSC's Transformer and blocks at their usual size take seconds a step.
SMALL = {"mcsc": {"embedding": 12, "heads": 2, "depth": 2, "width": 8, "fine_block": 4, "coarse_block": 2}}

HOW = Optimization(optimizer="sgd", learning_rate=0.1, weight_decay=0.0, schedule="cosine", clip=0.5)


class Images(SimpleNamespace):
    """A batch of images alone."""

    def to(self, device):
        return self


class Fit(Method):
    """Fits a convolution to images drawn for each process; ``joint`` holds the processes whose images it sees."""

    def __init__(self, joint: tuple[int, ...] = ()) -> None:
        nn.Module.__init__(self)
        torch.manual_seed(0)
        self.backbone = nn.Conv3d(1, 2, 3, padding=1)
        self.head, self.unused, self.joint = nn.Conv3d(2, 1, 1), nn.Linear(2, 2), joint

    def draw(self, source, random):
        numbers = [random.bit_generator.seed_seq.entropy]
        if self.joint:
            numbers = [[*numbers[0][:-1], rank] for rank in self.joint]
        drawn = [np.random.default_rng(n).standard_normal((2, 1, 4, 4, 4), np.float32) for n in numbers]
        return Images(images=torch.from_numpy(np.concatenate(drawn)))

    def step(self, batch):
        return {"loss": (self.head(self.backbone(batch.images)) - batch.images).square().mean()}


clock = SimpleNamespace(now=0.0)


class Ticking(Fit):
    """Takes a second a step, in process 1 a third more."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.seconds = 1 + rank / 3

    def step(self, batch):
        clock.now += self.seconds
        return super().step(batch)


def process(rank: int, folder: str) -> None:
    device = distributed.start(torch.device("cpu"))
    loop.time = SimpleNamespace(monotonic=lambda: clock.now)
    # Process 1 never asks to stop by itself, and writes nothing.
    asked: list[int] = []
    run = Run(
        Budget(steps=9),
        device,
        output=Path(folder) / "fit.safetensors",
        emit=lambda e: asked.append(1) if isinstance(e, Progress) else None,
        cancelled=lambda: rank == 0 and len(asked) == 3,
    )
    found = train(Fit(), None, HOW, run)
    torch.save([found.steps, found.cancelled, found.state], f"{folder}/{rank}.pt")
    # A budget in minutes, of which each process counts its own.
    timed = train(Ticking(rank), None, HOW, Run(Budget(minutes=0.1), device))
    torch.save([timed.steps, timed.state], f"{folder}/timed-{rank}.pt")
    distributed.stop()


def test_two_processes_take_the_steps_of_the_joint_batch(tmp_path):
    in_two_processes(process, str(tmp_path))
    (steps, cancelled, first), (other_steps, other_cancelled, second) = (
        torch.load(tmp_path / f"{r}.pt") for r in (0, 1)
    )
    assert (steps, cancelled) == (other_steps, other_cancelled) == (3, True)

    def alone(joint):
        seen: list[Event] = []
        stop = lambda: sum(isinstance(e, Progress) for e in seen) == 3  # noqa: E731
        return train(
            Fit(joint), None, HOW, Run(Budget(steps=9), torch.device("cpu"), emit=seen.append, cancelled=stop)
        ).state

    (steps, timed), (other_steps, other_timed) = (torch.load(tmp_path / f"timed-{r}.pt") for r in (0, 1))
    assert steps == other_steps == 6
    for name, tensor in timed.items():
        assert torch.equal(tensor, other_timed[name]), name

    joint, half = alone((0, 1)), alone((0,))
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
        torch.testing.assert_close(tensor, joint[name], rtol=0, atol=1e-6)
    assert not torch.allclose(first["head.weight"], half["head.weight"], atol=1e-4)


def test_every_method_trains_in_two_processes(tmp_path):
    """The conformance test ``trains_in_two_processes`` of all methods, in one pair of processes."""
    tested = [MethodUnderTest(stage, name, SMALL.get(name, {})) for stage, name in available_methods()]
    check_two_processes(tested, tmp_path)


@pytest.mark.timeout(120)
def test_torchrun_pre_trains_to_one_checkpoint(dataset, tmp_path):
    output = tmp_path / "base.safetensors"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command += ["contrastiveseg", "pretrain", "--method", "macl", "--images", str(dataset), "--output", str(output)]
    command += ["--steps", "2", "--precision", "32", "--threads", "1", "--device", "cpu", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_card(output).provenance.steps == 2
    lines = [json.loads(x) for x in (tmp_path / "base.safetensors.metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    assert {p.name for p in tmp_path.iterdir()} == {"base.safetensors", "base.safetensors.metrics.jsonl"}
    # One process speaks.
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert sum(e["event"] == "result" for e in events) == 1
    assert "Grad strides" not in done.stderr
