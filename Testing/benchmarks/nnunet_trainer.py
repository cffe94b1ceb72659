"""Trains nnU-Net for so many processor minutes and segments a folder; runs in nnU-Net's own environment.

Called by nnunet.py, which sets nnU-Net's environment variables. Prints what it did as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class MinutesTrainer(nnUNetTrainer):
    """nnU-Net's trainer with a budget in processor time instead of epochs.

    Its polynomial learning rate falls to 0 within the budget. Validation, which chooses nothing in nnU-Net's final
    checkpoint, is left out, so that all of the time is training. All else is nnU-Net's own.
    """

    minutes: float

    def run_training(self) -> None:
        self.on_train_start()
        self.network.train()
        self.iterations = 0
        clock, start = time.perf_counter(), time.process_time()
        while (share := (time.process_time() - start) / (60 * self.minutes)) < 1:
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (1 - share) ** 0.9
            self.train_step(next(self.dataloader_train))
            self.iterations += 1
        self.cpu_minutes = (time.process_time() - start) / 60
        self.wall_minutes = (time.perf_counter() - clock) / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preprocessed", type=Path, required=True, help="folder of the preprocessed data set")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of CASE_0000.nii.gz to segment")
    parser.add_argument("--output", type=Path, required=True, help="folder for the folders plain and mirrored")
    options = parser.parse_args()
    random.seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002 - nnU-Net draws from the global generator
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)

    plans = json.loads((options.preprocessed / "nnUNetPlans.json").read_text())
    dataset = json.loads((options.preprocessed / "dataset.json").read_text())
    trainer = MinutesTrainer(
        plans | {"continue_training": False}, "3d_fullres", "all", dataset, device=torch.device("cpu")
    )
    trainer.minutes = options.minutes
    trainer.disable_checkpointing = True
    trainer.run_training()
    trainer.set_deep_supervision_enabled(False)

    seconds = {}
    for name, mirror in (("plain", False), ("mirrored", True)):
        torch.set_num_threads(options.threads)
        predictor = nnUNetPredictor(use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False)
        predictor.manual_initialization(
            trainer.network,
            trainer.plans_manager,
            trainer.configuration_manager,
            [trainer.network.state_dict()],
            dataset,
            "MinutesTrainer",
            trainer.inference_allowed_mirroring_axes,
        )
        (options.output / name).mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        predictor.predict_from_files_sequential(str(options.images), str(options.output / name))
        seconds[name] = round(time.perf_counter() - start, 1)
    configuration = trainer.configuration_manager
    trained = {
        "cpu_minutes": round(trainer.cpu_minutes, 3),
        "wall_minutes": round(trainer.wall_minutes, 3),
        "iterations": trainer.iterations,
        "segmentation_seconds": seconds,
        "patch": [int(n) for n in configuration.patch_size],
        "spacing": [float(s) for s in configuration.spacing],
        "batch": configuration.batch_size,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "version": version("nnunetv2"),
        "torch": torch.__version__,
    }
    print(json.dumps(trained))


if __name__ == "__main__":
    main()
