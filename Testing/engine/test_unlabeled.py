"""Volumes without labels in fine-tuning: drawn by methods that can use them, their labels never read, none held out."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from contrastiveseg.checkpoints.format import load
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.data.batch import Batch
from contrastiveseg.data.sampling import draw_patches
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.errors import InputError
from contrastiveseg.methods import registry
from contrastiveseg.methods.supervised import Supervised
from contrastiveseg.training.finetune import finetune


class Confident(Supervised):
    """Supervised training that also wants confident answers on unlabeled crops; remembers what it drew."""

    uses_unlabeled = True
    drawn: list[Batch]
    sources: list

    def draw(self, source, random):
        parts = [super().draw(source, random)]
        size = parts[0].images.shape[2:]
        parts.append(draw_patches(source, size, 2, 0.5, random, source.unlabeled))
        batch = Batch.joined(parts)
        self.sources.append(source)
        self.drawn.append(batch)
        return batch

    def step(self, batch):
        count = self.settings.batch
        labeled = Batch(*(part[:count] for part in vars(batch).values() if part is not None))
        terms = super().step(labeled)
        confidence = self.segmenter(batch.images[count:, :, :, : self.plan.patch[1], : self.plan.patch[2]])
        return {**terms, "loss": terms["loss"] - confidence.softmax(1).square().mean()}


@pytest.fixture(autouse=True)
def confident(monkeypatch):
    """The method "confident", registered for one test."""
    monkeypatch.setitem(registry._METHODS.entries, ("finetune", "confident"), Confident)
    Confident.drawn, Confident.sources = [], []


@pytest.fixture
def folders(dataset, tmp_path) -> Path:
    """A folder with images and labels of two cases, and unlabeled/ with those of the two others side by side."""
    for name in ("imagesTr", "labelsTr", "unlabeled"):
        (tmp_path / name).mkdir()
    for case in range(4):
        name = f"synthetic_{case:05d}"
        image, label = (dataset / folder / f"{name}.nii.gz" for folder in ("imagesTr", "labelsTr"))
        shutil.copy(image, tmp_path / ("imagesTr" if case < 2 else "unlabeled"))
        shutil.copy(label, tmp_path / ("labelsTr" if case < 2 else f"unlabeled/{name}_seg.nii.gz"))
    return tmp_path


def job(folders: Path, out: Path, *unlabeled: Path, **more) -> FinetuneJob:
    given = {"checkpoint": "none", "method": "confident", "steps": 2, "precision": "32", "threads": 1} | more
    return FinetuneJob(
        images=(str(folders / "imagesTr"),),
        labels=(str(folders / "labelsTr"),),
        unlabeled=tuple(map(str, unlabeled or (folders / "unlabeled",))),
        output=str(out),
        **given,
    )


def test_crops_of_unlabeled_volumes_come_without_labels(folders, out):
    finetune(job(folders, out))
    source = Confident.sources[0]
    assert (source.labeled, source.unlabeled) == ((0, 1), (2, 3))
    for batch in Confident.drawn:
        assert set(batch.cases[:2].tolist()) == {0, 1}
        assert set(batch.cases[2:].tolist()) == {2, 3}
        assert batch.labels[:2].min() == 0
        assert batch.labels[:2].max() > 0
        assert batch.labels[2:].unique().tolist() == [-1]


def test_a_label_beside_an_unlabeled_image_is_never_read(folders, out):
    labels = sorted((folders / "unlabeled").glob("*_seg.nii.gz"))
    assert len(labels) == 2
    weights = []
    for run, change in enumerate((lambda: None, noise_in(labels), broken(labels), removed(labels))):
        change()
        path = out.with_name(f"{run}.safetensors")
        finetune(job(folders, path))
        weights.append(load(path)[1])
    for other in weights[1:]:
        assert all(torch.equal(tensor, other[name]) for name, tensor in weights[0].items())


def noise_in(labels):
    def change():
        for path in labels:
            image = sitk.ReadImage(str(path))
            noise = np.random.default_rng(0).integers(0, 9, image.GetSize()[::-1]).astype(np.uint8)
            changed = sitk.GetImageFromArray(noise)
            changed.CopyInformation(image)
            sitk.WriteImage(changed, str(path))

    return change


def broken(labels):
    return lambda: [path.write_bytes(b"no image") for path in labels]


def removed(labels):
    return lambda: [path.unlink() for path in labels]


def test_a_listing_with_labels_gives_its_images_alone(folders, dataset, out):
    """dataset.json names labels for all four cases; two of them are labeled cases of this run already."""
    told: list[dict] = []
    finetune(job(folders, out, dataset), told.append)
    assert Confident.sources[0].unlabeled == (2, 3)
    assert any("2 of the unlabeled volumes are labeled cases" in getattr(e, "text", "") for e in told)


def test_the_card_tells_which_labels_were_used(folders, out):
    finetune(replace(job(folders, out), keep_names=True))
    origin = read_card(out).provenance
    assert [(c.name, c.label_used) for c in origin.cases] == [
        ("synthetic_00000", True),
        ("synthetic_00001", True),
        ("synthetic_00002", False),
        ("synthetic_00003", False),
    ]


@pytest.mark.parametrize("validation", ["1", "leave-one-out"])
def test_an_unlabeled_volume_is_never_held_out_and_a_held_out_one_never_drawn(folders, out, validation):
    # All images are offered as unlabeled too, under other names.
    for image in (folders / "imagesTr").iterdir():
        shutil.copy(image, folders / "unlabeled" / f"copy_of_{image.name}")
    result = finetune(job(folders, out, validation=validation, steps=1))
    scored = result.held_out if validation == "1" else result.leave_one_out.cases
    assert {c.name for c in scored} <= {"synthetic_00000", "synthetic_00001"}
    for source in Confident.sources:
        assert [source.cases[i].name for i in source.unlabeled] == ["synthetic_00002", "synthetic_00003"]
    if validation == "1":
        assert scored[0].name not in [case.name for case in source.cases]
        assert len(source.labeled) == 1


def test_supervised_training_is_the_same_without_them(folders, out, monkeypatch):
    """It is refused as a wish, but a source that holds some is drawn from its labeled cases only."""
    plain = out.with_name("plain.safetensors")
    finetune(replace(job(folders, plain, method="supervised"), unlabeled=()))
    monkeypatch.setattr(Supervised, "uses_unlabeled", True)
    finetune(job(folders, out, method="supervised"))
    first, second = load(plain)[1], load(out)[1]
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_methods_that_cannot_use_them_say_which_can(folders, out):
    with pytest.raises(InputError, match=r"supervised fine-tuning does not learn.*--method that does \(.*confident"):
        finetune(job(folders, out, method="supervised"))
    assert not out.parent.exists()


def test_what_to_know_before_they_are_used_is_told(folders, out, monkeypatch):
    monkeypatch.setattr(Confident, "advice", "Mind.")
    told = []
    finetune(job(folders, out), told.append)
    assert [event.text for event in told if "Mind." in getattr(event, "text", "")] == ["confident: Mind."]


def test_only_labeled_cases_offered_again(folders, out):
    with pytest.raises(InputError, match="All volumes of --unlabeled are labeled cases too"):
        finetune(job(folders, out, folders / "imagesTr"))
