"""Fine-tuning from a few labeled volumes: what is learned, transferred, held out, compared and written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from contrastiveseg.checkpoints.card import Label
from contrastiveseg.checkpoints.format import load, save
from contrastiveseg.checkpoints.header import digest, read_card
from contrastiveseg.checkpoints.learned_cases import learned_cases
from contrastiveseg.checkpoints.starters import starter
from contrastiveseg.descriptions import FinetuneJob, PretrainJob
from contrastiveseg.errors import InputError
from contrastiveseg.events import Event, Log, Stage, StageStarted
from contrastiveseg.serialization import to_json
from contrastiveseg.synthetic.dataset import write_dataset
from contrastiveseg.synthetic.settings import SyntheticSettings
from contrastiveseg.training import pretrain as pretraining
from contrastiveseg.training.beside import metrics_path
from contrastiveseg.training.finetune import finetune
from contrastiveseg.training.pretrain import pretrain


def job(images, output: Path, **more) -> FinetuneJob:
    given = {"checkpoint": "none", "steps": 2, "precision": "32", "threads": 1}
    images = (images,) if isinstance(images, (str, Path)) else images
    return FinetuneJob(images=tuple(map(str, images)), output=str(output), **(given | more))


def copy_of(dataset: Path, folder: Path) -> Path:
    shutil.copytree(dataset, folder)
    return folder


def relabel(path: Path, change) -> None:
    image = sitk.ReadImage(str(path))
    changed = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(path))


def label_of(folder: Path, case: int) -> Path:
    return folder / "labelsTr" / f"synthetic_{case:05d}.nii.gz"


def test_from_scratch(segmenter, dataset):
    card = read_card(segmenter)
    assert (card.kind, card.method, card.plan.dimensions) == ("segmenter", "supervised", 3)
    names = {v: k for k, v in json.loads((dataset / "dataset.json").read_text())["labels"].items()}
    assert card.labels == tuple(Label(v, names[v]) for v in (1, 2, 3))
    origin = card.provenance
    assert (origin.base, origin.steps, origin.case_count, origin.scores) == (None, 2, 4, {})
    first = dataset / "imagesTr" / "synthetic_00000.nii.gz"
    assert all(c.label_used for c in origin.cases)
    assert [c.name for c in origin.cases] == ["case 1", "case 2", "case 3", "case 4"]
    assert learned_cases(card, [("other", digest(first))]).same_files == ("other",)
    assert digest(first) not in str(to_json(card))
    assert {p.name for p in segmenter.parent.iterdir()} == {segmenter.name, metrics_path(segmenter).name}


def test_from_a_pre_trained_checkpoint(pretrained, dataset, out):
    seen: list[Event] = []
    result = finetune(job(dataset, out, checkpoint=str(pretrained), steps=1, learning_rate=1e-12), seen.append)
    base, card = read_card(pretrained), read_card(out)
    report = result.transfer
    assert report.loaded == ("encoder", *(m for m in base.transferred if m != "encoder"))
    assert report.loaded_parameters > report.fresh_parameters > 0
    assert any("Loaded encoder" in getattr(e, "text", "") for e in seen)
    assert card.network == base.network
    assert (card.provenance.base, card.provenance.base_method) == (digest(pretrained), "macl")
    assert "Zeng" in card.provenance.citation
    # With next to no learning the encoder is still the pre-trained one, bit for bit up to rounding.
    before, after = load(pretrained)[1], load(out)[1]
    for name, tensor in before.items():
        if name.startswith("encoder."):
            torch.testing.assert_close(after[f"backbone.{name}"], tensor, rtol=0, atol=1e-6)


def test_options_that_do_nothing_beside_a_checkpoint_are_told(pretrained, dataset, out):
    seen: list[Event] = []
    finetune(job(dataset, out, checkpoint=str(pretrained), steps=1, dimensions=2, size="large"), seen.append)
    told = [event.text for event in seen if isinstance(event, Log) and event.level == "warning"]
    assert "--dimensions 2 and --size large do nothing here: the network is that of" in told[0]
    assert "(unet, 3D, tiny)" in told[0]
    seen.clear()
    finetune(job(dataset, out, steps=1, transferred_rate=0.5, overwrite=True), seen.append)
    assert "--transferred-rate does nothing here" in next(e.text for e in seen if isinstance(e, Log))
    seen.clear()
    finetune(job(dataset, out, checkpoint=str(pretrained), steps=1, size="tiny", overwrite=True), seen.append)
    assert not any("nothing here" in getattr(event, "text", "") for event in seen)


def test_the_comparison_trains_the_same_from_scratch(pretrained, dataset, out):
    result = finetune(job(dataset, out, checkpoint=str(pretrained), compare_scratch=True))
    assert len(result.held_out) == 1
    found = result.comparison
    assert found.checkpoint_dice == pytest.approx(result.held_out[0].dice)
    assert found.scratch_dice == pytest.approx(found.scratch[0].dice)
    order = np.sign(found.checkpoint_dice - found.scratch_dice)
    assert found.won == {1: "checkpoint", -1: "scratch", 0: "neither"}[int(order)]
    assert read_card(out).provenance.scores == {"held_out_dice": pytest.approx(found.checkpoint_dice)}
    assert read_card(out).provenance.base == digest(pretrained)


def boxes(labels: np.ndarray, apart: bool = False) -> np.ndarray:
    """Labels 1 to 3, each a box; ``apart`` gives the first another one."""
    drawn = np.zeros_like(labels)
    for value in (1, 2, 3):
        drawn[2:5, 4 * value - 2 : 4 * value, 2:6] = value
    drawn[8:11, 2:4, 2:6] = apart
    return drawn


@pytest.mark.parametrize(
    ("cases", "validation", "expected"),
    [("", "none", (1, 2, 3)), ("3", "none", (2, 3)), ("3", "synthetic_00003", (1, 2, 3)), ("3", "2", ())],
)
def test_what_is_one_piece_in_all_of_three_cases_is_noted(dataset, tmp_path, out, cases, validation, expected):
    data = copy_of(dataset, tmp_path / "data")
    for case in range(4):
        relabel(label_of(data, case), lambda labels, apart=str(case) in cases: boxes(labels, apart))
    finetune(job(data, out, steps=1, validation=validation))
    assert read_card(out).one_piece == expected


def test_labels_absent_from_a_case_are_learned_from_the_others(dataset, tmp_path, out):
    folder = copy_of(dataset, tmp_path / "data")
    relabel(label_of(folder, 0), lambda a: np.where(a == 1, 1, 0).astype(np.uint8))
    relabel(label_of(folder, 1), lambda a: a * 0)
    result = finetune(job(folder, out, validation="1"))
    assert [label.value for label in read_card(out).labels] == [1, 2, 3]
    assert result.steps == 2


def test_all_labels_empty(dataset, tmp_path, out):
    folder = copy_of(dataset, tmp_path / "data")
    for case in range(4):
        relabel(label_of(folder, case), lambda a: a * 0)
    with pytest.raises(InputError, match="All label maps are empty"):
        finetune(job(folder, out))
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_values_that_are_not_declared(dataset, tmp_path, out):
    folder = copy_of(dataset, tmp_path / "data")
    relabel(label_of(folder, 2), lambda a: np.where(a == 3, 9, a))
    with pytest.raises(
        InputError, match=r"Case synthetic_00002 has the label\(s\) 9, which dataset\.json does not declare"
    ):
        finetune(job(folder, out))
    (folder / "dataset.json").unlink()
    finetune(job(folder / "imagesTr", out, labels=(str(folder / "labelsTr"),)))
    assert [label.name for label in read_card(out).labels] == ["label 1", "label 2", "label 3", "label 9"]


def test_a_case_without_label(dataset, tmp_path, out):
    folder = copy_of(dataset, tmp_path / "data")
    label_of(folder, 3).unlink()
    events: list[Event] = []
    finetune(
        job(folder / "imagesTr", tmp_path / "three.safetensors", labels=(str(folder / "labelsTr"),)), events.append
    )
    assert read_card(tmp_path / "three.safetensors").provenance.case_count == 3
    texts = [event.text for event in events if isinstance(event, Log)]
    assert any("1 of 4 volumes have no label map by their name and are left out: synthetic_00003" in t for t in texts)
    with pytest.raises(InputError, match="None of the volumes has a label map"):
        finetune(job(folder / "imagesTr", out))
    assert not out.parent.exists()


def test_a_case_with_two_label_maps_is_asked_about(dataset, tmp_path, out):
    for case in ("a", "b"):
        (tmp_path / case).mkdir()
        shutil.copy(dataset / "imagesTr" / "synthetic_00000.nii.gz", tmp_path / case / "scan.nii.gz")
        shutil.copy(label_of(dataset, 0), tmp_path / case / "scan_seg.nii.gz")
    shutil.copy(label_of(dataset, 1), tmp_path / "b" / "scan_mask.nii.gz")
    with pytest.raises(InputError, match=r"b holds 2 label maps of b: scan_mask.* Which one is meant"):
        finetune(job(tmp_path, out))


def test_fine_tuned_twice_each_work_is_cited_once(pretrained, dataset, tmp_path, out):
    first = tmp_path / "first.safetensors"
    finetune(job(dataset, first, checkpoint=str(pretrained), steps=1))
    finetune(job(dataset, out, checkpoint=str(first), steps=1))
    cited = read_card(out).provenance.citation
    assert cited == read_card(first).provenance.citation
    assert (cited.count("Zeng"), cited.count("nnU-Net"), cited.count(".;")) == (1, 1, 0)


def test_labels_of_the_base_keep_name_and_color_unless_the_data_say_otherwise(segmenter, dataset, tmp_path, out):
    card, weights = load(segmenter)
    colored = (Label(1, "liver", (10, 20, 30), "code"), *card.labels[1:])
    base = tmp_path / "base.safetensors"
    save(base, weights, replace(card, labels=colored))
    folders = {"images": dataset / "imagesTr", "labels": dataset / "labelsTr"}
    for name, folder in folders.items():
        shutil.copytree(folder, tmp_path / name)
    start = job(tmp_path / "images", out, labels=(str(tmp_path / "labels"),), checkpoint=str(base), steps=1)
    finetune(start)
    assert read_card(out).labels == colored
    # With a dataset.json beside the images, 1 is what it says there.
    finetune(replace(start, images=(str(dataset),), labels=(), overwrite=True))
    assert read_card(out).labels == card.labels


def test_tuning_a_checkpoint_in_its_place_names_what_it_was(segmenter, dataset, out):
    out.parent.mkdir()
    shutil.copy(segmenter, out)
    before = digest(out)
    finetune(job(dataset, out, checkpoint=str(out), validation="1", steps=1, overwrite=True))
    assert read_card(out).provenance.base == before != digest(out)
    assert "held_out_dice" in read_card(out).provenance.scores


def two_channels(dataset: Path, folder: Path) -> Path:
    (folder / "imagesTr").mkdir(parents=True)
    shutil.copytree(dataset / "labelsTr", folder / "labelsTr")
    for path in (dataset / "imagesTr").iterdir():
        for channel in (0, 1):
            shutil.copy(path, folder / "imagesTr" / path.name.replace(".nii.gz", f"_000{channel}.nii.gz"))
    return folder


def test_two_channels(dataset, pretrained, tmp_path, out):
    folder = two_channels(dataset, tmp_path / "data")
    given = job(folder / "imagesTr", out, labels=(str(folder / "labelsTr"),))
    finetune(given)
    card = read_card(out)
    assert card.network.in_channels == len(card.plan.channels) == 2
    with pytest.raises(InputError, match=r"expects 1 channel\(s\) and the volumes have 2"):
        finetune(replace(given, checkpoint=str(pretrained), overwrite=True))


@pytest.fixture(scope="module")
def thick(tmp_path_factory) -> Path:
    """Cine-like volumes: 6 slices of 10 mm, 32 x 32 pixels of 2 mm."""
    folder = tmp_path_factory.mktemp("thick")
    write_dataset(folder, 2, 5, SyntheticSettings(region="heart", size=(8, 32, 32), spacing=(10.0, 2.0, 2.0)))
    return folder


def test_two_dimensions_from_pre_training_to_scores(thick, tmp_path, out):
    base = tmp_path / "base.safetensors"
    pretrain(PretrainJob(images=(str(thick),), output=str(base), dimensions=2, steps=2, precision="32", threads=1))
    result = finetune(job(thick, out, checkpoint=str(base), validation="1"))
    card = read_card(out)
    assert (card.plan.dimensions, card.plan.slice_axis, card.plan.patch[0]) == (2, 0, 1)
    assert card.network.dimensions == 2
    assert 0 <= result.held_out[0].dice <= 1


def test_a_starter_halves_thick_slices_as_late_as_a_fresh_network(thick, tmp_path, out):
    scratch, seen = tmp_path / "scratch.safetensors", []
    finetune(job(thick, scratch, steps=1))
    result = finetune(job(thick, out, checkpoint=str(starter()), steps=1, validation="1"), seen.append)
    card, fresh = read_card(out), read_card(scratch)
    assert card.network == fresh.network != read_card(starter()).network
    assert card.plan.patch == fresh.plan.patch
    assert "encoder" in result.transfer.loaded
    assert "encoder.0.0.conv.weight" in result.transfer.adapted
    assert any(isinstance(e, Log) and "halves later across them" in e.text for e in seen)


def test_segresnet_from_pre_training_to_scores(dataset, tmp_path, out):
    base = tmp_path / "base.safetensors"
    pretrain(
        PretrainJob(images=(str(dataset),), output=str(base), network="segresnet", steps=1, precision="32", threads=1)
    )
    result = finetune(job(dataset, out, checkpoint=str(base), steps=1, validation="1"))
    assert read_card(out).network.name == "segresnet"
    assert "encoder" in result.transfer.loaded


def test_files_named_one_by_one_are_one_data_set_to_pre_train_on(dataset, tmp_path):
    """Places compare within a data set only: were each file its own, no two volumes would ever attract."""
    other = copy_of(dataset, tmp_path / "other")
    files = sorted(map(str, (dataset / "imagesTr").iterdir()))
    found = pretraining._data_sets([*files[:2], str(other / "imagesTr"), files[2]])
    assert [len(cases) for cases in found] == [3, 4]
    assert {c.images[0].parent for c in found[0]} == {dataset / "imagesTr"}
    # Two folders are two data sets, even with a volume each.
    for index, file in enumerate(files[:2]):
        (tmp_path / str(index)).mkdir()
        shutil.copy(file, tmp_path / str(index) / "case.nii.gz")
    assert [len(cases) for cases in pretraining._data_sets([str(tmp_path / "0"), str(tmp_path / "1")])] == [1, 1]


def test_more_labels_than_class_indices_are_refused(dataset, tmp_path, out):
    """Class indices are 8-bit: the 256th label would silently become background."""
    folder = copy_of(dataset, tmp_path / "data")
    (folder / "dataset.json").unlink()
    relabel(label_of(folder, 0), lambda a: np.arange(a.size).reshape(a.shape).astype(np.uint16) % 300)
    with pytest.raises(InputError, match="at most 255"):
        finetune(job(folder / "imagesTr", out, labels=(str(folder / "labelsTr"),)))


@pytest.mark.parametrize(
    ("given", "words"), [({"resume": True}, "nothing to resume"), ({"device": "tpu"}, "no device")]
)
def test_refused_before_any_volume_is_prepared(dataset, out, given, words):
    seen: list[Event] = []
    with pytest.raises(InputError, match=words):
        finetune(job(dataset, out, validation="leave-one-out", **given), seen.append)
    assert seen == [StageStarted(Stage.PLAN)]
    assert not out.parent.exists()


def test_another_modality_than_the_checkpoints_is_said(pretrained, dataset, tmp_path, out):
    ct = tmp_path / "ct"
    write_dataset(ct, 1, 0, SyntheticSettings(size=(12, 16, 16), spacing=(20.0, 20.0, 22.0), contrast="CT"))
    told = {}
    for folder in (dataset, ct):
        seen: list[Event] = []
        finetune(job(folder, out, checkpoint=str(pretrained), steps=1, overwrite=True), seen.append)
        told[folder] = [e.text for e in seen if isinstance(e, Log) and e.level == "warning"]
    assert told[dataset] == []
    assert len(told[ct]) == 1
    assert "trained on MR" in told[ct][0]
    assert "looks like CT" in told[ct][0]


def test_tuning_further_on_the_same_labels_keeps_the_head(segmenter, dataset, out):
    told = []
    finetune(job(dataset, out, checkpoint=str(segmenter), steps=1, learning_rate=1e-9), told.append)
    before, after = load(segmenter)[1], load(out)[1]
    torch.testing.assert_close(after["head.weight"], before["head.weight"], atol=1e-6, rtol=0)
    assert any("head: loaded" in getattr(e, "text", "") for e in told)


def table(path: Path, *entries) -> str:
    path.write_text(json.dumps(entries))
    return str(path)


def test_a_label_table_gives_names_colors_and_codes(segmenter, dataset, tmp_path, out):
    names = [label.name for label in read_card(segmenter).labels]
    entries = [{"value": v, "name": names[v - 1], "color": [v, 2, 255], "terminology": f"SCT~{v}"} for v in (1, 2, 3)]
    told: list[dict] = []
    given = table(tmp_path / "table.json", *entries, {"value": 7, "name": "occurs nowhere"})
    # As editors on Windows save it.
    Path(given).write_bytes(b"\xef\xbb\xbf" + Path(given).read_bytes())
    finetune(job(dataset, out, label_table=given, checkpoint=str(segmenter), steps=1), told.append)
    assert read_card(out).labels == tuple(Label(v, names[v - 1], (v, 2, 255), f"SCT~{v}") for v in (1, 2, 3))
    # Another color is no other structure: what the head knows stays.
    assert any("head: loaded" in getattr(e, "text", "") for e in told)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a JSON file"),
        ('1 255 0 0 1 1 1 "liver"', r'not a JSON file.* write the labels as \[\{"value": 1'),  # ITK-SNAP's
        pytest.param("[" * 200_000, "not a JSON file", id="nested too deep"),
        ("{}", "expected a list"),
        ("[]", "expected a list"),
        ('[{"value": 1}]', r"\[0\]"),
        ('[{"value": "1", "name": "a"}]', r"\[0\]\.value"),
        ('[{"value": 1, "name": "a", "color": [1, 2]}]', r"\[0\]\.color"),
        ('[{"value": 1, "name": "a", "color": [1, 2, 256]}]', "from 0 to 255"),
        ('[{"value": 0, "name": "a"}]', "has the value 0"),
        ('[{"value": 1, "name": "a"}, {"value": 1, "name": "b"}]', "two labels have the value 1"),
        ('[{"value": 1, "name": "a"}, {"value": 2, "name": "a"}]', "two labels have the name 'a'"),
        ('[{"value": 1, "name": "a"}]', r"has the label\(s\) 2, 3, which .*table\.json does not declare"),
    ],
)
def test_label_tables_that_cannot_be_used(dataset, tmp_path, out, content, words):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        finetune(job(dataset, out, label_table=str(path)))
    with pytest.raises(InputError, match=r"Cannot read .*none\.json"):
        finetune(job(dataset, out, label_table=str(tmp_path / "none.json")))


def test_a_label_table_that_gives_a_name_of_the_data_set_to_another_value(dataset, tmp_path, out):
    names = list(json.loads((dataset / "dataset.json").read_text())["labels"])[1:]
    path = tmp_path / "table.json"
    path.write_text(json.dumps([{"value": value, "name": name} for value, name in enumerate(reversed(names), start=1)]))
    with pytest.raises(InputError, match=f"{names[0]!r} has the value 3 in .*table.json and 1 in dataset.json"):
        finetune(job(dataset, out, label_table=str(path)))
