"""What only a GPU can show. Skipped, with the reason, where there is none."""

import numpy as np
import pytest
import torch

from contrastiveseg.descriptions import FinetuneJob, PretrainJob
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.sliding_window import sliding_window
from contrastiveseg.segmentation.tile_memory import within_memory
from contrastiveseg.segmentation.tiles import fit_tiles
from contrastiveseg.training.finetune import finetune
from contrastiveseg.training.pretrain import pretrain
from contrastiveseg.volumes.reading import read_volume

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none")


def test_pretraining_and_fine_tuning_run_on_the_gpu(dataset, tmp_path):
    base, tuned = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    pretrain(PretrainJob(images=(str(dataset / "imagesTr"),), output=str(base), steps=3, size="tiny", device="cuda"))
    job = FinetuneJob(checkpoint=str(base), images=(str(dataset),), output=str(tuned), steps=3, device="cuda")
    assert finetune(job).steps == 3


def test_gpu_and_cpu_give_the_same_labels(segmenter, image):
    volume = read_volume(image)
    on_cpu, on_gpu = (Predictor.open(segmenter, torch.device(d), None).predict(volume) for d in ("cpu", "cuda"))
    assert np.mean(on_cpu.labels.array == on_gpu.labels.array) > 0.999


def test_the_gpu_is_waited_for_once_a_volume(segmenter, monkeypatch):
    predictor = Predictor.open(segmenter, torch.device("cuda"), None)
    waited, wait = [], torch.cuda.synchronize
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(wait(device)))
    tiles: list[int] = []
    image = torch.randn(1, *(3 * n for n in predictor.card.plan.patch))
    predictor.logits(image, on_tile=lambda done, total: tiles.append(done))
    assert len(tiles) > 1
    assert len(waited) == 1


def test_out_of_memory_is_answered_with_smaller_batches():
    device, sizes = torch.device("cuda"), []

    def hungry(tiles: torch.Tensor) -> torch.Tensor:
        sizes.append(len(tiles))
        if sizes[-1] > 1:
            torch.empty(2**50, device=device)
        return tiles

    image = torch.randn(1, 64, 64, 64)
    tiling = fit_tiles((64, 64, 64), (8, 8, 8), (16, 16, 16))
    found = within_memory(
        lambda batch: sliding_window(hungry, image, tiling, 1, batch=batch, device=device), 4, tiling.tile, device
    )
    torch.testing.assert_close(found.cpu(), image, atol=1e-4, rtol=1e-4)
    assert sizes[:3] == [4, 2, 1]
