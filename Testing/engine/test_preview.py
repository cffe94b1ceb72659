"""The preview: the classifier against hand-computed values, features where the voxels are, the cache, and the job."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from seg_nrrd import IMAGE, layer
from seg_nrrd import write as write_segmentation

import contrastiveseg
from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.starters import starter
from contrastiveseg.descriptions import PreviewJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Log
from contrastiveseg.jobs.run import run
from contrastiveseg.previewing import computing, feature_cache, feature_maps
from contrastiveseg.previewing.classifier import balanced_shares, fit
from contrastiveseg.previewing.feature_maps import FeatureMaps, moments
from contrastiveseg.previewing.job import STAGES, preview
from contrastiveseg.previewing.spreading import class_scores
from contrastiveseg.previewing.strokes import MOST_VOXELS, Strokes, read_strokes
from contrastiveseg.volumes.orientation import canonical_axes
from contrastiveseg.volumes.reading import read_geometry, read_labels, read_volume

STARTER = str(starter("synthetic-labels-3d-tiny"))
SPACING = (0.9, 1.1, 2.0)
#: A direction whose axes are swapped and partly reversed.
TURNED = (0.0, -1.0, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0)


def maps_of(*arrays: np.ndarray, shape=None, groups=None) -> FeatureMaps:
    held = tuple(one.astype(np.float16) for one in arrays)
    extent = held[0].shape[1:]
    return FeatureMaps(held, groups or tuple(range(len(held))), shape or extent, extent, *moments(held))


def test_ridge_against_values_computed_by_hand():
    """Features -1 and 1 with equal shares: covariance 1, and covariance with the indicators -1/2 and 1/2."""
    found = fit(np.array([[-1.0], [1.0]]), np.array([0, 1]), np.array([1.0, 1.0]), 2, penalty=1.0)
    assert found.weights.ravel().tolist() == [-0.25, 0.25]
    assert found.bias.tolist() == [0.5, 0.5]
    # Three quarters of the shares on the second: center 1/2, covariance 3/4; indicators 1/4 and 3/4, with 3/8 between.
    found = fit(np.array([[-1.0], [1.0]]), np.array([0, 1]), np.array([1.0, 3.0]), 2, penalty=0.75)
    assert found.weights.ravel() == pytest.approx([-0.25, 0.25])
    assert found.bias == pytest.approx([0.25 + 0.125, 0.75 - 0.125])


def test_every_class_weighs_the_same_however_much_of_it_is_painted():
    assert balanced_shares(np.array([0, 0, 0, 2])).tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_scores_of_maps_are_those_of_interpolated_features():
    random = np.random.default_rng(0)
    fine, coarse = random.normal(size=(2, 8, 8, 8)), random.normal(size=(3, 4, 4, 4))
    maps = maps_of(fine, coarse, shape=(7, 8, 6))
    weights, bias = random.normal(size=(2, 5)), random.normal(size=2)
    voxels = np.argwhere(np.ones(maps.shape))
    expected = maps.at(voxels, maps.shape) @ weights.T + bias
    assert maps.scores(weights, bias).numpy() == pytest.approx(expected.T.reshape(2, *maps.shape), abs=1e-4)
    assert maps.at(np.array([[3, 4, 5]]), maps.shape)[0, :2] == pytest.approx(fine[:, 3, 4, 5], abs=2e-3)


def test_features_are_read_where_the_voxel_of_a_finer_grid_lies():
    ramp = np.broadcast_to(np.arange(4.0), (1, 2, 2, 4))
    maps = maps_of(ramp)
    # Eight voxels over the same extent: the centers of 2 and 3 lie a quarter beside that of the map's voxel 1.
    assert maps.at(np.array([[0, 0, 2], [0, 0, 3]]), (2, 2, 8)).ravel().tolist() == [0.75, 1.25]


def test_groups_have_a_variance_of_one_in_total():
    random = np.random.default_rng(0)
    maps = maps_of(random.normal(0, 5, (2, 6, 6, 6)), random.normal(0, 2, (1, 6, 6, 6)), groups=(0, 0))
    scaled = np.concatenate([one.reshape(len(one), -1) for one in maps.maps]).astype(float) * maps.scale()[:, None]
    assert scaled.var(1) == pytest.approx([1 / 3] * 3, rel=1e-2)


def test_mean_and_deviation_are_those_over_the_whole_map():
    draw = np.random.default_rng(0)
    held = (draw.normal(3, 2, (4, 7, 8, 9)).astype(np.float16), np.full((1, 5, 5, 5), 0.1, np.float16))
    mean, deviation = moments(held)
    wanted = [one.astype(float).reshape(len(one), -1) for one in held]
    np.testing.assert_allclose(mean, np.concatenate([one.mean(1) for one in wanted]), rtol=1e-6)
    np.testing.assert_allclose(deviation, [*wanted[0].std(1), 1], rtol=1e-6)


def test_a_map_is_brought_to_float32_once_for_a_classifier(monkeypatch):
    found = maps_of(np.random.default_rng(0).normal(size=(2, 4, 4, 4)), np.ones((1, 2, 2, 2)))
    brought: list[int] = []
    original = feature_maps._tensor
    monkeypatch.setattr(feature_maps, "_tensor", lambda one: (brought.append(len(one)), original(one))[1])
    found.at(np.array([[0, 1, 2]]), (4, 4, 4))
    found.scores(np.ones((2, 3)), np.zeros(2))
    assert brought == [2, 1]


def test_a_constant_feature_says_nothing_and_breaks_nothing():
    maps = maps_of(np.stack([np.zeros((6, 6, 6)), np.linspace(0, 1, 216).reshape(6, 6, 6)]))
    voxels = np.array([[0, 0, 0], [5, 5, 5]])
    scores = class_scores(maps, Strokes(voxels, np.array([0, 1]), (1,), (6, 6, 6)))
    assert scores.isfinite().all()
    assert scores[1, 5, 5, 5] > scores[0, 5, 5, 5]


def written(path: Path, array: np.ndarray, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((3.0, -7.0, 11.0))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def scene(tmp_path):
    """A volume with a bright ball, its label map, and strokes on its middle slice: 1 inside, 9 outside."""
    z, y, x = np.indices((20, 26, 30))
    ball = (z - 10) ** 2 + (y - 13) ** 2 + (x - 15) ** 2 < 49
    noise = np.random.default_rng(0).normal(0, 10, ball.shape)
    strokes = np.zeros(ball.shape, np.uint8)
    strokes[10, 13, 9:22] = strokes[10, 8:19, 15] = 1
    strokes[10, 3, 4:26] = 9
    volume = written(tmp_path / "volume.nii.gz", (ball * 200 + noise).astype(np.int16), TURNED)
    return volume, ball, written(tmp_path / "strokes.nii.gz", strokes, TURNED)


def job(volume: Path, strokes: Path, output: Path, **more) -> PreviewJob:
    given = {"checkpoint": STARTER, "background": 9, "cache": str(output.parent / "cache"), "precision": "32"} | more
    return PreviewJob(image=(str(volume),), labels=str(strokes), output=str(output), threads=1, **given)


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def test_two_strokes_find_the_whole_structure_on_the_volumes_own_grid(scene, tmp_path):
    volume, ball, strokes = scene
    result = run(job(volume, strokes, tmp_path / "preview.nii.gz"))
    found = read_labels(tmp_path / "preview.nii.gz", read_geometry(volume)[0])
    assert dice(found.array == 1, ball) > 0.85
    assert set(np.unique(found.array)) == {0, 1}
    assert sitk.ReadImage(result.output).GetDirection() == pytest.approx(TURNED)
    assert result.background
    assert result.computed
    assert tuple(result.seconds) == STAGES


def test_without_painted_background_it_is_assumed_and_told(scene, tmp_path):
    volume, ball, strokes = scene
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(strokes)))
    alone = written(tmp_path / "alone.nii.gz", np.where(array == 9, 0, array), TURNED)
    told = []
    result = preview(job(volume, alone, tmp_path / "preview.nrrd"), told.append)
    assert not result.background
    assert any("No background was painted" in event.text for event in told if isinstance(event, Log))
    assert dice(read_labels(tmp_path / "preview.nrrd").array == 1, ball) > 0.8


def test_the_second_preview_finds_the_features_and_gives_the_same(scene, tmp_path):
    volume, _, strokes = scene
    first = preview(job(volume, strokes, tmp_path / "first.mha"))
    # The same voxels in another file, elsewhere.
    copy = tmp_path / "copy.mha"
    sitk.WriteImage(sitk.ReadImage(str(volume)), str(copy))
    second = preview(job(copy, strokes, tmp_path / "second.mha", uncompressed=True))
    assert (first.computed, second.computed) == (True, False)
    assert np.array_equal(read_volume(tmp_path / "first.mha").array, read_volume(tmp_path / "second.mha").array)
    other = preview(job(volume, strokes, tmp_path / "third.mha", checkpoint=str(starter("macl-3d-tiny"))))
    assert other.computed


@pytest.mark.parametrize("damage", ["cut", "changed", "described", "other", "json"])
def test_damaged_features_are_computed_again(scene, tmp_path, damage):
    volume, _, strokes = scene
    preview(job(volume, strokes, tmp_path / "first.mha"))
    (maps,) = (tmp_path / "cache").glob("*.npy")
    content = maps.read_bytes()
    if damage == "cut":
        maps.write_bytes(content[:-100])
    elif damage == "changed":
        maps.write_bytes(content[:-100] + b"\x01" * 100)
    else:
        described = maps.with_suffix(".json")
        changed = json.loads(described.read_text())
        if damage == "other":
            changed["mean"][0] += 1.0
        else:
            changed["shapes"] = changed["shapes"][:-1]
        described.write_text("{" if damage == "json" else json.dumps(changed))
    assert preview(job(volume, strokes, tmp_path / "second.mha")).computed
    assert maps.read_bytes() == content


def test_the_cache_keeps_within_its_size_and_what_was_used_last(tmp_path, monkeypatch):
    maps = maps_of(np.ones((1, 4, 4, 4)))
    feature_cache.store(tmp_path, "a", maps)
    size = (tmp_path / "a.npy").stat().st_size
    monkeypatch.setattr(feature_cache, "MOST_BYTES", 2 * size)
    feature_cache.store(tmp_path, "b", maps)
    for age, key in enumerate("ab", start=1):
        os.utime(tmp_path / f"{key}.npy", (age, age))
    assert feature_cache.stored(tmp_path, "a") is not None  # used now, so b is the oldest
    feature_cache.store(tmp_path, "c", maps)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.npy", "c.json", "c.npy"]


def test_a_cache_that_cannot_be_written_is_told_and_the_preview_made(scene, tmp_path):
    volume, _, strokes = scene
    (tmp_path / "file").write_text("")
    told = []
    preview(job(volume, strokes, tmp_path / "preview.mha", cache=str(tmp_path / "file")), told.append)
    assert (tmp_path / "preview.mha").is_file()
    warnings = [event.text for event in told if isinstance(event, Log) and event.level == "warning"]
    assert len(warnings) == 1
    assert "not kept" in warnings[0]
    assert "--cache names another folder" in warnings[0]
    assert "[Errno" not in warnings[0]


@pytest.mark.parametrize("orientation", ["RAS", "stored"])
def test_a_network_with_axes_of_its_own_gets_them_and_the_strokes_lie_where_they_were_painted(
    scene, tmp_path, orientation
):
    volume, ball, strokes = scene
    card, weights = load(Path(STARTER))
    conventions = replace(card.plan.conventions, orientation=orientation, resampling="nnunet-cubic", padding="zero")
    checkpoint = tmp_path / "imported.safetensors"
    save(checkpoint, weights, replace(card, plan=replace(card.plan, conventions=conventions)))
    preview(job(volume, strokes, tmp_path / "preview.mha", checkpoint=str(checkpoint)))
    assert dice(read_labels(tmp_path / "preview.mha").array == 1, ball) > 0.85


def test_the_function_stays_a_function_after_its_first_call(scene, tmp_path):
    volume, _, strokes = scene
    for name in ("first.mha", "second.mha"):
        given = {"image": volume, "labels": strokes, "background": 9, "cache": tmp_path / "cache"}
        contrastiveseg.preview(output=tmp_path / name, **given)


def test_a_large_volume_is_worked_on_coarser(scene, tmp_path, monkeypatch):
    volume, ball, strokes = scene
    monkeypatch.setattr(computing, "MOST_NUMBERS", 16 * 4000)
    network = computing.open_network(STARTER, "", 1, "cpu", "32")
    maps = computing.feature_maps(network, read_volume(volume), lambda: False)
    assert 2000 < np.prod(maps.shape) <= 4000
    preview(job(volume, strokes, tmp_path / "preview.mha"))
    assert dice(read_labels(tmp_path / "preview.mha").array == 1, ball) > 0.75


@pytest.mark.parametrize(
    ("thickness", "slices", "expected"),
    [(8.0, 6, (24, 16, 16)), (1.9, 6, (6, 32, 32)), (8.0, 1, (1, 32, 32))],
    ids=["thick", "even", "single"],
)
def test_a_starter_sees_thick_slices_as_cubes_of_the_same_size(thickness, slices, expected):
    network = computing.open_network(STARTER, "", 1, "cpu", "32")
    array = np.random.default_rng(0).normal(size=(slices, 32, 32))
    volume = computing.Volume.from_array(array, (thickness, 1.0, 1.0))
    assert computing.feature_maps(network, volume, lambda: False).shape == expected


def test_a_volume_of_a_few_voxels_is_no_problem(tmp_path):
    volume = written(tmp_path / "volume.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    strokes = np.zeros((3, 4, 5), np.uint8)
    strokes[1, 1, 1], strokes[1, 3, 3] = 1, 9
    preview(job(volume, written(tmp_path / "strokes.nii.gz", strokes), tmp_path / "preview.mha"))
    assert read_labels(tmp_path / "preview.mha").array.shape == (3, 4, 5)


@pytest.mark.parametrize("kind", ["pretrained", "segmenter", "flat"])
def test_any_checkpoint_will_do(kind, request, image, dataset, tmp_path):
    checkpoint = request.getfixturevalue(kind)
    labels = dataset / "labelsTr" / image.name
    result = preview(job(image, labels, tmp_path / "preview.nii.gz", checkpoint=str(checkpoint), background=None))
    found = read_labels(tmp_path / "preview.nii.gz", read_geometry(image)[0]).array
    assert result.computed
    assert set(np.unique(found)) <= {0, 1, 2, 3}
    assert found.any()


@pytest.fixture
def flat(dataset, tmp_path):
    """A checkpoint that works slice by slice."""
    from contrastiveseg.descriptions import PretrainJob
    from contrastiveseg.training.pretrain import pretrain

    path, images = tmp_path / "flat.safetensors", (str(dataset / "imagesTr"),)
    pretrain(PretrainJob(images=images, output=str(path), method="macl", dimensions=2, steps=1, threads=1))
    return path


def test_levels_without_a_learned_decoder_come_from_the_encoder():
    learned = computing.open_network(STARTER, "", 1, "cpu", "32")
    partly = computing.open_network(str(starter("macl-3d-tiny")), "", 1, "cpu", "32")
    assert (learned.blocks, partly.blocks) == (3, 1)
    volume = computing.Volume.from_array(np.random.default_rng(0).normal(size=(16, 16, 16)), (1, 1, 1))
    for network in (learned, partly):
        maps = computing.feature_maps(network, volume, lambda: False)
        assert [one.shape[0] for one in maps.maps] == [64, 32, 16, 1, 1, 1, 1]
        assert [one.shape[1] for one in maps.maps] == [4, 8, 16, 16, 8, 4, 2]
        with torch.inference_mode():
            finest = network.backbone.encode(computing.torch.from_numpy(np.asarray(maps.maps[3], np.float32))[None])[0]
        same = np.allclose(finest[0].numpy(), maps.maps[2].astype(np.float32), atol=2e-2)
        assert same == (network is partly)


def test_a_new_stroke_stops_the_preview_within_the_network(scene, tmp_path):
    volume, _, strokes = scene
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    with pytest.raises(Cancelled):
        preview(job(volume, strokes, tmp_path / "preview.mha"), cancelled=cancelled)
    assert asked == 6
    assert not (tmp_path / "preview.mha").exists()
    assert not (tmp_path / "cache").exists()
    stop = threading.Event()
    assert preview(job(volume, strokes, tmp_path / "preview.mha"), cancelled=stop.is_set).computed


def test_a_segment_named_background_is_background(tmp_path):
    layers = [layer((1, 2, 3), (1, 2, 4)) + layer((3, 3, 3), value=2)]
    path = write_segmentation(tmp_path / "a.seg.nrrd", layers, [("ball", 0, 1), ("Background ", 0, 2)])
    strokes = read_strokes(path, IMAGE, canonical_axes(IMAGE), None)
    assert (strokes.values, strokes.background) == ((1,), True)
    assert strokes.voxels[strokes.classes == 1].tolist() == [[1, 2, 3], [1, 2, 4]]
    assert strokes.voxels[strokes.classes == 0].tolist() == [[3, 3, 3]]


def test_long_strokes_are_thinned_out_evenly(scene, tmp_path):
    volume, _, _ = scene
    array = np.ones((20, 26, 30), np.uint8)
    grid = read_geometry(volume)[0]
    strokes = read_strokes(written(tmp_path / "all.mha", array, TURNED), grid, canonical_axes(grid), None)
    assert len(strokes.voxels) == MOST_VOXELS
    assert strokes.voxels.min(0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("painted", [0, 9])
def test_without_a_stroke_of_a_structure_nothing_is_guessed(scene, tmp_path, painted):
    volume, _, _ = scene
    array = np.zeros((20, 26, 30), np.uint8)
    array[3, 3, 3] = painted
    with pytest.raises(InputError, match="No structure is painted"):
        preview(job(volume, written(tmp_path / "none.mha", array, TURNED), tmp_path / "preview.mha"))


def test_an_output_that_is_there_is_kept(scene, tmp_path):
    volume, _, strokes = scene
    (tmp_path / "preview.mha").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        preview(job(volume, strokes, tmp_path / "preview.mha"))
    with pytest.raises(InputError, match="read and to be written"):
        preview(job(volume, strokes, strokes, overwrite=True))
