"""Training steps of nnU-Net v2's trainer and of ours: the same network, patch, crops a step and volumes, in turns.

    python Testing/benchmarks/beside_trainer.py

Runs in an environment with nnunetv2 (the extra bench). nnU-Net plans, and its network is imported by ``contrastiveseg
import``. A turn is --steps steps of each: nnU-Net's ``train_step`` on what its loader gives, which augments in the same
process; our loop with ``supervised`` as it is set by default, with its averaged weights and its watch. Both draw crops,
augment them, compute loss and gradient, and update. nnU-Net has no autocast on CPUs; ours is timed in float32 and in
bfloat16. Processor seconds a step, medians; nnU-Net's relative to ours, median and range over the turns; and the share
of forward and backward alone, of the same network on the same shapes, in a step of ours.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from common import add_common_options, exit_after, machine, parser_of, processor_seconds
from nnunet_import import Kind, nnunet_folders, started_trainer, trained, write_raw
from results_file import add_run
from tables import beside_trainer

from contrastiveseg.api import import_checkpoint
from contrastiveseg.checkpoints.format import load
from contrastiveseg.data.cache import preprocess
from contrastiveseg.data.cached_volumes import CachedVolumes
from contrastiveseg.device import autocast
from contrastiveseg.methods.supervised import Supervised
from contrastiveseg.networks.registry import build
from contrastiveseg.networks.training import for_training
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.training.loop import train
from contrastiveseg.training.run import Budget, Run
from contrastiveseg.training.setup import cases_of

_SIZE, _PATCH = (64, 96, 96), (48, 64, 64)
_CPU = torch.device("cpu")
_TYPES = {"32": None, "bf16": torch.bfloat16}


def main() -> None:
    parser = parser_of(__doc__)
    add_common_options(parser, "beside_trainer.json")
    parser.add_argument("--repeats", type=int, default=7, help="turns (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="a turn (default: %(default)s)")
    options = parser.parse_args()
    settings = SyntheticSettings(size=_SIZE, spacing=(4.0, 4.0, 4.0))
    kind = Kind("3d_fullres", settings=settings, widths=(16, 128), patch=_PATCH)
    with nnunet_folders(options.threads) as work:
        raw = write_raw(kind, work / "raw" / "Dataset901_Import")
        import_checkpoint(trained(kind, 1, work), "nnunet", work / "imported.safetensors")
        run = _measured(work, raw, options)
    add_run(options.output, run | {"nnunetv2": version("nnunetv2"), "machine": machine(options.threads)})
    print(beside_trainer(run))


def _measured(work: Path, raw: Path, options: argparse.Namespace) -> dict[str, Any]:
    prepared = work / "preprocessed" / "Dataset901_Import"
    plans = json.loads(next(prepared.glob("*Plans.json")).read_text())
    trainer = started_trainer(plans, "3d_fullres", json.loads((prepared / "dataset.json").read_text()))

    def nnunet() -> None:
        for _ in range(options.steps):
            trainer.train_step(next(trainer.dataloader_train))

    card, _ = load(work / "imported.safetensors")
    cases = cases_of([str(raw / "imagesTr")], [str(raw / "labelsTr")])
    cached = preprocess(cases, card.plan, work / "cache")
    source = CachedVolumes(work / "cache", cached, [label.value for label in card.labels])

    def ours(precision: str) -> Callable[[], object]:
        method = Supervised(build(card.network), card.plan, Supervised.Settings(), len(card.labels) + 1)
        run = Run(Budget(steps=options.steps), _CPU, _TYPES[precision])
        return lambda: train(method, source, Supervised.optimization, run)

    def passes(precision: str) -> Callable[[], object]:
        method = Supervised(build(card.network), card.plan, Supervised.Settings(), len(card.labels) + 1)
        for_training(method)
        crops = torch.randn(Supervised.Settings().batch, len(card.plan.channels), *card.plan.patch)

        def forward_and_backward() -> None:
            for _ in range(options.steps):
                with autocast(_CPU, _TYPES[precision]):
                    logits = method.segmenter.forward_deep(crops)
                torch.stack([level.float().square().mean() for level in logits]).sum().backward()

        return forward_and_backward

    ways: dict[str, Callable[[], object]] = {"nnunet": nnunet}
    for precision in _TYPES:
        ways |= {precision: ours(precision), f"passes_{precision}": passes(precision)}
    turns = [
        {name: processor_seconds(way) / options.steps for name, way in ways.items()} for _ in range(options.repeats + 1)
    ]
    turns = turns[1:]
    run: dict[str, Any] = {"patch": list(_PATCH), "crops": trainer.batch_size, "turns": options.repeats}
    run["nnunet"] = round(statistics.median(turn["nnunet"] for turn in turns), 3)
    for precision in _TYPES:
        ratios = [turn["nnunet"] / turn[precision] for turn in turns]
        run[precision] = {
            "seconds": round(statistics.median(turn[precision] for turn in turns), 3),
            "nnunet": round(statistics.median(ratios), 2),
            "range": [round(min(ratios), 2), round(max(ratios), 2)],
            "passes": round(statistics.median(turn[f"passes_{precision}"] / turn[precision] for turn in turns), 3),
        }
    return run


if __name__ == "__main__":
    exit_after(main)
