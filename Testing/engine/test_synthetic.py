"""Synthetic subjects: reproducible, varied, in the body, and alike at the same normalized position."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.errors import InputError
from contrastiveseg.synthetic.anatomy import LABEL_NAMES
from contrastiveseg.synthetic.dataset import write_dataset
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.synthetic.subject import structures, synthesize

SMALL = SyntheticSettings(size=(24, 32, 32))


def test_a_seed_gives_the_same_bytes_and_another_seed_another_subject():
    first, labels = synthesize(7, SMALL)
    again, labels_again = synthesize(7, SMALL)
    other, other_labels = synthesize(8, SMALL)
    assert first.array.tobytes() == again.array.tobytes()
    assert labels.array.tobytes() == labels_again.array.tobytes()
    assert not np.array_equal(first.array, other.array)
    assert not np.array_equal(labels.array, other_labels.array)


def test_types_and_geometry_follow_the_settings():
    settings = SyntheticSettings(size=(20, 30, 40), spacing=(3.0, 2.0, 1.0))
    volume, labels = synthesize(1, settings)
    assert volume.array.dtype == np.int16
    assert labels.array.dtype == np.uint8
    assert volume.array.shape == (1, 20, 30, 40)
    assert volume.geometry.shape == labels.array.shape == (20, 30, 40)
    assert volume.geometry.spacing_zyx == (3.0, 2.0, 1.0)
    assert volume.geometry == labels.geometry


@pytest.mark.parametrize("contrast", ["T1", "T2", "LGE", "cine", "CT", "random"])
def test_every_kept_label_is_there_and_no_other(contrast):
    for seed in range(3):
        labels = synthesize(seed, SyntheticSettings(contrast=contrast, size=(32, 48, 48)))[1].array
        assert set(np.unique(labels)) == {0, 1, 2, 3}
    everything = synthesize(0, SyntheticSettings(contrast=contrast, size=(32, 48, 48), labels=len(LABEL_NAMES)))[1]
    assert set(np.unique(everything.array)) == {0, 1, 2, 3, 4, 5, 6, 7}


def test_the_head_shows_hippocampi_on_both_sides():
    labels = synthesize(2, SyntheticSettings(region="head", size=(40, 48, 48), labels=9))[1].array == 8
    assert labels[:, :, :24].sum() > 20
    assert labels[:, :, 24:].sum() > 20


def test_the_knee_shows_its_bones_and_cartilage():
    labels = synthesize(2, SyntheticSettings(region="knee", size=(40, 48, 48), labels=13))[1].array
    counts = np.bincount(labels.ravel(), minlength=14)
    assert set(np.flatnonzero(counts)) == {0, 10, 11, 12, 13}
    assert counts[10] > counts[12] > 100
    # Cartilage lies on the ends of the bones: between femur and tibia.
    heights = [np.nonzero(labels == value)[0].mean() for value in (11, 13, 10)]
    assert heights == sorted(heights)


def test_labels_lie_in_the_body():
    settings = SyntheticSettings(contrast="CT", noise=0.02, size=(32, 48, 48))
    volume, labels = synthesize(3, settings)
    assert volume.array[0][labels.array > 0].mean() > 0
    edge = np.ones(labels.array.shape, bool)
    edge[:, 3:-3, 3:-3] = False
    assert not labels.array[edge].any()
    assert volume.array[0][edge].mean() < -600


def test_thick_slices_are_blurred_across_and_not_within():
    quiet = {"size": (24, 48, 48), "noise": 0.0, "texture": 0.0, "bias": 0.0, "contrast": "CT"}
    thin = synthesize(5, SyntheticSettings(spacing=(4.0, 4.0, 4.0), **quiet))[0].array
    thick = synthesize(5, SyntheticSettings(spacing=(16.0, 4.0, 4.0), **quiet))[0].array
    # Averaging over a slice's thickness makes values between those of the tissues.
    assert len(np.unique(thick // 20)) >= len(np.unique(thin // 20))
    assert np.abs(np.diff(thick.astype(float), axis=1)).mean() < np.abs(np.diff(thin.astype(float), axis=1)).mean()


def test_intensity_scale_differs_from_subject_to_subject_on_mr_and_not_on_ct():
    mr = [np.percentile(synthesize(s, SMALL)[0].array, 99) for s in range(6)]
    ct = [
        np.percentile(synthesize(s, SyntheticSettings(size=(24, 32, 32), contrast="CT"))[0].array, 50) for s in range(6)
    ]
    assert max(mr) > 2 * min(mr)
    assert max(ct) - min(ct) < 300


def test_the_same_position_is_the_same_anatomy():
    settings = SyntheticSettings(size=(24, 32, 32), labels=7)
    maps = [synthesize(s, settings)[1].array for s in range(6)]
    agreement, chance = [], []
    for i, first in enumerate(maps):
        for second in maps[:i]:
            either = (first > 0) | (second > 0)
            agreement.append((first == second)[either].mean())
            shares = [np.bincount(m.ravel(), minlength=8) / m.size for m in (first, second)]
            chance.append((shares[0] * shares[1])[1:].sum() / (1 - shares[0][0] * shares[1][0]))
    assert np.mean(agreement) > 0.5
    assert np.mean(agreement) > 5 * np.mean(chance)
    assert np.mean(agreement) < 0.95


def test_a_dataset_is_written_with_both_formats_keys(tmp_path):
    write_dataset(tmp_path, 3, 10, SMALL, labeled=2)
    description = json.loads((tmp_path / "dataset.json").read_text())
    assert description["numTraining"] == 3
    assert description["labels"] == {"background": 0, "chamber": 1, "chamber wall": 2, "kidney": 3}
    assert [("label" in entry) for entry in description["training"]] == [True, True, False]
    assert sorted(p.name for p in (tmp_path / "labelsTr").iterdir()) == [
        "synthetic_00010.nii.gz",
        "synthetic_00011.nii.gz",
    ]
    image = sitk.ReadImage(str(tmp_path / description["training"][2]["image"]))
    volume, _ = synthesize(12, SMALL)
    assert image.GetPixelID() == sitk.sitkInt16
    assert image.GetSpacing() == pytest.approx(volume.geometry.spacing)
    assert image.GetOrigin() == pytest.approx(volume.geometry.origin)
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.array[0])


@pytest.mark.parametrize("change", [{"labels": 0}, {"labels": 99}, {"zoom": 0.0}, {"size": (4, 32, 32)}])
def test_settings_that_cannot_be_imaged_are_refused(change):
    with pytest.raises(InputError):
        SyntheticSettings(**change)


def test_more_labels_than_cases_are_refused(tmp_path):
    with pytest.raises(InputError):
        write_dataset(tmp_path, 2, 0, SMALL, labeled=3)


@pytest.mark.parametrize("region", ["torso", "heart", "head", "temporal"])
def test_structures_tell_every_tissue_of_every_organ_apart(region):
    settings = SyntheticSettings(region=region, size=(32, 40, 40), spacing=(1.5, 1.5, 1.5), labels=9)
    made, again = structures(4, settings), structures(4, settings)
    assert made.array.tobytes() == again.array.tobytes()
    assert made.array.dtype == np.int16
    assert made.array.min() > 0
    assert made.geometry.shape == made.array.shape
    # Each is a part of one label of the same subject, and there are more of them.
    labels = synthesize(4, settings)[1].array
    for value in np.unique(made.array):
        assert len(np.unique(labels[made.array == value])) == 1
    assert len(np.unique(made.array)) > len(np.unique(labels))
    assert len(np.unique(made.array)) >= 6


def test_the_chambers_and_the_kidneys_of_structures():
    settings = SyntheticSettings(size=(48, 48, 48), labels=9)
    made, labels = structures(4, settings).array, synthesize(4, settings)[1].array
    chamber, kidney = np.unique(made[labels == 1]), np.unique(made[labels == 3])
    assert not set(chamber) & set(made[labels != 1]), "the left ventricle is not the atrium, though both are blood"
    # Cortex and medulla; left and right are one.
    left, right = labels[..., 24:] == 3, labels[..., :24] == 3
    assert set(np.unique(made[..., 24:][left])) == set(np.unique(made[..., :24][right])) == set(kidney)
    assert len(kidney) == 2
