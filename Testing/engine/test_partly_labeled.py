"""Fine-tuning on incomplete labels: every method leaves out what has none, and the job says what it learns from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from contrastiveseg.checkpoints.describe import describe
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.data.cache import preprocess
from contrastiveseg.data.cached_volumes import CachedVolumes
from contrastiveseg.descriptions import EvaluateJob, FinetuneJob
from contrastiveseg.errors import InputError
from contrastiveseg.evaluation.job import run_evaluation
from contrastiveseg.evaluation.metrics import measure
from contrastiveseg.methods.supervised import Supervised
from contrastiveseg.planning.plan import Channel, Plan
from contrastiveseg.segmentation.one_piece import one_piece_labels
from contrastiveseg.training.finetune import finetune
from contrastiveseg.volumes.dataset import find_cases
from contrastiveseg.volumes.volume import Geometry, LabelMap

# Methods


# Drawing


# Files

#: Axial slices out of 24 that are labeled in the tests.
SLICES = [8, 12, 16]


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


@pytest.fixture
def whole(tmp_path) -> dict[str, np.ndarray]:
    """Four label maps (z, y, x) of two balls that lie side by side; the images are in images/."""
    z, y, x = np.indices((24, 16, 32))
    maps = {}
    for case in range(4):
        labels = np.zeros(z.shape, np.uint8)
        for value, middle in ((1, 9), (2, 22)):
            labels[(z - 12) ** 2 + (y - 8) ** 2 + (x - middle) ** 2 <= (6 + case % 2) ** 2] = value
        image = np.random.default_rng(case).normal(labels, 0.2).astype(np.float32)
        save(image, tmp_path / "images" / f"case{case}.nii.gz")
        maps[f"case{case}"] = labels
    return maps


@pytest.fixture
def sliced(tmp_path, whole) -> Path:
    """slices/, ignore/ and painted/ hold label maps with three slices; elsewhere they say 0, 9 and 0."""
    for name, labels in whole.items():
        inside = np.zeros(labels.shape, bool)
        inside[SLICES] = True
        save(np.where(inside, labels, 0).astype(np.uint8), tmp_path / "slices" / f"{name}.nii.gz")
        save(np.where(inside, labels, 9).astype(np.uint8), tmp_path / "ignore" / f"{name}.nii.gz")
        strokes = np.where(inside, np.where(labels == 0, 8, labels), 0).astype(np.uint8)
        save(strokes, tmp_path / "painted" / f"{name}.nii.gz")
    names = {"background": 0, "left": 1, "right": 2}
    (tmp_path / "ignore" / "dataset.json").write_text(json.dumps({"labels": {**names, "ignore": 9}}))
    (tmp_path / "painted" / "dataset.json").write_text(json.dumps({"labels": {**names, "Background ": 8}}))
    return tmp_path


def job(folder: Path, labels: str, **more) -> FinetuneJob:
    given = {"checkpoint": "none", "resolution": "native", "steps": 1, "precision": "32", "threads": 1} | more
    return FinetuneJob(
        images=(str(folder / "images"),),
        labels=(str(folder / labels),),
        output=str(folder / f"{labels}.safetensors"),
        **given,
    )


def said(job: FinetuneJob) -> list[str]:
    """What the job logs and warns of."""
    heard: list[str] = []
    finetune(job, lambda event: heard.append(getattr(event, "text", "")))
    return heard


@pytest.mark.parametrize(("labels", "part"), [("slices", "slices"), ("ignore", "all"), ("painted", "painted")])
def test_three_ways_to_say_the_same(sliced, whole, labels, part, monkeypatch):
    seen = []
    monkeypatch.setattr(Supervised, "set_prior", lambda self, shares: seen.append(shares))
    step = Supervised.step
    monkeypatch.setattr(Supervised, "step", lambda self, batch: seen.append(batch) or step(self, batch))
    heard = said(job(sliced, labels, labeled_part=part))
    shares, batch = seen
    counts = np.bincount(np.concatenate([labels[SLICES].ravel() for labels in whole.values()]))
    assert shares == pytest.approx(counts / counts.sum(), rel=1e-3)
    assert (batch.labels == -1).any()
    assert (batch.labels >= 0).any()
    told = [text for text in heard if "labeled (12.5% of the voxels)" in text]
    assert len(told) == 4
    if part == "slices":
        assert told[0].startswith("case0: 3 of 24 axial slices labeled")
    rows = describe(read_card(sliced / f"{labels}.safetensors"))
    assert "4 of 4 labeled volumes only in part, on average 12.5% of their voxels" in rows


def test_a_few_painted_slices_are_warned_of_and_learned_as_before(sliced, whole):
    heard = said(job(sliced, "slices"))
    (warning,) = [text for text in heard if "look like a few labeled slices" in text]
    assert "4 of 4 label maps" in warning
    assert "3 of 24 axial slices of case0" in warning
    assert "--labeled-part slices" in warning
    for name, labels in whole.items():
        save(labels, sliced / "whole" / f"{name}.nii.gz")
    assert not [text for text in said(job(sliced, "whole")) if "look like" in text or "labeled (" in text]


def test_a_case_in_a_list_may_say_otherwise(sliced):
    listed = [
        {
            "image": f"images/case{case}.nii.gz",
            "label": f"slices/case{case}.nii.gz",
            **({"labeled_part": "all"} if case == 1 else {}),
        }
        for case in range(3)
    ]
    (sliced / "list.json").write_text(json.dumps(listed))
    heard = said(replace(job(sliced, "slices", labeled_part="slices"), images=(str(sliced / "list.json"),), labels=()))
    assert sum("labeled (12.5% of the voxels)" in text for text in heard) == 2


def test_painted_background_may_have_a_value_without_a_name(sliced):
    named = sliced / "painted" / "dataset.json"
    described = json.loads(named.read_text())
    named.unlink()
    finetune(job(sliced, "painted", labeled_part="painted", background_label=8))
    card = read_card(sliced / "painted.safetensors")
    assert [label.value for label in card.labels] == [1, 2]
    rows = describe(card)
    assert "4 of 4 labeled volumes only in part, on average 12.5% of their voxels" in rows
    with pytest.raises(InputError, match=r"--background-label 7: no label map holds this value. They hold: 1, 2, 8"):
        finetune(job(sliced, "painted", labeled_part="painted", background_label=7, overwrite=True))
    named.write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"--background-label 2: dataset\.json calls this label right"):
        finetune(job(sliced, "painted", labeled_part="painted", background_label=2, overwrite=True))
    with pytest.raises(InputError, match=r"--background-label 9: the label 8 is named background"):
        finetune(job(sliced, "painted", labeled_part="painted", background_label=9, overwrite=True))


def test_strokes_need_some_background(sliced):
    with pytest.raises(InputError, match=r"No voxel is labeled as background.*segment named background"):
        finetune(job(sliced, "slices", labeled_part="painted"))


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"labeled_part": "some"}, "labeled_part is one of all, slices, painted, not 'some'"),
        ({"structures": "liver"}, "structures lists the names or values"),
        ({"structures": []}, "structures lists the names or values"),
        ({"structures": [True]}, "structures lists the names or values"),
        ({"slices": 1}, "expected .*labeled_part"),
    ],
)
def test_entries_are_checked(tmp_path, entry, what):
    (tmp_path / "a.nii").touch()
    (tmp_path / "list.json").write_text(json.dumps([{"image": "a.nii", "label": "a.nii", **entry}]))
    with pytest.raises(InputError, match=what):
        find_cases([tmp_path / "list.json"])


# Cache


def test_cached_crops_keep_unlabeled_and_background_apart(sliced):
    plan = Plan(3, (Channel(),), (1.0, 1.0, 1.0), (8, 16, 16), 0)

    def cached(part):
        cases = find_cases([sliced / "images"], [sliced / "slices"])
        cases = [replace(case, labeling=replace(case.labeling, part=part)) for case in cases]
        return preprocess(cases, plan, sliced / "cache")

    cases = cached("slices")
    source = CachedVolumes(sliced / "cache", cases, (1, 2))
    labels = source.label_crop(0, (-2, 0, 0), (30, 16, 32))
    assert np.unique(np.nonzero(labels >= 0)[0]).tolist() == [z + 2 for z in SLICES]
    assert set(np.unique(labels)) == {-1, 0, 1, 2}
    assert set(np.unique(source.labeled_voxels(0)[:, 0])) == set(SLICES)
    assert set(np.unique(source.foreground_voxels(0)[:, 1])) == set(SLICES)
    assert set(np.unique(source.foreground_voxels(0)[:, 0])) == {1, 2}
    assert one_piece_labels(cases) == ()
    # The same files, taken as labeled everywhere, are another case of the cache.
    plain = cached("all")
    assert not {case.key for case in plain} & {case.key for case in cases}
    assert CachedVolumes(sliced / "cache", plain, (1, 2)).labeled_voxels(0) is None


# Structures that were not drawn


@pytest.fixture
def undrawn(tmp_path, whole) -> Path:
    """Label maps in labels/ of which two lack label 2; list.json says so of the first of these, by name."""
    listed = []
    for case, (name, labels) in enumerate(whole.items()):
        save(np.where((labels == 2) & (case > 1), 0, labels).astype(np.uint8), tmp_path / "labels" / f"{name}.nii.gz")
        listed.append({"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"})
    listed[2]["structures"] = ["label 1"]
    (tmp_path / "list.json").write_text(json.dumps(listed))
    return tmp_path


def test_a_structure_that_a_case_lacks_is_asked_about(undrawn):
    heard = said(job(undrawn, "labels"))
    (warning,) = [text for text in heard if "learned as absent" in text]
    assert "label 2 is painted in 2 of 4 cases and not in case2, case3" in warning
    assert "--missing-structures not-drawn" in warning
    assert "not looked for" not in describe(read_card(undrawn / "labels.safetensors"))


@pytest.mark.parametrize("how", ["list", "option"])
def test_structures_not_drawn_come_with_the_crops_and_into_the_card(undrawn, how, monkeypatch):
    batches = []
    step = Supervised.step
    monkeypatch.setattr(Supervised, "step", lambda self, batch: batches.append(batch) or step(self, batch))
    given = job(undrawn, "labels", steps=4)
    if how == "list":
        given = replace(given, images=(str(undrawn / "list.json"),), labels=())
    else:
        given = replace(given, missing_structures="not-drawn")
    heard = said(given)
    open_cases = {2} if how == "list" else {2, 3}
    for batch in batches:
        for row, case in enumerate(batch.cases.tolist()):
            missing = [] if batch.missing is None else batch.missing[row].nonzero().flatten().tolist()
            assert missing == ([2] if case in open_cases else [])
    asked = [text for text in heard if "learned as absent" in text]
    assert len(asked) == (1 if how == "list" else 0)  # of the case of which the list says nothing
    text = f"2 label 2 was not looked for in {len(open_cases)} of 4 labeled volumes"
    assert text in describe(read_card(undrawn / "labels.safetensors"))


@pytest.mark.parametrize(
    ("structures", "what"),
    [
        (["liver"], "names the structure 'liver', which no label map has. There are: label 1"),
        ([2], "has label 1 painted"),
    ],
)
def test_structures_are_checked(undrawn, structures, what):
    listed = json.loads((undrawn / "list.json").read_text())
    listed[2]["structures"] = structures
    (undrawn / "list.json").write_text(json.dumps(listed))
    with pytest.raises(InputError, match=what):
        finetune(replace(job(undrawn, "labels"), images=(str(undrawn / "list.json"),), labels=()))


# Scores


def test_scores_are_on_what_is_labeled():
    truth, predicted = np.zeros((4, 4, 4), np.int32), np.zeros((4, 4, 4), np.uint8)
    truth[1], truth[1, :2], truth[[0, 2, 3]] = 0, 1, -1
    predicted[:, :3] = 1
    grid = Geometry((4, 4, 4), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    (score,) = measure(LabelMap(predicted, grid), LabelMap(truth, grid), {1: "organ"})
    assert score.dice == pytest.approx(2 * 8 / (8 + 12))
    assert (score.status, score.hd95_mm, score.assd_mm) == ("measured", None, None)
    assert score.reference_ml == pytest.approx(0.008)


def test_held_out_cases_are_scored_on_what_is_labeled_and_say_so(sliced):
    heard: list[str] = []
    given = job(sliced, "slices", labeled_part="slices", validation="1")
    result = finetune(given, lambda event: heard.append(getattr(event, "text", "")))
    assert result.held_out[0].labeled == pytest.approx(0.125)
    assert result.held_out[0].hd95_mm is None
    if result.held_out[0].dice is not None:
        assert any("on the 12.5% of its voxels that are labeled" in text for text in heard)


def test_a_structure_that_was_not_looked_for_is_not_scored(undrawn):
    given = job(undrawn, "labels", missing_structures="not-drawn", validation="case3")
    assert "label 2" not in finetune(given).held_out[0].labels


@pytest.mark.parametrize(("labels", "part"), [("slices", "slices"), ("ignore", "all"), ("painted", "painted")])
def test_evaluate_scores_what_is_labeled_and_says_so(sliced, whole, labels, part):
    for name, truth in whole.items():
        save(np.where(truth == 2, 0, truth).astype(np.uint8), sliced / "predicted" / f"{name}.nii.gz")
    heard: list[str] = []
    given = {"predictions": str(sliced / "predicted"), "references": str(sliced / labels)}
    evaluated = run_evaluation(
        EvaluateJob(**given, output=str(sliced / "scores.json"), labeled_part=part),
        lambda event: heard.append(getattr(event, "text", "")),
    )
    assert {row.label for row in evaluated.rows} == {1, 2}
    assert {(row.label, row.dice, row.hd95_mm) for row in evaluated.rows} == {(1, 1.0, None), (2, 0.0, None)}
    assert sum("scored on the 12.5% of its voxels that are labeled" in text for text in heard) == 4


def test_a_held_out_case_in_which_nothing_was_drawn_has_no_score(sliced, whole):
    for name, labels in whole.items():
        save(labels * (name != "case3"), sliced / "some" / f"{name}.nii.gz")
    given = job(sliced, "some", missing_structures="not-drawn", validation="case3")
    (held_out,) = finetune(given).held_out
    assert (held_out.dice, held_out.labels) == (None, {})
