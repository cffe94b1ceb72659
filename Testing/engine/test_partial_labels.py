"""Which of pooled volumes have labels: those that are named, and no others."""

import json
from pathlib import Path

import pytest

from contrastiveseg.errors import InputError
from contrastiveseg.volumes.dataset import find_cases
from contrastiveseg.volumes.partial_labels import with_named_labels


@pytest.fixture
def folders(tmp_path) -> Path:
    """Data sets one (dataset.json names the labels of both) and two (label maps of one of its volumes apart)."""
    for path in (
        "one/imagesTr/a",
        "one/imagesTr/b",
        "one/labelsTr/a",
        "one/labelsTr/b",
        "two/c",
        "two/d",
        "marks/d_seg",
    ):
        file = tmp_path / f"{path}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "marks" / "stranger.nii.gz").touch()
    (tmp_path / "one" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "organ": 1}}))
    return tmp_path


def labeled(folder: Path, *labels: str, images: tuple[str, ...] = ("one", "two")) -> dict[str, str | None]:
    pooled = with_named_labels([find_cases([folder / name]) for name in images], [folder / name for name in labels])
    assert [len(cases) for cases in pooled] == [2] * len(images)
    return {case.name: case.labels.name if case.labels else None for cases in pooled for case in cases}


def test_labels_that_are_not_named_are_not_used(folders):
    assert find_cases([folders / "one"])[0].labels
    assert labeled(folders) == {"a": None, "b": None, "c": None, "d": None}


def test_some_labels_of_some_data_sets(folders):
    assert labeled(folders, "marks") == {"a": None, "b": None, "c": None, "d": "d_seg.nii.gz"}
    assert labeled(folders, "one") == {"a": "a.nii.gz", "b": "b.nii.gz", "c": None, "d": None}
    everything = labeled(folders, "one/dataset.json", "marks/d_seg.nii.gz")
    assert everything == {"a": "a.nii.gz", "b": "b.nii.gz", "c": None, "d": "d_seg.nii.gz"}
    assert labeled(folders, "one/labelsTr/b.nii.gz")["b"] == "b.nii.gz"
    assert labeled(folders, "one/labelsTr/b.nii.gz")["a"] is None


def test_labels_beside_volumes_are_those_volumes_own(folders):
    for path in ("three/a.nii.gz", "three/a_seg.nii.gz", "three/c.nii.gz", "four/a.nii.gz", "four/b.nii.gz"):
        (folders / path).parent.mkdir(exist_ok=True)
        (folders / path).touch()
    pooled = with_named_labels([find_cases([folders / name]) for name in ("four", "three")], [folders / "three"])
    assert [[case.labels and case.labels.name for case in cases] for cases in pooled] == [
        [None, None],
        ["a_seg.nii.gz", None],
    ]


def test_a_list_names_what_is_used(folders):
    entries = [
        {"image": "one/imagesTr/a.nii.gz", "label": "one/labelsTr/a.nii.gz"},
        {"image": "one/imagesTr/b.nii.gz"},
    ]
    (folders / "list.json").write_text(json.dumps(entries))
    assert labeled(folders, "list.json") == {"a": "a.nii.gz", "b": None, "c": None, "d": None}
    assert labeled(folders, "list.json", images=("one/imagesTr", "two"))["a"] == "a.nii.gz"


def test_label_maps_beside_their_volumes(folders):
    (folders / "two" / "c_seg.nii.gz").touch()
    assert labeled(folders, "two") == {"a": None, "b": None, "c": "c_seg.nii.gz", "d": None}


def test_names_that_two_data_sets_have_are_refused(folders):
    (folders / "two" / "c.nii.gz").rename(folders / "two" / "a.nii.gz")
    with pytest.raises(InputError, match=r"2 of the data sets.*dataset.json"):
        labeled(folders, "one/labelsTr")
    assert labeled(folders, "one", images=("two", "one"))["b"] == "b.nii.gz"


def test_two_label_maps_of_one_volume_are_refused(folders):
    (folders / "marks" / "d_label.nii.gz").touch()
    with pytest.raises(InputError, match="Case d has two label files"):
        labeled(folders, "marks")


def test_labels_of_nothing_are_refused(folders):
    with pytest.raises(InputError, match="labels none of the volumes"):
        labeled(folders, "marks/stranger.nii.gz")
    with pytest.raises(InputError, match="does not exist"):
        labeled(folders, "nowhere")
