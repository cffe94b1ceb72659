"""The training loop: schedule, budget, averaging, bad steps, and the same curve after a kill."""

import json
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from contrastiveseg.errors import ContrastiveSegError, InputError
from contrastiveseg.events import Event, Log, Metric, Progress
from contrastiveseg.methods.method import Method, Optimization
from contrastiveseg.training import curve as curve_module
from contrastiveseg.training import loop
from contrastiveseg.training import state as state_module
from contrastiveseg.training.beside import metrics_path
from contrastiveseg.training.loop import train
from contrastiveseg.training.optimizer import AveragedWeights, learning_rate, make_optimizer, set_learning_rate
from contrastiveseg.training.run import Budget, Run

CPU = torch.device("cpu")
PLAIN = Optimization(optimizer="sgd", learning_rate=0.1, momentum=0.0, weight_decay=0.0, schedule="cosine", clip=1e9)


class Images(SimpleNamespace):
    """A batch of images alone."""

    def __init__(self, images) -> None:
        super().__init__(images=images)

    def to(self, device):
        return Images(self.images.to(device))


class Toy(Method):
    """Fits a convolution to random images; its steps use the batch's and torch's random numbers alike."""

    def __init__(self, broken: tuple[int, ...] = (), scale: float = 1.0) -> None:
        nn.Module.__init__(self)
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2))
        self.head = nn.Conv3d(2, 1, 1)
        self.broken, self.scale, self.calls, self.updates = broken, scale, 0, 0

    def draw(self, source, random):
        images = torch.from_numpy(random.standard_normal((2, 1, 4, 4, 4), np.float32))
        return Images(images)

    def step(self, batch):
        self.calls += 1
        difference = self.head(self.backbone(batch.images)) - batch.images
        loss = (difference + 0.1 * torch.randn_like(difference)).square().mean() * self.scale
        return {"loss": loss * float("nan") if self.calls - 1 in self.broken else loss, "plain": loss.detach()}

    def after_step(self):
        self.updates += 1


def run(steps=8, **more) -> Run:
    return Run(Budget(steps=steps), CPU, **more)


def curve(output) -> list[dict]:
    lines = [json.loads(line) for line in metrics_path(output).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def assert_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_torch_draws_crops_with_one_thread_beside_those_that_train(monkeypatch):
    drawing, drawn = [], Toy.draw

    def draw(method, source, random):
        drawing.append(torch.get_num_threads())
        return drawn(method, source, random)

    monkeypatch.setattr(Toy, "draw", draw)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        train(Toy(), None, PLAIN, Run(Budget(steps=2), CPU))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert set(drawing) == {1}


@pytest.mark.parametrize(
    ("changes", "done", "rate"),
    [
        ({"schedule": "cosine"}, 0.0, 2.0),
        ({"schedule": "cosine"}, 0.5, 1.0),
        ({"schedule": "cosine"}, 0.25, 2 * (0.5 + 0.5**0.5 / 2)),
        ({"schedule": "cosine"}, 1.0, 0.0),
        ({"schedule": "poly"}, 0.5, 2 * 0.5**0.9),
        ({"schedule": "poly"}, 1.5, 0.0),
        ({"schedule": "poly", "warm_up": 0.1}, 0.0, 2 * 1e-3 / 0.101),
        ({"schedule": "poly", "warm_up": 0.1}, 0.05, 2 * 0.051 / 0.101),
        ({"schedule": "poly", "warm_up": 0.1}, 0.1, 2.0),
        ({"schedule": "poly", "warm_up": 0.1}, 0.55, 2 * 0.5**0.9),
    ],
)
def test_learning_rate(changes, done, rate):
    assert learning_rate(replace(PLAIN, learning_rate=2.0, **changes), done) == pytest.approx(rate)


def test_transferred_parameters_learn_at_their_lower_rate():
    toy = Toy()
    names = {n for n, _ in toy.named_parameters() if n.startswith("backbone.")}
    optimizer = make_optimizer(toy, replace(PLAIN, transferred_rate=0.25), names)
    set_learning_rate(optimizer, 0.2)
    before = {n: p.detach().clone() for n, p in toy.named_parameters()}
    for parameter in toy.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, parameter in toy.named_parameters():
        moved = before[name] - parameter.detach()
        assert torch.allclose(moved, torch.full_like(moved, 0.05 if name in names else 0.2), atol=1e-6)


def test_an_objective_may_slow_down_a_part_of_itself():
    toy = Toy()
    optimizer = make_optimizer(toy, replace(PLAIN, transferred_rate=0.5), {"head.bias"}, {"head.": 0.2})
    factors = {tuple(p.shape): g["factor"] for g in optimizer.param_groups for p in g["params"]}
    assert factors[tuple(toy.head.weight.shape)] == 0.2
    assert factors[tuple(toy.head.bias.shape)] == pytest.approx(0.1)
    assert factors[tuple(toy.backbone[0].weight.shape)] == 1


def test_the_loop_knows_of_a_part_that_is_slowed_down():
    toy = Toy()
    toy.rates = {"head.": 0.0}
    before = {name: p.detach().clone() for name, p in toy.named_parameters()}
    train(toy, None, PLAIN, run(1))
    moved = {name for name, p in toy.named_parameters() if not torch.equal(p, before[name])}
    assert {name.split(".")[0] for name in moved} == {"backbone"}


def test_frozen_parameters_are_left_out():
    toy = Toy()
    toy.backbone.requires_grad_(False)
    assert [p.shape for g in make_optimizer(toy, PLAIN).param_groups for p in g["params"]] == [
        p.shape for p in toy.head.parameters()
    ]


def test_averaged_weights():
    module = nn.BatchNorm1d(1)
    average = AveragedWeights(module, 0.5)
    expected = 1.0
    for step, value in enumerate([3.0, 5.0, -2.0, 7.0, 1.0, 4.0, 0.0, 9.0, 2.0, 6.0], 1):
        with torch.no_grad():
            module.weight.fill_(value)
            module.num_batches_tracked.fill_(step)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.state["weight"].item() == pytest.approx(expected, rel=1e-5)
        assert average.state["num_batches_tracked"].item() == step
    assert decay == 0.5


@pytest.mark.parametrize(
    ("steps", "minutes"),
    [(None, None), (3, 1.0), (0, None), (-1, None), (None, 0.0), (None, float("nan")), (None, float("inf"))],
)
def test_budgets_refused(steps, minutes):
    with pytest.raises(InputError, match="budget"):
        Budget(steps, minutes)


def test_budget_in_steps_and_what_is_told(tmp_path):
    seen: list[Event] = []
    toy = Toy()
    output = tmp_path / "new" / "toy.safetensors"
    found = train(toy, None, PLAIN, run(5, output=output, emit=seen.append))
    assert (found.steps, found.kept, found.cancelled, toy.updates) == (5, "last", False, 5)
    assert_same(found.state, toy.state_dict())
    assert [e.done for e in seen if isinstance(e, Progress)] == [1, 2, 3, 4, 5]
    lines = curve(output)
    assert [(e.step, e.value) for e in seen if isinstance(e, Metric) and e.name == "plain"] == [
        (x["step"], x["plain"]) for x in lines
    ]
    assert [line["lr"] for line in lines] == [pytest.approx(learning_rate(PLAIN, s / 5)) for s in range(5)]


def test_budget_in_minutes_does_not_count_validation(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.now))

    class Slow(Toy):
        def step(self, batch):
            clock.now += 10
            return super().step(batch)

    def validate(state):
        clock.now += 1000
        return 0.5

    found = train(Slow(), None, PLAIN, Run(Budget(minutes=1), CPU, validations=3), validate=validate)
    assert found.steps == 6
    assert found.minutes == pytest.approx(1.0)


def test_after_a_validation_everything_trains_again():
    """MCSC's M7: no part stays as validation left it, and batch statistics go on moving."""
    toy, modes, statistics = Toy(), [], []
    step = toy.step

    def watched(batch):
        modes.append(all(module.training for module in toy.modules()))
        statistics.append(toy.backbone[1].running_mean.clone())
        return step(batch)

    toy.step = watched
    train(toy, None, PLAIN, run(4, validations=4), validate=lambda state: float(toy.eval().training))
    assert modes == [True] * 4
    assert not any(torch.equal(one, later) for one, later in pairwise(statistics))


def test_the_best_validated_weights_are_kept():
    scores = iter([0.2, 0.8, 0.5, 0.8])
    states = []

    def validate(state):
        states.append({k: v.clone() for k, v in state.items()})
        return next(scores)

    seen: list[Event] = []
    found = train(Toy(), None, replace(PLAIN, ema=0.9), run(8, validations=4, emit=seen.append), validate=validate)
    assert (found.kept, found.best_score) == ("best", 0.8)
    assert_same(found.state, states[1])
    assert [(e.step, e.value) for e in seen if isinstance(e, Metric) and e.name == "validation_dice"] == [
        (2, 0.2),
        (4, 0.8),
        (6, 0.5),
        (8, 0.8),
    ]


def test_an_objective_knows_how_much_of_the_budget_is_used(tmp_path):
    class Ramped(Toy):
        def step(self, batch):
            return super().step(batch) | {"share": torch.tensor(self.progress)}

    train(Ramped(), None, PLAIN, run(4, output=tmp_path / "out.safetensors"))
    assert [line["share"] for line in curve(tmp_path / "out.safetensors")] == [0, 0.25, 0.5, 0.75]


def test_one_seed_one_outcome():
    one, same, other = (train(Toy(), None, PLAIN, run(seed=s)).state for s in (1, 1, 2))
    assert_same(one, same)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_too_little_memory_is_said_with_advice():
    toy = Toy()
    words = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."

    def step(batch):
        raise RuntimeError(words)

    toy.step = step
    with pytest.raises(ContrastiveSegError, match=r"Not enough memory on cpu for a training step.*--size tiny"):
        train(toy, None, PLAIN, run())


def test_a_disk_that_fills_up_does_not_end_the_training(tmp_path, monkeypatch):
    seen: list[Event] = []

    def failing(problem):
        def write(*_):
            raise problem

        return write

    def fill(event):
        seen.append(event)
        if isinstance(event, Metric) and event.name == "plain" and event.step == 1:
            monkeypatch.setattr(curve_module.json, "dumps", failing(OSError("full")))

    monkeypatch.setattr(state_module, "save_resume_state", failing(InputError("No space left.")))
    output = tmp_path / "toy.safetensors"
    found = train(Toy(), None, PLAIN, run(5, output=output, save_seconds=-1.0, emit=fill))
    assert found.steps == 5
    told = [e.text for e in seen if isinstance(e, Log) and e.level == "warning"]
    assert len(told) == 2
    assert told[0] == "No space left. Training goes on, but could not be resumed from here."
    assert "metrics.jsonl ends here: full" in told[1]
    monkeypatch.undo()
    assert [line["step"] for line in curve(output)] == [0, 1]


def test_steps_without_a_finite_loss_are_skipped(tmp_path):
    toy, output, seen = Toy(broken=(1, 2, 5)), tmp_path / "toy.safetensors", []
    found = train(toy, None, PLAIN, run(8, output=output, emit=seen.append))
    assert (found.steps, toy.updates) == (8, 5)
    assert [line["step"] for line in curve(output)] == [0, 3, 4, 6, 7]
    assert all(torch.isfinite(p).all() for p in toy.parameters())
    (told,) = [e.text for e in seen if isinstance(e, Log) and e.level == "warning"]
    assert told.startswith("3 of 8 steps were skipped")


@pytest.mark.parametrize(
    ("toy", "rate", "words"),
    [
        (Toy(broken=(0, 1, 2)), 0.1, r"Nothing was learned: .* any of the 3 steps.*--learning-rate"),
        (Toy(scale=1e4), 1e38, r"no longer numbers after 3 steps.*--learning-rate"),
    ],
)
def test_what_was_not_learned_is_no_success(toy, rate, words):
    with pytest.raises(ContrastiveSegError, match=words):
        train(toy, None, replace(PLAIN, learning_rate=rate), run(3))


def test_a_loss_that_is_never_finite_again_stops_with_advice():
    toy = Toy(broken=tuple(range(3, 100)))
    with pytest.raises(
        ContrastiveSegError, match=r"not finite for 10 steps in a row \(step 12\).*--learning-rate"
    ) as found:
        train(toy, None, PLAIN, run(50))
    assert found.value.exit_code == 1
    assert toy.calls == 13


def test_gradients_are_clipped():
    toy = Toy(scale=1e6)
    before = {n: p.detach().clone() for n, p in toy.named_parameters()}
    train(toy, None, replace(PLAIN, learning_rate=1.0, clip=0.5), run(1))
    moved = sum((p.detach() - before[n]).square().sum() for n, p in toy.named_parameters()) ** 0.5
    assert moved == pytest.approx(0.5, rel=1e-3)
