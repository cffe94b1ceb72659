"""What to label next: novelty and uncertainty, one of each kind before the second of any, and where to look."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from contrastiveseg.descriptions import PretrainJob, RankJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Event, Log, Progress
from contrastiveseg.jobs.run import run
from contrastiveseg.segmentation import features
from contrastiveseg.segmentation.rank import order, rank
from contrastiveseg.segmentation.slices_to_label import phase_of, slice_profile, spread_slices
from contrastiveseg.serialization import to_json
from contrastiveseg.training.pretrain import pretrain
from contrastiveseg.volumes.itk import geometry_of
from contrastiveseg.volumes.orientation import canonical_axes
from contrastiveseg.volumes.resample import resample_image

OBLIQUE = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)


def job(checkpoint: Path, volumes, **more) -> RankJob:
    given = {"threads": 1, "precision": "32"} | more
    volumes = volumes if isinstance(volumes, list) else [volumes]
    return RankJob(checkpoint=str(checkpoint), input=tuple(map(str, volumes)), **given)


def names(result: dict) -> list[str]:
    return [case.name for case in result.cases]


def test_the_list_is_diverse():
    """Two groups of ten alike volumes, one labeled in neither: a member of each comes before the second of any."""
    random = np.random.default_rng(0)
    groups = np.array([[10.0, 0.0, 5.0], [0.0, 10.0, 5.0]])
    features = np.concatenate([group + random.normal(0, 0.1, (10, 3)) for group in groups])
    placed = order(features, np.array([[0.0, 0.0, 5.0]]), None)
    first = [index // 10 for index, _, _ in placed[:2]]
    assert sorted(first) == [0, 1]
    assert sorted(index for index, _, _ in placed) == list(range(20))
    assert placed[0][1] > placed[1][1] > 5 * placed[2][1]


def test_scores_fall_along_the_list_and_stay_within_0_and_1():
    random = np.random.default_rng(1)
    for labeled in (0, 1, 5):
        for uncertainty in (None, random.random(12)):
            placed = order(random.normal(size=(12, 8)), random.normal(size=(labeled, 8)), uncertainty)
            scores = [score for _, score, _ in placed]
            assert scores == sorted(scores, reverse=True)
            assert 0 <= min(scores) <= max(scores) <= 1
            assert all(0 <= novelty <= 1 for _, _, novelty in placed)


def test_what_is_labeled_already_comes_last_and_uncertainty_breaks_the_tie():
    labeled = np.array([[0.0, 0.0], [1.0, 1.0]])
    features = np.array([[1.0, 1.0], [0.0, 3.0], [3.0, 0.0], [0.0, 0.0]])
    assert [i for i, _, _ in order(features, labeled, np.array([0.1, 0.2, 0.3, 0.0]))] == [2, 1, 0, 3]
    placed = order(features, labeled, None)
    assert {i for i, _, _ in placed[:2]} == {1, 2}
    assert [novelty for _, _, novelty in placed[2:]] == [0, 0]


def test_with_nothing_labeled_the_most_uncertain_or_else_the_most_typical_comes_first():
    features = np.array([[0.0], [1.0], [2.0], [9.0]])
    none = np.empty((0, 1))
    assert order(features, none, np.array([0.1, 0.4, 0.2, 0.3]))[0][0] == 1
    assert order(features, none, None)[0][0] in (1, 2)
    assert order(features, none, None)[1][0] == 3
    assert order(features[:1], none, np.array([0.5])) == [(0, 1.0, 1.0)]
    assert [s for _, s, _ in order(np.ones((3, 2)), np.ones((1, 2)), None)] == [0, 0, 0]


def test_the_volume_unlike_the_labeled_ones_comes_first(pretrained, dataset, tmp_path):
    images = sorted((dataset / "imagesTr").iterdir())
    copies = tmp_path / "copies"
    copies.mkdir()
    for index in (2, 3):
        shutil.copy(images[index], copies / f"copy_{index}.nii.gz")
    noise = sitk.GetImageFromArray(np.random.default_rng(0).normal(0, 100, (12, 16, 16)).astype(np.float32))
    noise.CopyInformation(sitk.ReadImage(str(images[0])))
    sitk.WriteImage(noise, str(tmp_path / "noise.nii.gz"))
    labeled = tuple(map(str, images))
    result = rank(job(pretrained, [copies, tmp_path / "noise.nii.gz"], labeled=labeled))
    assert names(result)[0] == "noise"
    assert [case.uncertainty for case in result.cases] == [None] * 3
    assert [case.novelty for case in result.cases[1:]] == pytest.approx([0, 0], abs=1e-3)
    # Where nothing is known of labels the middle is shown.
    assert result.cases[0].slice[1] in (6, 8)


def test_the_result_is_written_and_told(sharp, dataset, tmp_path):
    output, seen = tmp_path / "next.json", []
    given = job(sharp, dataset / "imagesTr", output=str(output))
    result = run(given, seen.append)
    assert len(result.cases) == 4
    for case in result.cases:
        assert set(to_json(case)) == {"name", "score", "uncertainty", "novelty", "slice", "world", "slices"}
        assert 0 < case.uncertainty < 1
    assert json.loads(output.read_text())["cases"] == to_json(result.cases)
    told = [e.text for e in seen if isinstance(e, Log)]
    assert told[0].startswith(f"1. {names(result)[0]}: score")
    assert [e.done for e in seen if isinstance(e, Progress)][-1] == 4
    with pytest.raises(InputError, match="exists already"):
        rank(given)


def test_one_bad_file_is_named_and_the_rest_is_ranked(sharp, dataset, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(dataset / "imagesTr", folder)
    (folder / "synthetic_00001.nii.gz").write_bytes(b"")
    result = rank(job(sharp, folder))
    assert sorted(names(result)) == [f"synthetic_0000{i}" for i in (0, 2, 3)]
    assert result.failures[0].input.endswith("synthetic_00001.nii.gz")
    with pytest.raises(InputError, match="None of the 1 volumes could be ranked"):
        rank(job(sharp, folder / "synthetic_00001.nii.gz"))


def test_of_a_data_set_only_volumes_with_a_label_map_count_as_labeled(sharp, dataset, tmp_path):
    images, labels = (sorted((dataset / folder).glob("*.nii.gz")) for folder in ("imagesTr", "labelsTr"))
    entries = [{"image": str(image)} for image in images]
    for entry, label in zip(entries[:2], labels, strict=False):
        entry["label"] = str(label)
    (tmp_path / "cases.json").write_text(json.dumps(entries))
    seen: list[Event] = []
    result = rank(job(sharp, dataset / "imagesTr", labeled=(str(tmp_path / "cases.json"),)), seen.append)
    assert sorted(names(result)) == ["synthetic_00002", "synthetic_00003"]
    assert Log("2 of 4 volumes of --labeled have a label map; the others do not count.") in seen


def test_labeled_volumes_are_not_ranked(sharp, dataset):
    images = sorted(map(str, (dataset / "imagesTr").iterdir()))
    result = rank(job(sharp, dataset / "imagesTr", labeled=tuple(images[:3])))
    assert names(result) == ["synthetic_00003"]
    with pytest.raises(InputError, match="nothing left to label"):
        rank(job(sharp, dataset / "imagesTr", labeled=tuple(images)))


@pytest.mark.parametrize("output", ["scan.nii.gz", "known.nii.gz", "list.json", "dataset.json", "sharp.safetensors"])
def test_what_is_read_is_not_replaced(sharp, image, tmp_path, output):
    for name in ("scan.nii.gz", "known.nii.gz"):
        shutil.copy(image, tmp_path / name)
    (tmp_path / "list.json").write_text('[{"image": "scan.nii.gz"}]')
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "MR"}}')
    checkpoint, target = shutil.copy(sharp, tmp_path / "sharp.safetensors"), tmp_path / output
    before = target.read_bytes()
    given = {"labeled": (str(tmp_path / "known.nii.gz"),), "output": str(target), "overwrite": True}
    with pytest.raises(InputError, match="is to be read and to be written"):
        rank(job(checkpoint, tmp_path / "list.json", **given))
    assert target.read_bytes() == before


def test_cancelling_writes_nothing(sharp, dataset, tmp_path):
    seen: list[Event] = []
    with pytest.raises(Cancelled, match="Nothing was written"):
        rank(
            job(sharp, dataset / "imagesTr", output=str(tmp_path / "next.json")),
            seen.append,
            lambda: any(isinstance(e, Progress) and e.done >= 1 for e in seen),
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("direction", [np.eye(3).ravel(), OBLIQUE, (0, 0, -1, -1, 0, 0, 0, 1, 0)])
def test_the_place_is_the_most_uncertain_one_of_the_stored_array(sharp, image, tmp_path, direction, monkeypatch):
    """Entropy is set by hand: a cube around one voxel of the stored volume, whatever its orientation."""
    made = sitk.ReadImage(str(image))
    made.SetSpacing((20.0, 21.0, 25.0))
    made.SetOrigin((5.0, -3.0, 1e2))
    made.SetDirection([float(v) for v in direction])
    sitk.WriteImage(made, str(tmp_path / "a.nrrd"))
    wanted = (4, 9, 3)
    cube = np.zeros((1, 12, 16, 16), np.float32)
    cube[0, 2:7, 7:12, 1:6] = 1

    def uncertain_region(logits):
        there = resample_image(canonical_axes(geometry_of(made)).apply(cube), logits.shape[1:])[0]
        return there >= 0, there

    monkeypatch.setattr(features, "_uncertain_region", uncertain_region)
    (case,) = rank(job(sharp, tmp_path / "a.nrrd")).cases
    axis, index = case.slice
    assert axis == 0  # the thickest slices, 25 mm
    place = np.array(made.TransformPhysicalPointToContinuousIndex(case.world))[::-1]
    assert place[0] == pytest.approx(index)
    assert np.abs(place - wanted)[1:].max() <= 1
    assert abs(index - wanted[0]) <= 2  # the cube's slices are all alike


def test_uncertainty_does_not_fall_with_the_empty_space_around():
    logits = torch.full((3, 10, 10, 10), -20.0)
    logits[0] = 20
    logits[:, 4:6, 4:6, 4:6] = torch.tensor([0.0, 1.0, -20.0])[:, None, None, None]
    wide = torch.full((3, 30, 30, 30), -20.0)
    wide[0] = 20
    wide[:, 10:20, 10:20, 10:20] = logits
    small, large = (entropy[region].mean() for region, entropy in map(features._uncertain_region, (logits, wide)))
    assert small == pytest.approx(large, rel=1e-5)
    # Nothing found: the most doubtful voxels speak.
    logits[1] -= 2
    region, entropy = features._uncertain_region(logits)
    assert region.sum() == 11
    assert entropy[region].mean() > 0.1


def test_a_starter_takes_spacing_and_channels_from_the_volumes(dataset, tmp_path):
    starter = tmp_path / "starter.safetensors"
    given = PretrainJob(
        images=(str(dataset / "imagesTr"),), output=str(starter), steps=1, precision="32", threads=1, generic=True
    )
    pretrain(given)
    folder = tmp_path / "two"
    folder.mkdir()
    for path in (dataset / "imagesTr").iterdir():
        for channel in (0, 1):
            shutil.copy(path, folder / path.name.replace(".nii.gz", f"_000{channel}.nii.gz"))
    result = rank(job(starter, folder))
    assert sorted(names(result)) == [f"synthetic_0000{i}" for i in range(4)]


def test_positions_are_those_of_the_files_reader():
    image = sitk.Image((4, 5, 6), sitk.sitkUInt8)
    image.SetSpacing((1.5, 2.5, 3.5))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection(OBLIQUE)
    assert geometry_of(image).position((5, 2, 1)) == pytest.approx(image.TransformIndexToPhysicalPoint((1, 2, 5)))


# A few slices of a volume


def test_slices_are_evenly_spread_over_an_even_profile():
    assert spread_slices(np.full(25, 1 / 25), 5) == (2, 7, 12, 17, 22)
    assert spread_slices(np.full(25, 1 / 25), 1) == (12,)
    assert spread_slices(np.full(3, 1 / 3), 9) == (0, 1, 2)


def test_slices_lie_closer_where_there_is_more_uncertainty():
    entropy, region = np.full((20, 4, 4), 0.1), np.zeros((20, 4, 4), bool)
    region[2:18] = True
    even = spread_slices(slice_profile(entropy, region, 0), 8)
    assert even == (3, 5, 7, 9, 11, 13, 15, 17)
    entropy[12:18] = 0.9
    later = spread_slices(slice_profile(entropy, region, 0), 8)
    assert sum(index >= 12 for index in later) > 3
    assert min(later) >= 2
    assert max(later) < 18
    # Without any uncertainty the slices that the region reaches count alike.
    assert spread_slices(slice_profile(0 * entropy, region, 0), 8) == even


@pytest.mark.parametrize(("direction", "axis", "size"), [("axial", 0, 12), ("coronal", 1, 16), ("sagittal", 2, 16)])
def test_the_list_names_slices_in_the_wanted_direction(segmenter, dataset, direction, axis, size):
    lines: list[str] = []
    wanted = job(segmenter, dataset / "imagesTr", direction=direction, slices=3)
    result = rank(wanted, lambda event: lines.append(getattr(event, "text", "")))
    for case in result.cases:
        assert case.slice[0] == axis
        assert case.slices == tuple(sorted(set(case.slices)))
        assert 1 <= len(case.slices) <= 3
        assert set(case.slices) <= set(range(size))
        (line,) = [line for line in lines if f" {case.name}: " in line]
        assert f"{direction} slice {case.slice[1]} first (at " in line
        assert line.endswith(f"or a few: {', '.join(map(str, case.slices))}")


def test_a_few_slices_of_each_volume_show_all_of_a_structure():
    profile = np.full(20, 1 / 20)
    chosen = [spread_slices(profile, 2, phase=phase_of(volume)) for volume in range(5)]
    assert len({index for slices in chosen for index in slices}) == 10
    assert all(second - first == 10 for first, second in chosen)
    assert spread_slices(profile, 1, phase=0) == (0,)
    assert spread_slices(profile, 1, phase=1) == (19,)


def test_slices_that_are_labeled_are_not_named_again():
    profile = np.full(25, 1 / 25)
    assert spread_slices(profile, 2, labeled=(12,)) == (4, 20)
    assert 12 not in spread_slices(profile, 24, labeled=(12,))
    assert spread_slices(np.eye(5)[2], 3, labeled=(2,)) == ()


def test_a_list_says_which_slices_are_labeled(segmenter, dataset, tmp_path):
    image = dataset / "imagesTr" / "synthetic_00000.nii.gz"
    like = sitk.ReadImage(str(image))
    strokes = np.zeros(like.GetSize()[::-1], np.uint8)
    strokes[:, [5, 9], 3:8] = 1
    label = sitk.GetImageFromArray(strokes)
    label.CopyInformation(like)
    sitk.WriteImage(label, str(tmp_path / "strokes.nii.gz"))
    entry = {"image": str(image), "label": "strokes.nii.gz", "labeled_part": "slices"}
    (tmp_path / "list.json").write_text(json.dumps([entry]))
    (case,) = rank(job(segmenter, tmp_path / "list.json", slices=3)).cases
    assert case.slice[0] == 1
    assert case.slices
    assert not {5, 9} & set(case.slices)
