"""What users get wrong, at the terminal: a plain sentence, the right exit code, and nothing half-written."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg import files
from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.cli import main

QUICK = ["--steps", "1", "--precision", "32", "--threads", "1"]


def write(path: Path, array: np.ndarray, spacing=(20.0, 20.0, 22.0)) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def noise(kind: str = "int16") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 400, (12, 16, 16)).astype(kind)


def text(folder: Path) -> Path:
    (folder / "x.nii.gz").write_text("Dear colleague, the scan is attached. " * 20)
    return folder / "x.nii.gz"


def document(folder: Path) -> Path:
    (folder / "x.pdf").write_text("report")
    return folder / "x.pdf"


def cine(folder: Path) -> Path:
    frame = sitk.GetImageFromArray(noise())
    sitk.WriteImage(sitk.JoinSeries([frame] * 3), str(folder / "x.nii.gz"))
    return folder / "x.nii.gz"


def infinite(folder: Path) -> Path:
    array = noise("float32")
    array[3, 4, 5] = np.inf
    write(folder / "x.nrrd", array)
    return folder / "x.nrrd"


def not_numbers(folder: Path) -> Path:
    array = noise("float32")
    array[3, 4, 5:7] = np.nan
    write(folder / "x.nii.gz", array)
    return folder / "x.nii.gz"


def empty_file(folder: Path) -> Path:
    (folder / "x.nii.gz").touch()
    return folder / "x.nii.gz"


def truncated(folder: Path) -> Path:
    write(folder / "x.nii.gz", noise())
    whole = (folder / "x.nii.gz").read_bytes()
    (folder / "x.nii.gz").write_bytes(whole[: len(whole) // 2])
    return folder / "x.nii.gz"


def no_spacing(folder: Path) -> Path:
    write(folder / "x.nii", noise())
    header = bytearray((folder / "x.nii").read_bytes())
    header[80:84] = bytes(4)  # pixdim[1]
    (folder / "x.nii").write_bytes(header)
    return folder / "x.nii"


def missing(folder: Path) -> Path:
    return folder / "x.nii.gz"


def empty_folder(folder: Path) -> Path:
    (folder / "x").mkdir()
    return folder / "x"


def two_series(folder: Path) -> Path:
    (folder / "x").mkdir()
    for series in (1, 2):
        for index in range(2):
            slice_ = sitk.GetImageFromArray(noise("uint16")[index][None])
            for key, value in {
                "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
                "0008|0018": f"1.2.{series}.{index + 1}",
                "0008|0060": "MR",
                "0020|000d": "1.2.77",
                "0020|000e": f"1.2.{series}",
                "0020|0013": str(index + 1),
                "0020|0032": f"0\\0\\{index * 5}",
                "0020|0037": "1\\0\\0\\0\\1\\0",
            }.items():
                slice_.SetMetaData(key, value)
            writer = sitk.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(folder / "x" / f"{series}{index}.dcm"))
            writer.Execute(slice_)
    return folder / "x"


def two_channels(folder: Path) -> Path:
    image = sitk.GetImageFromArray(np.stack([noise(), noise()], -1), isVector=True)
    sitk.WriteImage(image, str(folder / "x.nrrd"))
    return folder / "x.nrrd"


BAD: dict[Callable[[Path], Path], str] = {
    text: "x.nii.gz is not an image of the kind its name says",
    document: "x.pdf is not a volume this program reads",
    cine: "is a series of 3 volumes (4D), not one volume. Split it",
    infinite: "has 1 voxels that are not numbers (NaN or infinite)",
    not_numbers: "has 2 voxels that are not numbers (NaN or infinite)",
    empty_file: "x.nii.gz is empty (0 bytes)",
    truncated: "x.nii.gz is cut short: its voxels are not all there",
    no_spacing: "x.nii has a voxel spacing of 0",
    missing: "x.nii.gz does not exist",
    empty_folder: "holds no volumes. Expected",
    two_series: "holds 2 DICOM series",
    two_channels: "The network takes 1 channel(s) (MRI), but the volume has 2",
}
ONE_BY_ONE = [pytest.param(make, says, id=make.__name__) for make, says in BAD.items()]


def listing(folder: Path) -> dict[str, int]:
    """Everything below ``folder``, hidden files too, and when it was last written."""
    return {str(p.relative_to(folder)): p.lstat().st_mtime_ns for p in sorted(folder.rglob("*"))}


def refused(words: list, folder: Path, capsys, code: int = 2) -> str:
    """Run the command line; it must refuse, say why in one line, and leave ``folder`` as it was. What it said."""
    before = listing(folder)
    assert main([str(w) for w in words]) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert listing(folder) == before
    return said


@pytest.mark.parametrize(("make", "says"), ONE_BY_ONE)
def test_segment(make, says, segmenter, tmp_path, capsys):
    words = ["segment", "--checkpoint", segmenter, "--input", make(tmp_path), "--threads", "1"]
    said = refused([*words, "--output", tmp_path / "new" / "l.nii.gz"], tmp_path, capsys)
    assert says in said
    assert said.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("make", "says"), [p for p in ONE_BY_ONE if p.values[0] not in (missing, document, empty_folder)]
)
def test_segment_a_batch(make, says, segmenter, image, tmp_path, capsys):
    given = ["--input", image, make(tmp_path), "--output", tmp_path / "out", "--threads", "1"]
    assert main(["segment", "--checkpoint", str(segmenter), *map(str, given)]) == 3
    said = capsys.readouterr()
    assert says in said.err
    assert "Failed: " in said.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == [image.name]
    assert f"written: {tmp_path / 'out' / image.name}" in said.out


@pytest.mark.parametrize(("make", "says"), [p for p in ONE_BY_ONE if p.values[0] is not two_channels])
def test_pretrain(make, says, image, tmp_path, capsys):
    words = ["pretrain", "--images", image, make(tmp_path), "--output", tmp_path / "new" / "c.safetensors", *QUICK]
    assert says in refused(words, tmp_path, capsys)


def test_training_data_of_different_channels(image, tmp_path, capsys):
    words = ["pretrain", "--images", image, two_channels(tmp_path), "--output", tmp_path / "c.safetensors", *QUICK]
    assert "differ in their number of channels" in refused(words, tmp_path, capsys)


@pytest.fixture
def labeled(dataset, tmp_path) -> Path:
    """The data set in a folder of its own, to spoil."""
    shutil.copytree(dataset, tmp_path / "data")
    return tmp_path / "data"


def finetuning(folder: Path, *more: object) -> list:
    pair = ["--images", folder / "imagesTr", "--labels", folder / "labelsTr"]
    return ["finetune", "--checkpoint", "none", *pair, "--output", folder / "out.safetensors", *QUICK, *more]


def spoil(path: Path, change: Callable[[sitk.Image], sitk.Image]) -> None:
    sitk.WriteImage(change(sitk.ReadImage(str(path))), str(path))


def test_a_label_on_another_grid(labeled, capsys):
    def move(label):
        label.SetOrigin((1.0, 2.0, 3.0))
        return label

    spoil(labeled / "labelsTr" / "synthetic_00002.nii.gz", move)
    said = refused(finetuning(labeled), labeled, capsys)
    assert "Case synthetic_00002" in said
    assert "is not on the grid of its image: origin" in said


def test_label_maps_that_are_links_to_nowhere_or_not_read(labeled, capsys):
    folder = labeled / "labelsTr"
    (labeled / "dataset.json").unlink()
    (folder / "synthetic_00002.nii.gz").rename(folder / "synthetic_00002.mgz")
    (folder / "synthetic_00001.nii.gz").unlink()
    (folder / "synthetic_00001.nii.gz").symlink_to(labeled / "gone.nii.gz")
    said = refused(finetuning(labeled), labeled, capsys)
    assert "labelsTr holds synthetic_00002.mgz, which may be volumes and are not read" in said
    assert "synthetic_00001.nii.gz is a link to" in said
    assert "which is not there" in said


def test_a_label_that_is_not_declared(labeled, capsys):
    spoil(
        labeled / "labelsTr" / "synthetic_00001.nii.gz",
        lambda label: label + 4 * sitk.Cast(label == 3, label.GetPixelID()),
    )
    said = refused(finetuning(labeled), labeled, capsys)
    assert "Case synthetic_00001 has the label(s) 7, which dataset.json does not declare" in said


def test_a_label_that_is_an_image(labeled, capsys):
    folder = labeled / "labelsTr"
    spoil(folder / "synthetic_00001.nii.gz", lambda label: sitk.Cast(label, sitk.sitkFloat32) * 0.3)
    assert "not whole numbers: it is not a label map" in refused(finetuning(labeled), labeled, capsys)


def test_a_label_missing_for_one_case(labeled, capsys):
    (labeled / "labelsTr" / "synthetic_00003.nii.gz").unlink()
    # Labels lie in a folder of their own: the others are learned from, and the log says which case has none.
    assert main([str(word) for word in finetuning(labeled)]) == 0
    assert "left out: synthetic_00003" in capsys.readouterr().out
    for path in labeled.glob("out.safetensors*"):
        path.unlink()
    words = finetuning(labeled)
    words[4] = labeled / "dataset.json"
    del words[5:7]
    assert "synthetic_00003.nii.gz does not exist" in refused(words, labeled, capsys)


def test_a_damaged_dataset_file(labeled, capsys):
    (labeled / "dataset.json").write_text('{"training": [')
    words = ["pretrain", "--images", labeled / "dataset.json", "--output", labeled / "c.safetensors", *QUICK]
    assert "dataset.json is not a JSON file" in refused(words, labeled, capsys)
    (labeled / "dataset.json").write_text(json.dumps({"training": [{"image": "nowhere.nii.gz"}]}))
    assert "training[0]" in refused(words, labeled, capsys)


def test_checkpoints(image, labeled, segmenter, pretrained, capsys):
    broken = labeled / "broken.safetensors"
    broken.write_bytes(segmenter.read_bytes()[:-100])
    for checkpoint, says in [
        (broken, "is truncated"),
        (labeled / "none.safetensors", "There is no checkpoint at"),
        (image, "is not a checkpoint"),
    ]:
        segmenting = ["segment", "--checkpoint", checkpoint, "--input", image, "--output", labeled / "l.nii.gz"]
        assert says in refused(segmenting, labeled, capsys)
        words = finetuning(labeled)
        words[2] = checkpoint
        assert says in refused(words, labeled, capsys)
        assert says in refused(["inspect", checkpoint], labeled, capsys)
    segmenting = ["segment", "--checkpoint", pretrained, "--input", image, "--output", labeled / "l.nii.gz"]
    assert "was only pre-trained" in refused(segmenting, labeled, capsys)


def test_a_network_with_two_channels(image, labeled, segmenter, capsys):
    card, weights = load(segmenter)
    plan = replace(card.plan, channels=card.plan.channels * 2)
    first = next(n for n, t in weights.items() if t.ndim == 5 and t.shape[1] == 1)
    wide = weights | {first: weights[first].repeat(1, 2, 1, 1, 1)}
    path = labeled / "two.safetensors"
    save(path, wide, replace(card, plan=plan, network=replace(card.network, in_channels=2)))
    words = ["segment", "--checkpoint", path, "--input", image, "--output", labeled / "l.nii.gz"]
    assert "The network takes 2 channel(s)" in refused(words, labeled, capsys)
    words = finetuning(labeled)
    words[2] = path
    assert "expects 2 channel(s) and the volumes have 1" in refused(words, labeled, capsys)


def commands(segmenter: Path, image: Path, dataset: Path, output: Path) -> dict[str, list]:
    pair = ["--images", dataset / "imagesTr", "--labels", dataset / "labelsTr"]
    labels = ["--predictions", dataset / "labelsTr", "--references", dataset / "labelsTr"]
    return {
        "pretrain": ["pretrain", "--images", dataset, "--output", output / "c.safetensors", *QUICK],
        "finetune": ["finetune", "--checkpoint", "none", *pair, "--output", output / "c.safetensors", *QUICK],
        "segment": ["segment", "--checkpoint", segmenter, "--input", image, "--output", output / "c.nii.gz"],
        "evaluate": ["evaluate", *labels, "--output", output / "c.json"],
    }


KINDS = ["pretrain", "finetune", "segment", "evaluate"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_exists(kind, segmenter, image, dataset, tmp_path, capsys):
    words = commands(segmenter, image, dataset, tmp_path)[kind]
    for name in ("c.safetensors", "c.nii.gz", "c.json"):
        (tmp_path / name).write_text("mine")
    assert "exists already. Choose another output, or add --overwrite" in refused(words, tmp_path, capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_read_only(kind, segmenter, image, dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda path, mode: str(tmp_path) not in str(path))
    words = commands(segmenter, image, dataset, tmp_path / "new")[kind]
    assert "is read-only. Choose an output folder you may write to" in refused(words, tmp_path, capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_lies_in_a_file(kind, segmenter, image, dataset, tmp_path, capsys):
    (tmp_path / "file").touch()
    words = commands(segmenter, image, dataset, tmp_path / "file")[kind]
    assert "is a file" in refused(words, tmp_path, capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_no_space_left_on_the_device(kind, segmenter, image, dataset, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "replace", full)
    words = commands(segmenter, image, dataset, tmp_path)[kind]
    assert main([str(w) for w in words]) == 2
    assert "No space left on the device while writing" in capsys.readouterr().err
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
