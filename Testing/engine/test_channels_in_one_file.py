"""The volumes of a 4D file are channels where as many are declared or expected, and a series of volumes elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.descriptions import FinetuneJob, QualityJob, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.jobs.run import run
from contrastiveseg.volumes.dataset import find_cases
from contrastiveseg.volumes.reading import read_channels, read_geometry, read_labels, read_volume

SHAPE = (12, 16, 16)


def four(path: Path, *arrays: np.ndarray) -> Path:
    """The ``arrays`` (z, y, x), one behind the other in one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(a.astype(np.int16)) for a in arrays]), str(path))
    return path


def random(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 500, SHAPE)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_as_many_volumes_as_channels_are_expected(tmp_path, ending):
    path = four(tmp_path / f"p{ending}", random(0), random(1))
    np.testing.assert_array_equal(read_volume(path, 2).array, [random(0), random(1)])
    np.testing.assert_array_equal(read_channels([path], 2).array, read_volume(path, 2).array)
    assert read_geometry(path, 2) == (read_volume(path, 2).geometry, 2)
    for expected, words in ((1, "series of 2 volumes"), (3, r"not one volume, where 3 channels are expected")):
        with pytest.raises(InputError, match=words):
            read_geometry(path, expected)
        with pytest.raises(InputError, match=words):
            read_volume(path, expected)
    with pytest.raises(InputError, match="series of 2 volumes"):
        read_labels(path)


def test_volumes_of_vectors_are_no_channels(tmp_path):
    vectors = np.stack([random(0), random(1)], -1).astype(np.int16)
    image = sitk.JoinSeries([sitk.GetImageFromArray(vectors, isVector=True)] * 2)
    for ending in (".nii.gz", ".nrrd"):
        sitk.WriteImage(image, str(tmp_path / f"v{ending}"))
        with pytest.raises(InputError, match="series of 2 volumes"):
            read_volume(tmp_path / f"v{ending}", 2)


def decathlon(folder: Path, modality: dict[str, str]) -> Path:
    label = sitk.GetImageFromArray((random(0) > 250).astype(np.uint8))
    pairs = []
    for name in ("a", "b"):
        image = four(folder / f"imagesTr/{name}.nii.gz", random(0), 500 - random(0))
        (folder / "labelsTr").mkdir(exist_ok=True)
        sitk.WriteImage(label, str(folder / f"labelsTr/{name}.nii.gz"))
        pairs.append({"image": f"./imagesTr/{image.name}", "label": f"./labelsTr/{name}.nii.gz"})
    described = {"modality": modality, "labels": {"0": "background", "1": "bright"}, "training": pairs}
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder / "dataset.json"


def fine_tuned(images: Path, output: Path) -> Path:
    job = FinetuneJob(
        images=(str(images),), output=str(output), checkpoint="none", steps=2, size="tiny", precision="32", threads=1
    )
    run(job)
    return output


def test_a_data_set_that_names_its_channels_is_learned_and_segmented(tmp_path):
    described = decathlon(tmp_path / "data", {"0": "T2", "1": "ADC"})
    model = fine_tuned(described, tmp_path / "m.safetensors")
    assert [channel.name for channel in read_card(model).plan.channels] == ["T2", "ADC"]
    said: list[str] = []
    image = tmp_path / "data/imagesTr/a.nii.gz"
    job = SegmentJob(checkpoint=str(model), input=(str(image),), output=str(tmp_path / "out.nii.gz"), threads=1)
    run(job, lambda event: said.append(getattr(event, "text", "")))
    assert read_labels(tmp_path / "out.nii.gz").array.shape == SHAPE
    assert any("a: its one file is read as the channels T2, ADC" in text for text in said)
    series = four(tmp_path / "time.nii.gz", random(0), random(1), random(2))
    job = SegmentJob(checkpoint=str(model), input=(str(series),), output=str(tmp_path / "no.nii.gz"), threads=1)
    with pytest.raises(InputError, match=r"series of 3 volumes.*2 channels are expected"):
        run(job)


def test_segmentations_of_such_files_are_sorted_by_doubt(tmp_path):
    described = decathlon(tmp_path / "data", {"0": "T2", "1": "ADC"})
    model = fine_tuned(described, tmp_path / "m.safetensors")
    images, labels = str(tmp_path / "data/imagesTr"), str(tmp_path / "data/labelsTr")
    by_card = QualityJob(input=(images,), segmentations=labels, checkpoint=str(model), html=str(tmp_path / "q.html"))
    by_declaration = QualityJob(input=(str(described),), segmentations=labels)
    for job in (by_card, by_declaration):
        result = run(job)
        assert sorted(case.name for case in result.cases) == ["a", "b"]
        assert not result.failures
    described.unlink()
    with pytest.raises(InputError, match="series of 2 volumes"):
        run(QualityJob(input=(images,), segmentations=labels))


def test_without_names_it_is_a_series(tmp_path):
    described = decathlon(tmp_path / "data", {"0": "MRI"})
    with pytest.raises(InputError, match=r"series of 2 volumes.*name all of them in the channel_names"):
        fine_tuned(described, tmp_path / "m.safetensors")
    pairs = json.loads(described.read_text())["training"]
    described.with_name("list.json").write_text(json.dumps(pairs))
    described.unlink()
    with pytest.raises(InputError, match=r"series of 2 volumes.*name all of them in the channel_names"):
        fine_tuned(described.with_name("list.json"), tmp_path / "m.safetensors")


def test_files_are_named_after_the_declared_channels(tmp_path):
    names = {"channel_names": {"0": "T2", "1": "ADC"}}
    (tmp_path / "dataset.json").write_text(json.dumps(names))
    for folder, files in {
        "imagesTs": ("p_1-adc.nii.gz", "p_1-T2.nii.gz", "q_T2.nii.gz", "q_ADC.nii.gz"),
        "patients/p": ("T2.nii.gz", "adc.nii.gz", "segmentation.nii.gz"),
        "patients/q": ("q_t2.nii.gz", "q_adc.nii.gz"),
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        for file in files:
            (tmp_path / folder / file).write_bytes(b"x")
    flat = find_cases([tmp_path / "imagesTs"])
    assert {c.name: [i.name for i in c.images] for c in flat} == {
        "p_1": ["p_1-T2.nii.gz", "p_1-adc.nii.gz"],
        "q": ["q_T2.nii.gz", "q_ADC.nii.gz"],
    }
    (tmp_path / "imagesTs/q_ADC.nii.gz").unlink()
    with pytest.raises(InputError, match=r"Case \S+ has \d channel file"):
        find_cases([tmp_path / "imagesTs"])
    p, q = find_cases([tmp_path / "patients"])
    assert [i.name for i in p.images] == ["T2.nii.gz", "adc.nii.gz"]
    assert p.labels == tmp_path / "patients/p/segmentation.nii.gz"
    assert [i.name for i in q.images] == ["q_t2.nii.gz", "q_adc.nii.gz"]
