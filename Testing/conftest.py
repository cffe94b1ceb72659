"""What several tests share: four tiny synthetic volumes, and checkpoints trained on them for two steps."""

import locale
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

#: Packages with tests of their own, which need them installed; engine/test_other_packages.py runs those.
collect_ignore = ["packages"]


@pytest.fixture(autouse=True)
def _same_locale() -> Iterator[None]:
    """ITK's DICOM writer, which only tests use, leaves the process in the "C" locale; then text is read as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with imagesTr, labelsTr (labels 1 to 3) and dataset.json: four volumes of 12 x 16 x 16 voxels."""
    from contrastiveseg.testing.volumes import write_tiny_dataset

    folder = tmp_path_factory.mktemp("dataset")
    write_tiny_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def image(dataset: Path) -> Path:
    """The first of those volumes."""
    return dataset / "imagesTr" / "synthetic_00000.nii.gz"


@pytest.fixture(scope="session")
def pretrained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint pre-trained on them."""
    from contrastiveseg.descriptions import PretrainJob
    from contrastiveseg.training.pretrain import pretrain

    path = tmp_path_factory.mktemp("pretrained") / "macl.safetensors"
    pretrain(
        PretrainJob(
            images=(str(dataset / "imagesTr"),), output=str(path), method="macl", steps=2, precision="32", threads=1
        )
    )
    return path


@pytest.fixture(scope="session")
def scatter_labels() -> Callable[[Path], None]:
    """Gives a checkpoint a random head, which finds every class in some voxels.

    A network that was trained for two steps may find nothing, and a map of zeros would prove nothing.
    """
    import torch

    from contrastiveseg.checkpoints.format import load, save

    def scatter(path: Path) -> None:
        card, weights = load(path)
        torch.manual_seed(0)
        save(path, {n: torch.randn_like(t) * 5 if n.startswith("head.") else t for n, t in weights.items()}, card)

    return scatter


@pytest.fixture(scope="session")
def segmenter(dataset: Path, tmp_path_factory: pytest.TempPathFactory, scatter_labels: Callable[[Path], None]) -> Path:
    """A checkpoint fine-tuned on them from scratch, with scattered labels."""
    from contrastiveseg.descriptions import FinetuneJob
    from contrastiveseg.training.finetune import finetune

    path = tmp_path_factory.mktemp("segmenter") / "organs.safetensors"
    job = FinetuneJob(checkpoint="none", images=(str(dataset),), output=str(path), steps=2, precision="32", threads=1)
    finetune(job)
    scatter_labels(path)
    return path


@pytest.fixture(scope="session")
def sharp(segmenter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The segmenter without a label that is one piece: of scattered voxels all are to be seen."""
    from dataclasses import replace

    from contrastiveseg.checkpoints.format import load, save

    card, weights = load(segmenter)
    path = tmp_path_factory.mktemp("sharp") / "sharp.safetensors"
    save(path, weights, replace(card, one_piece=()))
    return path
