"""What a pre-training step costs beside its own network passes, for every method, as JSON and a table.

    python Testing/benchmarks/step_time.py [--output FILE] [--size tiny] [--dimensions 3] [--device cpu] [--threads 1]
                                           [--precision auto] [--methods macl,cvrl] [--repeats 7]

A step is drawing crops from the cache on disk, views, network passes, losses, the backward pass, teacher and queue;
the optimizer is left out. Its own passes are the same calls of the same networks on the same views, forward, and
backward where the step goes backward. The bar is a ratio of 1.3. Each method is timed at the start and at the end of
its budget, where some train other parts. Times are processor seconds on a CPU and wall clock seconds on a GPU.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import add_common_options, exit_after, machine, parser_of
from results_file import add_run
from tables import markdown
from torch import Tensor

from contrastiveseg.data.cache import preprocess
from contrastiveseg.data.cached_volumes import CachedVolumes
from contrastiveseg.device import (
    autocast,
    autocast_dtype,
    keep_large_buffers,
    resolve_device,
)
from contrastiveseg.methods.method import Method
from contrastiveseg.methods.registry import available_methods, find_method
from contrastiveseg.networks.backbone import Backbone
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.training import for_training
from contrastiveseg.planning.fingerprint import fingerprint_of, make_plan
from contrastiveseg.planning.presets import choose_network
from contrastiveseg.synthetic.dataset import write_dataset
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.training.setup import cases_of

#: When in the budget a step is timed.
SHARES = (0.0, 0.99)


@dataclass
class Pass:
    """One call of an encoder, and of the decoder on what it gave."""

    backbone: Backbone
    images: Tensor
    encoder_learns: bool
    decoder_learns: bool = False
    decoded: bool = False
    blocks: int | None = None

    def again(self) -> list[Tensor]:
        """The same forward pass; the maps that a loss may start from."""
        with torch.set_grad_enabled(self.encoder_learns):
            maps = self.backbone.encode(self.images)
        if not self.decoded:
            return maps[-1:]
        with torch.set_grad_enabled(self.decoder_learns):
            return [maps[-1], self.backbone.decode(maps, self.blocks)[-1]]


@contextmanager
def recorded(objective: Method) -> Iterator[list[Pass]]:
    """The network passes of the steps taken inside."""
    passes: list[Pass] = []
    by_map: dict[int, Pass] = {}
    backbones = [m for m in objective.modules() if isinstance(m, Backbone)]

    def watch(backbone: Backbone) -> None:
        encode, decode = backbone.encode, backbone.decode

        def encoding(x: Tensor) -> list[Tensor]:
            maps = encode(x)
            passes.append(Pass(backbone, x.detach().clone(), torch.is_grad_enabled()))
            by_map[id(maps[-1])] = passes[-1]
            return maps

        def decoding(features: list[Tensor], blocks: int | None = None) -> list[Tensor]:
            seen = by_map[id(features[-1])]
            seen.decoded, seen.blocks, seen.decoder_learns = True, blocks, torch.is_grad_enabled()
            return decode(features, blocks)

        backbone.__dict__.update(encode=encoding, decode=decoding)

    for backbone in backbones:
        watch(backbone)
    try:
        yield passes
    finally:
        for backbone in backbones:
            del backbone.__dict__["encode"], backbone.__dict__["decode"]


def backward(maps: list[Tensor]) -> None:
    """Through whatever learns, from gradients of one."""
    learning = [m for m in maps if m.requires_grad]
    if learning:
        torch.autograd.backward(learning, [torch.ones_like(m) for m in learning])


def seconds(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Median time of ``work``, after a first one that does not count."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times = []
    for _ in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - start)
    return statistics.median(times[1:])


def measured(
    objective: Method, source: CachedVolumes, device: torch.device, dtype: torch.dtype | None, repeats: int
) -> dict[str, float]:
    """Milliseconds of a step and of its own passes."""

    def step() -> None:
        # The same crops each time: some methods draw them in sizes that vary, and the passes are those of one step.
        batch = objective.draw(source, np.random.default_rng([0, 0])).to(device)
        torch.manual_seed(0)
        with autocast(device, dtype):
            loss = objective(batch)["loss"]
        objective.zero_grad(set_to_none=True)
        loss.backward()
        objective.after_step()

    with recorded(objective) as passes:
        step()

    def own() -> None:
        with autocast(device, dtype):
            maps = [m for one in passes for m in one.again()]
        objective.zero_grad(set_to_none=True)
        backward(maps)

    # Taken in turns, so that other work on the machine weighs on both alike.
    rounds = [(seconds(step, device, 1), seconds(own, device, 1)) for _ in range(repeats)]
    full, alone = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = statistics.median(a / b for a, b in rounds)
    return {"step_ms": round(full * 1e3, 2), "passes_ms": round(alone * 1e3, 2), "ratio": round(ratio, 3)}


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "step_time.json")
    parser.add_argument("--methods", default=",".join(n for stage, n in available_methods() if stage == "pretrain"))
    parser.add_argument("--size", default="tiny", choices=("tiny", "base", "large"))
    parser.add_argument("--dimensions", type=int, default=3, choices=(2, 3))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", choices=("auto", "32", "bf16"))
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    if device.type == "cpu":
        keep_large_buffers()
    dtype = autocast_dtype(device, options.precision)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), 4, 0, SyntheticSettings(size=(80, 112, 128), spacing=(3.0, 2.5, 2.5)))
        cases = cases_of([folder])
        seen = fingerprint_of(cases)
        spec, voxels = choose_network("unet", options.size, options.dimensions, seen, device)
        for name in options.methods.split(","):
            method = find_method("pretrain", name)
            torch.manual_seed(0)
            backbone = build(spec)
            plan = make_plan(seen, options.dimensions, method.patch_rule(backbone, method.Settings()), voxels)
            source = CachedVolumes(
                Path(folder) / "cache", preprocess(cases, plan, Path(folder) / "cache"), (1, 2, 3, 4)
            )
            objective = method(backbone, plan, method.Settings())
            if device.type == "cpu":
                for_training(objective)
            objective.to(device).train()
            for share in SHARES:
                objective.progress = share
                times = measured(objective, source, device, dtype, options.repeats)
                run = {"method": name, "share": share, "size": options.size, "patch": list(plan.patch), **times}
                precision = str(dtype or torch.float32).removeprefix("torch.")
                add_run(options.output, run | {"precision": precision, "machine": machine(options.threads)})
                rows.append([f"{name} at {share:.0%}", *(str(times[k]) for k in ("step_ms", "passes_ms", "ratio"))])
                print(f"{rows[-1]}", flush=True)
    print(markdown(("method", "step ms", "its passes ms", "ratio"), rows))


if __name__ == "__main__":
    exit_after(main)
