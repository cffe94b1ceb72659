"""How far a volume is from the training: by hand, from a network's maps, and from the checkpoint to the tables."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from contrastiveseg.checkpoints.card import check_card
from contrastiveseg.checkpoints.familiarity import FAR, Familiarity
from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.descriptions import FinetuneJob, QualityJob, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.events import Event, Log
from contrastiveseg.jobs.run import run
from contrastiveseg.segmentation.predictor import Predictor
from contrastiveseg.segmentation.tile_features import TileFeatures, moments, over_tiles
from contrastiveseg.segmentation.tiles import fit_tiles, thinned
from contrastiveseg.training import familiarity
from contrastiveseg.volumes.origin import read_distance, read_origin, with_distance
from contrastiveseg.volumes.reading import read_volume
from contrastiveseg.volumes.volume import Volume
from contrastiveseg.volumes.writing import write_labels


def job(checkpoint: Path, image: Path, output: Path, **more) -> SegmentJob:
    given = {"threads": 1, "precision": "32"} | more
    return SegmentJob(checkpoint=str(checkpoint), input=(str(image),), output=str(output), **given)


def warnings(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Log) and event.level == "warning"]


def test_the_distance_is_a_mean_over_channels_then_over_levels():
    known = Familiarity(4, ((0.0, 0.0), (1.0, 1.0, 1.0, 1.0)), (0.5, 0.1))
    # Level 0: sqrt((3² + 4²) / 2) / 0.5; level 1: 0.2 / 0.1.
    expected = math.sqrt(((25 / 2) / 0.25 + 4) / 2)
    assert known.distance([[3.0, 4.0], [1.2, 0.8, 1.2, 0.8]]) == pytest.approx(expected)
    assert known.distance([[0.0, 0.0], [1.0] * 4]) == 0


@pytest.mark.parametrize("levels", [[], [[1.0, 2.0]], [[1.0, 2.0], [1.0] * 3], [[1.0, math.nan], [1.0] * 4]])
def test_features_of_another_network_have_no_distance(levels):
    assert Familiarity(4, ((0.0, 0.0), (1.0, 1.0, 1.0, 1.0)), (0.5, 0.1)).distance(levels) is None


def test_cases_are_1_from_the_others_on_average():
    random = np.random.default_rng(0)
    cases = [[random.normal(0, deviation, 200).tolist() for deviation in (0.5, 5.0)] for _ in range(40)]
    further = [[random.normal(0, deviation, 200).tolist() for deviation in (0.5, 5.0)] for _ in range(40)]
    known = familiarity.summarized(cases[:20])
    assert known.cases == 20
    assert np.mean([known.distance(case) for case in further]) == pytest.approx(1, abs=0.05)


def test_of_a_single_case_the_usual_deviation_is_assumed_and_more():
    known = familiarity.summarized([[[0.25, 0.5]]])
    assert known.center == ((0.25, 0.5),)
    assert known.spread == pytest.approx((1.25 * math.sqrt(2) * 0.015,), rel=1e-3)
    # Of equal cases alike: a spread of 0 would make everything far.
    assert familiarity.summarized([[[0.25, 0.5]]] * 4).spread == pytest.approx((0.015 / 2 * math.sqrt(1.25),), rel=1e-3)


def test_features_are_moments_of_the_whole_pyramid_over_all_tiles(sharp, image):
    predictor = Predictor.open(sharp, "cpu", None)
    prepared = predictor.prepare(read_volume(image))
    tiles, network = torch.stack([prepared, prepared.flip(1)]), predictor.network
    found = TileFeatures()
    with found.of(network), torch.inference_mode():
        network(tiles[:1])
        network(tiles[1:])
    with torch.inference_mode():
        below, *skips = network.backbone.encode(tiles)[::-1]
        made = network.backbone.decode([*skips[::-1], below])
    pyramid = [below, *(one for pair in zip(skips, made, strict=True) for one in pair)]
    levels = found.levels()
    assert len(levels) == len(pyramid)
    for level, maps in zip(levels, pyramid, strict=True):
        mean, deviation = maps.mean((0, 2, 3, 4)), maps.std((0, 2, 3, 4), correction=0)
        np.testing.assert_allclose(level, torch.cat([mean, deviation]), atol=1e-4)
    network(tiles[:1])
    assert found.levels() == levels, "outside nothing is read"
    assert TileFeatures().levels() == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("shape", "step"), [((8, 6, 8, 10), 1), ((40, 5, 7, 9), 1), ((8, 40, 48, 48), 2)])
def test_moments_are_those_of_the_voxels_however_maps_lie(shape, step, layout, dtype):
    random = torch.Generator().manual_seed(0)
    calls = [torch.randn(count, *shape, generator=random).relu().to(dtype) for count in (2, 1)]
    mean, deviation = over_tiles([moments(maps.to(memory_format=layout)) for maps in calls])
    voxels = torch.cat(calls).double()[:, :, ::step, ::step, ::step].transpose(0, 1).flatten(1)
    np.testing.assert_allclose(mean, voxels.mean(1), atol=1e-6)
    np.testing.assert_allclose(deviation, voxels.std(1, correction=0), atol=1e-5)


def test_mirrored_copies_do_not_count(sharp, image):
    predictor = Predictor.open(sharp, "cpu", None)
    prepared = predictor.prepare(read_volume(image))
    plain, mirrored = TileFeatures(), TileFeatures()
    predictor.logits(prepared, features=plain)
    predictor.logits(prepared, mirror=True, features=mirrored)
    assert plain.levels() == mirrored.levels()


def test_a_thinner_tiling_keeps_tiles_from_everywhere():
    tiling = fit_tiles((60, 100, 200), (8, 8, 8), (16, 32, 32))
    thin = thinned(tiling, 8)
    assert thin.count <= 8
    assert [len(starts) for starts in thin.starts] == [2, 2, 2]
    for starts, whole in zip(thin.starts, tiling.starts, strict=True):
        assert set(starts) < set(whole)
        assert starts[0] < whole[-1] / 2 < starts[1]
    assert thinned(tiling, tiling.count) == tiling


@pytest.fixture
def strict(sharp, tmp_path) -> Path:
    """The segmenter, to which only the very cases of its training are familiar."""
    card, weights = load(sharp)
    assert card.familiarity is not None
    spread = tuple(value / 2 for value in card.familiarity.spread)
    save(tmp_path / "strict.safetensors", weights, replace(card, familiarity=replace(card.familiarity, spread=spread)))
    return tmp_path / "strict.safetensors"


@pytest.fixture
def scans(image, tmp_path) -> Path:
    """A folder with a volume of the training, and one on its grid that was squared twice."""
    (tmp_path / "scans").mkdir()
    near = sitk.ReadImage(str(image), sitk.sitkFloat32)
    sitk.WriteImage(near, str(tmp_path / "scans" / "near.nii.gz"))
    sitk.WriteImage(sitk.Square(sitk.Square(near)), str(tmp_path / "scans" / "far.nii.gz"))
    return tmp_path / "scans"


def test_a_finetuned_checkpoint_knows_its_cases(segmenter, dataset):
    card = read_card(segmenter)
    assert card.familiarity is not None
    assert card.familiarity.cases == 4
    predictor = Predictor.open(segmenter, "cpu", None)
    distances = [predictor.predict(read_volume(path)).distance for path in sorted((dataset / "imagesTr").iterdir())]
    assert len(distances) == 4
    assert all(0 < distance < 1.5 for distance in distances)


def test_far_volumes_are_told_and_the_distance_goes_with_the_label_map(strict, scans, tmp_path):
    seen: list[Event] = []
    out, report = tmp_path / "out", tmp_path / "report.json"
    result = run(job(strict, scans, out, report=str(report), keep_names=True), seen.append)
    assert set(result.distances) == {"near", "far"}
    assert result.distances["far"] > FAR > result.distances["near"] > 0
    assert warnings(seen) == [
        f"far looks unlike the volumes that the model was trained on: it is {result.distances['far']:.1f} times as far "
        "from them as they are from one another."
    ]
    told = {entry["name"]: entry["distance"] for entry in json.loads(report.read_text())["outputs"]}
    assert told == {f"{name}.nii.gz": distance for name, distance in result.distances.items()}
    # It is not lost where a batch goes on.
    (out / "far.nii.gz").unlink()
    again = run(job(strict, scans, out, continue_=True))
    assert len(again.written) == len(again.kept) == 1
    assert again.distances == result.distances


def test_the_tables_have_a_column_that_counts(strict, scans, tmp_path):
    made = run(job(strict, scans, tmp_path / "out"))
    table, page = tmp_path / "q.csv", tmp_path / "q.html"
    given = {"input": (str(scans),), "segmentations": str(tmp_path / "out"), "csv": str(table), "html": str(page)}
    first, second = run(QualityJob(**given, names=True)).cases
    assert {case.name: case.distance for case in (first, second)} == made.distances
    assert first.name == "far"
    assert first.doubt >= second.doubt + 1 / 4
    (reason,) = [text for text in first.reasons if "unlike the volumes" in text]
    assert not [text for text in second.reasons if "unlike the volumes" in text]
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert {row["case"]: float(row["distance"]) for row in rows} == made.distances
    assert reason in rows[0]["reasons"]
    assert f">{first.distance:.1f}</td>" in page.read_text()


def test_where_it_is_not_known_the_column_is_empty_and_that_is_said(sharp, scans, tmp_path):
    card, weights = load(sharp)
    save(tmp_path / "older.safetensors", weights, replace(card, familiarity=None))
    made = run(job(tmp_path / "older.safetensors", scans, tmp_path / "out"))
    assert made.distances == {}
    seen: list[Event] = []
    given = {"input": (str(scans),), "segmentations": str(tmp_path / "out"), "csv": str(tmp_path / "q.csv")}
    looked = run(QualityJob(**given), seen.append)
    assert [case.distance for case in looked.cases] == [None, None]
    assert [row["distance"] for row in csv.DictReader(io.StringIO((tmp_path / "q.csv").read_text()))] == ["", ""]
    assert [e.text for e in seen if isinstance(e, Log) and "distance" in e.text] == [
        "The distance from the training is not known of 2 of 2 segmentations, so it does not count."
    ]


def test_a_part_of_a_volume_has_no_distance(strict, image, tmp_path):
    low = read_volume(image).geometry.origin
    roi = tuple(edge for start in low for edge in (start, start + 100.0))
    assert run(job(strict, image, tmp_path / "l.nii.gz", roi=roi)).distances == {}


def test_the_mark_of_a_label_map_is_read_back_whatever_follows(tmp_path):
    origin, geometry = "ab" * 16, Volume.from_array(np.zeros((3, 4, 5)), (1.0, 1.0, 1.0)).geometry
    for ending in (".nii.gz", ".nrrd", ".mha"):
        for distance, read in ((None, None), (0.1234, 0.12), (1e9, 99999.99)):
            path = tmp_path / f"a{ending}"
            write_labels(path, np.ones((3, 4, 5), np.uint8), geometry, origin=with_distance(origin, distance))
            assert (read_origin(path), read_distance(path)) == (origin, read)


def test_a_training_that_cannot_look_at_its_cases_is_finished_without(dataset, tmp_path, monkeypatch):
    def refuse(*given, **more):
        raise InputError("Not enough memory.")

    monkeypatch.setattr(Predictor, "features", refuse)
    seen: list[Event] = []
    output = tmp_path / "o.safetensors"
    run(FinetuneJob(checkpoint="none", images=(str(dataset),), output=str(output), steps=1, threads=1), seen.append)
    assert read_card(output).familiarity is None
    assert warnings(seen) == ["Not enough memory. So the checkpoint cannot tell volumes unlike its training's."]


@pytest.mark.parametrize(
    "damaged",
    [Familiarity(0, ((1.0,),), (1.0,)), Familiarity(2, ((1.0,),), (0.0,)), Familiarity(2, ((1.0,), ()), (1.0, 1.0))],
)
def test_a_card_that_cannot_be_computed_with_is_refused(segmenter, damaged):
    with pytest.raises(InputError, match="familiarity needs"):
        check_card(replace(read_card(segmenter), familiarity=damaged), "a card")
