"""Files in, label maps out on the very same grid, whatever the format; what fails is named and the rest is written."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.descriptions import SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.events import Event, Log
from contrastiveseg.jobs.run import run
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.segment import STAGES, segment
from contrastiveseg.segmentation.uncertainty import entropy_of
from contrastiveseg.volumes import reading
from contrastiveseg.volumes.components import in_one_piece, keep_largest_component

OBLIQUE = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)


def job(checkpoint: Path, image, output: Path, **more) -> SegmentJob:
    images = image if isinstance(image, list) else [image]
    given = {"threads": 1, "precision": "32"} | more
    return SegmentJob(checkpoint=str(checkpoint), input=tuple(map(str, images)), output=str(output), **given)


def grid(path: Path) -> tuple:
    """Size, spacing, origin and direction as the file's reader gives them, to the last bit."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()


def oblique(image: Path, path: Path, kind: str = "int16") -> Path:
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(image))).astype(np.float64)
    array = array / array.max() * 250
    made = sitk.GetImageFromArray(array.astype(kind))
    made.SetSpacing((21.1, 19.7, 20.3))
    made.SetOrigin((-12.3456789, 1 / 3, 1e3))
    made.SetDirection(OBLIQUE)
    sitk.WriteImage(made, str(path))
    return path


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".nii.gz", "int16"),
        (".nrrd", "int16"),
        (".mha", "int16"),
        (".nii.gz", "uint8"),
        (".nrrd", "float32"),
        (".mha", "uint16"),
    ],
)
def test_the_result_lies_on_the_inputs_own_grid(sharp, image, tmp_path, suffix, kind):
    source = oblique(image, tmp_path / f"case{suffix}", kind)
    result = segment(job(sharp, source, tmp_path / "out"))
    written = tmp_path / "out" / f"case{suffix}"
    assert result.written == (str(written),)
    assert grid(written) == grid(source)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(written)))
    assert found.dtype == np.uint8
    assert len(np.unique(found)) > 1
    assert set(np.unique(found)) <= {0, 1, 2, 3}


def test_formats_agree_voxel_by_voxel(sharp, image, tmp_path):
    found = []
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        segment(job(sharp, oblique(image, tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}"))
        found.append(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"out{suffix}"))))
    # NIfTI keeps its grid in single precision, which may turn a voxel on a border.
    assert np.array_equal(found[1], found[2])
    assert (found[0] == found[1]).mean() > 0.999


def dicom(image: Path, folder: Path) -> Path:
    """``image`` as a series of slices, tilted, in a folder."""
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(image))).clip(0).astype(np.uint16)
    folder.mkdir(parents=True)
    along, across = (1.0, 0.0, 0.0), (0.0, 0.8, 0.6)
    normal = np.cross(along, across)
    for index, plane in enumerate(array):
        slice_ = sitk.GetImageFromArray(plane[None])
        slice_.SetSpacing((20.0, 22.0, 6.0))
        for key, value in {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"1.2.3.{index + 1}",
            "0008|0060": "MR",
            "0020|000d": "1.2.77",
            "0020|000e": "1.2.3",
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(f"{v:.6f}" for v in normal * 6 * index),
            "0020|0037": "\\".join(str(v) for v in (*along, *across)),
        }.items():
            slice_.SetMetaData(key, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{index:03d}.dcm"))
        writer.Execute(slice_)
    return folder


def test_a_dicom_series(sharp, image, tmp_path):
    folder = dicom(image, tmp_path / "patient" / "series")
    segment(job(sharp, folder, tmp_path / "out"))
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    source, found = sitk.ReadImage(names), sitk.ReadImage(str(tmp_path / "out" / "series.nii.gz"))
    assert found.GetSize() == source.GetSize()
    for part in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(found, part)(), getattr(source, part)(), atol=1e-5)
    # A folder of such folders is a batch.
    result = segment(job(sharp, tmp_path / "patient", tmp_path / "all"))
    assert result.written == (str(tmp_path / "all" / "series.nii.gz"),)


@pytest.mark.parametrize("shape", [(1, 16, 16), (12, 16, 1), (3, 5, 4), (1, 1, 1), (40, 9, 21)])
def test_any_size(sharp, tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 500, shape).astype(np.int16)
    made = sitk.GetImageFromArray(array)
    made.SetSpacing((20.0, 20.0, 22.0))
    sitk.WriteImage(made, str(tmp_path / "a.nrrd"))
    segment(job(sharp, tmp_path / "a.nrrd", tmp_path / "l.nrrd"))
    assert grid(tmp_path / "l.nrrd") == grid(tmp_path / "a.nrrd")


def test_a_constant_volume(sharp, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.full((8, 8, 8), 7, np.int16)), str(tmp_path / "a.nii.gz"))
    segment(job(sharp, tmp_path / "a.nii.gz", tmp_path / "l.nii.gz"))
    assert (tmp_path / "l.nii.gz").exists()


def test_probabilities_sum_to_one_and_agree_with_the_labels(sharp, image, tmp_path):
    source = oblique(image, tmp_path / "case.nrrd")
    segment(job(sharp, source, tmp_path / "l.nrrd", probabilities=str(tmp_path / "p.nrrd")))
    soft = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.nrrd")))
    assert soft.dtype == np.float32
    assert soft.shape[-1] == 4
    np.testing.assert_allclose(soft.sum(-1), 1, atol=1e-5)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "l.nrrd")))
    np.testing.assert_array_equal(soft.argmax(-1), labels)
    assert grid(tmp_path / "p.nrrd") == grid(source)
    segment(job(sharp, source, tmp_path / "again.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "again.nrrd"))), labels)


@pytest.mark.parametrize("mirror", [False, True])
def test_uncertainty_is_the_entropy_of_the_probabilities(sharp, image, tmp_path, mirror):
    source = oblique(image, tmp_path / "case.nrrd")
    names = {name: str(tmp_path / f"{name}.nrrd") for name in ("probabilities", "uncertainty")}
    segment(job(sharp, source, tmp_path / "l.nrrd", mirror=mirror, **names))
    segment(job(sharp, source, tmp_path / "again.nrrd", mirror=mirror, uncertainty=str(tmp_path / "alone.nrrd")))
    soft = sitk.GetArrayFromImage(sitk.ReadImage(names["probabilities"])).astype(np.float64)
    expected = -(soft * np.log(soft.clip(1e-300))).sum(-1) / np.log(4)
    for path in (names["uncertainty"], tmp_path / "alone.nrrd"):
        found = sitk.ReadImage(str(path))
        assert found.GetPixelIDValue() == sitk.sitkFloat32
        assert grid(path) == grid(source)
        np.testing.assert_allclose(sitk.GetArrayFromImage(found), expected, atol=1e-5)
    assert expected.max() > 0.3
    assert (tmp_path / "l.nrrd").read_bytes() == (tmp_path / "again.nrrd").read_bytes()


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_uncompressed_files_hold_the_same(sharp, image, tmp_path, suffix):
    def written(folder: str, **more) -> list[Path]:
        labels, unsure = (tmp_path / folder / f"{name}{suffix}" for name in ("labels", "unsure"))
        segment(job(sharp, image, labels, uncertainty=str(unsure), **more))
        return [labels, unsure]

    for small, large in zip(written("small"), written("large", uncompressed=True), strict=True):
        images = [sitk.ReadImage(str(path)) for path in (small, large)]
        assert np.array_equal(*map(sitk.GetArrayFromImage, images))
        assert grid(small) == grid(large)
        voxels = 12 * 16 * 16 * images[0].GetSizeOfPixelComponent()
        assert small.stat().st_size < voxels < large.stat().st_size


def test_uncertainty_of_certain_and_of_undecided_voxels():
    logits = torch.tensor([[0.0, 0.0, 1e4, -80.0], [0.0, 60.0, 0.0, -80.0], [0.0, 0.0, 0.0, -80.0 + math.log(2)]])
    found = entropy_of(logits)
    quarter = 2 * 0.25 * math.log(4) + 0.5 * math.log(2)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 0.0, quarter / math.log(3)]), atol=1e-6, rtol=0)
    torch.testing.assert_close(entropy_of(logits.flip(0)), found, atol=1e-6, rtol=0)


def test_options_that_change_the_result(sharp, image, tmp_path):
    maps = {}
    for name, options in {"plain": {}, "mirror": {"mirror": True}, "largest": {"pieces": "largest"}}.items():
        segment(job(sharp, image, tmp_path / f"{name}.nii.gz", **options))
        maps[name] = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")))
    assert not np.array_equal(maps["plain"], maps["mirror"])
    kept = maps["largest"] > 0
    assert np.array_equal(maps["largest"][kept], maps["plain"][kept])


def scattered_logits(self: Predictor, image: torch.Tensor, **_: object) -> torch.Tensor:
    """Noise in which labels 2 and 3 are rare, so that they lie scattered over the volume."""
    random = torch.Generator().manual_seed(0)
    rarity = torch.tensor([0.0, 0.0, 2.0, 2.0]).view(-1, 1, 1, 1)
    return torch.randn(4, *image.shape[1:], generator=random) - rarity


def test_what_was_always_one_piece_is_kept_as_one(sharp, image, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "logits", scattered_logits)
    card, weights = load(sharp)
    told, maps = {}, {}
    for pieces in ("auto", "all", "largest"):
        for whole in ((), (2, 3)):
            checkpoint, path = tmp_path / f"{len(whole)}.safetensors", tmp_path / f"{pieces}-{len(whole)}.nii.gz"
            save(checkpoint, weights, replace(card, one_piece=whole))
            seen: list[Event] = []
            result = segment(job(checkpoint, image, path, pieces=pieces), seen.append)
            maps[pieces, whole] = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
            told[pieces, whole] = [e.text for e in seen if isinstance(e, Log) and "left out, apart" in e.text]
            assert bool(result.left_out) == bool(told[pieces, whole])
    everything = maps["all", ()]
    assert set(in_one_piece(everything)).isdisjoint({2, 3}), "labels 2 and 3 lie in several pieces"
    for whole in ((), (2, 3)):
        assert np.array_equal(maps["all", whole], everything)
        assert np.array_equal(maps["largest", whole], keep_largest_component(everything))
        assert np.array_equal(maps["auto", whole], keep_largest_component(everything, whole))
        assert not told["all", whole]
    assert not told["auto", ()]
    (text,) = told["auto", (2, 3)]
    names = {label.value: label.name for label in card.labels}
    ml = np.prod(sitk.ReadImage(str(image)).GetSpacing()) / 1000
    apart = {v: ml * ((everything == v) & (maps["auto", (2, 3)] != v)).sum() for v in (1, 2, 3)}
    assert f"{names[2]} {apart[2]:.3g} ml, {names[3]} {apart[3]:.3g} ml" in text
    assert text.count(" ml") == 2


def test_timings_have_all_stages(sharp, image, tmp_path):
    told = tmp_path / "timings.json"
    result = run(job(sharp, image, tmp_path / "l.nii.gz", timings=str(told)))
    written = json.loads(told.read_text())
    assert set(STAGES) | {"peak_memory_bytes"} == set(written)
    for stage in ("load", "preprocess", "network", "restore", "write"):
        assert written[stage] > 0, stage
    assert sum(written[s] for s in STAGES if s != "total") <= written["total"] * 1.01 + 1e-3
    assert written["peak_memory_bytes"] > 50e6
    assert result.seconds == {s: written[s] for s in STAGES}


@pytest.mark.parametrize("timings", ["image", "checkpoint", "labels", "old"])
def test_timings_replace_nothing_unasked(sharp, image, tmp_path, timings):
    given = {"image": image, "checkpoint": sharp, "labels": tmp_path / "l.nii.gz", "old": tmp_path / "old.json"}
    (tmp_path / "old.json").write_text("old")
    before = {name: path.read_bytes() for name, path in given.items() if path.exists()}
    with pytest.raises(InputError, match=r"to be read and to be written|written twice|exists already"):
        segment(job(sharp, image, tmp_path / "l.nii.gz", timings=str(given[timings])))
    assert {name: path.read_bytes() for name, path in given.items() if path.exists()} == before


def test_a_volume_unlike_those_of_the_training_is_segmented_with_a_warning(sharp, image, tmp_path):
    def told(path: Path) -> list[str]:
        seen: list[Event] = []
        segment(job(sharp, path, tmp_path / "l.nrrd", overwrite=True), seen.append)
        return [e.text for e in seen if isinstance(e, Log) and e.level == "warning"]

    assert told(image) == []
    made = sitk.ReadImage(str(image))
    sitk.WriteImage(sitk.Cast(made, sitk.sitkInt16) - 1000, str(tmp_path / "ct.nrrd"))
    assert told(tmp_path / "ct.nrrd") == ["ct looks like CT; the model was trained on MR."]
    made.SetSpacing((20.0, 20.0, 50.0))
    sitk.WriteImage(made, str(tmp_path / "thick.nrrd"))
    (warning,) = told(tmp_path / "thick.nrrd")
    assert warning.startswith("Voxels of thick are 20 x 20 x 50 mm; the model was trained on")


def test_a_job_gives_its_threads_back(sharp, image, tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run(job(sharp, image, tmp_path / "l.nrrd", threads=1))
        assert torch.get_num_threads() == 2
        with pytest.raises(InputError):
            run(job(sharp, image, tmp_path / "l.nrrd", threads=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_replaced_checkpoint_is_read_anew(segmenter, sharp, image, tmp_path):
    copied, maps = tmp_path / "copy.safetensors", []
    for source in (sharp, segmenter):
        copied.unlink(missing_ok=True)
        shutil.copy(source, copied)
        segment(job(copied, image, tmp_path / "l.nii.gz", overwrite=True))
        maps.append(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "l.nii.gz"))))
    assert not np.array_equal(*maps)


@pytest.mark.parametrize("value", [255, 65535])
def test_the_largest_values_of_their_type_are_labels_like_others(sharp, image, tmp_path, value):
    """One more than that is 0 in the numbers of the label map."""
    card, weights = load(sharp)
    labels = (*card.labels[:-1], replace(card.labels[-1], value=value))
    save(tmp_path / "large.safetensors", weights, replace(card, labels=labels, one_piece=()))
    segment(job(tmp_path / "large.safetensors", image, tmp_path / "out.nii.gz"))
    segment(job(sharp, image, tmp_path / "usual.nii.gz", pieces="all"))
    large, usual = (reading.read_labels(tmp_path / f"{name}.nii.gz").array for name in ("out", "usual"))
    np.testing.assert_array_equal(large == value, usual == card.labels[-1].value)
    assert (large == value).any()
