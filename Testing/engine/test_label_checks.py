"""Label maps that do not fit one another are refused, or warned of, before training."""

from dataclasses import replace

import pytest

from contrastiveseg.data.cached_case import CachedCase
from contrastiveseg.errors import InputError
from contrastiveseg.training.label_checks import (
    check_same_values,
    tell_unused_maps,
    warn_of_copies,
    warn_of_corners,
    warn_of_labels_held_out,
    warn_of_other_count,
    warn_of_rare_labels,
    warn_of_shared_maps,
    warn_of_void,
)
from contrastiveseg.volumes.dataset import find_cases


def cases_of(**values):
    box = ((0, 4), (0, 4), (0, 4))
    return [CachedCase(name, name, name, (4, 4, 4), 1, box, tuple(labels)) for name, labels in values.items()]


def texts(check, *given):
    said = []
    check(*given, lambda event: said.append(event.text))
    return said


@pytest.mark.parametrize("white", [[255], [0, 255]])
def test_one_structure_as_1_and_as_255_is_refused(white):
    with pytest.raises(InputError, match=r"different numbers: 1 in a, b; 255 in c\. If they are one structure.*name"):
        check_same_values(cases_of(a=[1], b=[1], c=[v for v in white if v]), print)


def test_scaled_masks_of_two_structures_are_refused():
    with pytest.raises(InputError, match="1, 2 in a, b; 128, 255 in c"):
        check_same_values(cases_of(a=[1, 2], b=[1], c=[128, 255]), print)


def test_cases_without_a_common_label_are_warned_of():
    (text,) = texts(check_same_values, cases_of(a=[1], b=[2], c=[2]))
    assert "1 in a; 2 in b, c" in text


def test_labels_that_occur_together_fit():
    assert texts(check_same_values, cases_of(a=[1], b=[1, 255], c=[255], d=[])) == []
    assert texts(check_same_values, cases_of(a=[255], b=[255])) == []


def test_a_declared_label_of_no_case_is_warned_of():
    declared = {0: "background", 1: "ball", 3: "vessel"}
    (text,) = texts(warn_of_rare_labels, cases_of(a=[1], b=[1]), {1: "ball"}, declared, "dataset.json")
    assert "dataset.json declares vessel (3), which no label map has" in text


def test_an_inverted_label_map_is_warned_of():
    a, b, c = cases_of(a=[1], b=[1], c=[1])
    (text,) = texts(warn_of_corners, [a, replace(b, corners=1), c], {1: "liver"})
    assert "In b all corners of the volume are liver (1)" in text
    assert "--background-label 1" in text
    assert texts(warn_of_corners, [a, c], {1: "liver"}) == []


@pytest.mark.parametrize(
    ("values", "names", "told"),
    [([1, 2, 255], {}, 1), ([1, 255], {255: "vessel"}, 0), ([255], {}, 0), ([1, 200, 255], {}, 0), ([1, 2], {}, 0)],
)
def test_a_value_that_usually_means_unlabeled_is_warned_of(values, names, told):
    said = texts(warn_of_void, values, names)
    assert [("255 beside 1" in text, "ignore" in text) for text in said] == [(True, True)] * told


def test_a_label_of_one_case_is_warned_of():
    given = cases_of(a=[1], b=[1, 7], c=[1])
    (text,) = texts(warn_of_rare_labels, given, {1: "ball", 7: "label 7"}, {}, "dataset.json")
    assert "label 7 (7) is in one of 3 label maps only (b)" in text
    assert texts(warn_of_rare_labels, cases_of(a=[1]), {1: "ball"}, {}, "dataset.json") == []


def test_a_label_of_held_out_cases_alone_is_warned_of():
    names = {1: "ball", 7: "vessel"}
    (text,) = texts(warn_of_labels_held_out, cases_of(a=[1], b=[1, 7], c=[7]), [1, 2], names)
    assert text.startswith("vessel (7) is in held-out cases alone, so it is not learned")
    assert texts(warn_of_labels_held_out, cases_of(a=[1], b=[1, 7], c=[7]), [1], names) == []


def test_one_image_under_two_names_is_warned_of():
    cases = cases_of(a=[1], b=[1], c=[1])
    assert texts(warn_of_copies, cases) == []
    (text,) = texts(warn_of_copies, [*cases, replace(cases[0], name="d")])
    assert text.startswith("a and d have the same image")


def test_one_label_map_of_different_images_is_warned_of():
    a, b, c, d = cases_of(a=[1], b=[1], c=[1], d=[])
    a, b, c, d = (
        replace(case, checksums=sums) for case, sums in ((a, (1, 5, 6)), (b, (2, 5, 6)), (c, (3, 7, 6)), (d, ()))
    )
    (text,) = texts(warn_of_shared_maps, [a, b, c, d, replace(d, digest="e")])
    assert text.startswith("a and b have the same label map and different images")
    # A copy of a case is told of as that.
    assert texts(warn_of_shared_maps, [a, replace(a, name="copy"), c]) == []


def test_a_label_map_whose_volume_is_lost_is_told(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder, names in ((images, "ab"), (labels, "abc")):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.nii.gz").touch()
    found = find_cases([images], [labels])
    assert texts(tell_unused_maps, [str(images)], found) == ["1 label map has no volume by that name, and no use: c."]
    # Who names volumes one by one may want these alone.
    assert texts(tell_unused_maps, [str(images / "a.nii.gz")], found[:1]) == []


@pytest.mark.parametrize(("told", "warned"), [(3, False), (2, False), (5, True)])
def test_another_number_of_cases_than_dataset_json_tells_is_warned_of(tmp_path, told, warned):
    """As where a copy broke off between two files. Of three cases two are labeled."""
    for folder, names in (("imagesTr", "abc"), ("labelsTr", "ab")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.nii.gz").write_bytes(b"x")
    (tmp_path / "dataset.json").write_text(f'{{"numTraining": {told}}}')
    said = texts(warn_of_other_count, [tmp_path], find_cases([tmp_path]))
    assert bool(said) == warned
    assert not warned or "tells of 5 training cases (numTraining), and 2 labeled ones are there" in said[0]
