"""Cases that a JSON file names: Decathlon's, nnU-Net's and lists, in any encoding, and what is wrong with them."""

import json
from pathlib import Path

import pytest
from test_dataset import touch, write

from contrastiveseg.errors import InputError
from contrastiveseg.volumes.dataset import CaseFiles, find_cases
from contrastiveseg.volumes.dataset_json import declared_channels, declared_counts
from contrastiveseg.volumes.declared_labels import declared_in, declared_labels


def test_decathlon(tmp_path):
    touch(tmp_path / "imagesTr", "h1.nii.gz")
    touch(tmp_path / "labelsTr", "h1.nii.gz")
    entry = {"image": "./imagesTr/h1.nii.gz", "label": "./labelsTr/h1.nii.gz"}
    path = write(tmp_path / "dataset.json", {"training": [entry], "labels": {"0": "background", "1": "Anterior"}})
    expected = [CaseFiles("h1", (tmp_path / "imagesTr/h1.nii.gz",), tmp_path / "labelsTr/h1.nii.gz")]
    assert find_cases([path]) == expected
    assert find_cases([tmp_path]) == expected
    assert declared_in(path).names == {0: "background", 1: "Anterior"}


def test_nnunet(tmp_path):
    touch(tmp_path / "imagesTr", "h1_0000.nii.gz")
    touch(tmp_path / "labelsTr", "h1.nii.gz")
    path = write(tmp_path / "dataset.json", {"labels": {"background": 0, "tumor": 2, "liver": 1}})
    assert find_cases([path]) == [
        CaseFiles("h1", (tmp_path / "imagesTr/h1_0000.nii.gz",), tmp_path / "labelsTr/h1.nii.gz")
    ]
    assert declared_in(path).names == {0: "background", 1: "liver", 2: "tumor"}


def test_nnunets_first_version_lists_images_without_their_channels(tmp_path):
    touch(tmp_path / "imagesTr", *(f"{c}_000{n}.nii.gz" for c in "ab" for n in (0, 1)))
    touch(tmp_path / "labelsTr", "a.nii.gz", "b.nii.gz")
    entries = [
        {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"},
        {"image": "imagesTr\\b.nii.gz", "label": "labelsTr\\b.nii.gz"},
    ]
    path = write(tmp_path / "dataset.json", {"training": entries, "labels": {"0": "background", "1": "x"}})
    assert find_cases([path]) == [
        CaseFiles(c, tuple(tmp_path / f"imagesTr/{c}_000{n}.nii.gz" for n in (0, 1)), tmp_path / f"labelsTr/{c}.nii.gz")
        for c in "ab"
    ]
    (tmp_path / "imagesTr/a_0000.nii.gz").unlink()
    with pytest.raises(InputError, match=r"training\[0\].*a\.nii\.gz does not exist"):
        find_cases([path])


def test_json_list(tmp_path):
    touch(tmp_path, "a.nii", "b.nii", "c.nii", "m.nii")
    path = write(tmp_path / "list.json", [{"image": "b.nii"}, {"image": ["a.nii", "c.nii"], "label": "m.nii"}])
    assert find_cases([path]) == [
        CaseFiles("a", (tmp_path / "a.nii", tmp_path / "c.nii"), tmp_path / "m.nii"),
        CaseFiles("b", (tmp_path / "b.nii",), None),
    ]


def test_names_in_a_json_list(tmp_path):
    for patient in ("p1", "p2", "p3"):
        touch(tmp_path / patient, "imaging.nii")
    entries = [{"image": f"{p}/imaging.nii"} for p in ("p1", "p2")] + [{"name": "third", "image": "p3/imaging.nii"}]
    cases = find_cases([write(tmp_path / "list.json", entries)])
    assert [c.name for c in cases] == ["p1_imaging", "p2_imaging", "third"]
    for name in ("", "a/b", 3, ".."):
        with pytest.raises(InputError, match=r"\[0\]: name must be"):
            find_cases([write(tmp_path / "bad.json", [{"image": "p1/imaging.nii", "name": name}])])


def test_nnunets_list_of_cases(tmp_path):
    touch(tmp_path / "imagesTr", *(f"{c}_0000.nii.gz" for c in "abc"))
    touch(tmp_path / "labelsTr", *(f"{c}.nii.gz" for c in "abc"))
    chosen = {c: {"images": [f"imagesTr/{c}_0000.nii.gz"], "label": f"labelsTr/{c}.nii.gz"} for c in "ab"}
    path = write(tmp_path / "dataset.json", {"labels": {"background": 0, "x": 1}, "dataset": chosen})
    assert [c.name for c in find_cases([path])] == ["a", "b"]
    with pytest.raises(InputError, match="dataset: expected an object"):
        find_cases([write(path, {"dataset": ["a"]})])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_from_windows(tmp_path, encoding):
    touch(tmp_path / "imagesTr", "a.nii")
    text = json.dumps(
        {"training": [{"image": ".\\imagesTr\\a.nii"}], "labels": {"0": "background", "1": "x"}}, indent=1
    )
    path = tmp_path / "dataset.json"
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert find_cases([path])[0].images == (tmp_path / "imagesTr/a.nii",)
    assert declared_in(path).names == {0: "background", 1: "x"}


def test_channels_that_are_declared(tmp_path):
    path = write(tmp_path / "dataset.json", {"modality": {"1": "ADC", "0": "T2"}})
    assert declared_channels([path]) == declared_channels([tmp_path / "imagesTr"]) == ("T2", "ADC")
    other = write(touch(tmp_path / "other") / "dataset.json", {"channel_names": {"0": "CT"}})
    assert declared_channels([other]) == ("CT",)
    assert declared_channels([path, other]) == declared_channels([tmp_path / "x" / "y"]) == ()
    with pytest.raises(InputError, match="modality: expected"):
        declared_channels([write(path, {"modality": ["CT"]})])


def test_a_listing_among_the_labels(tmp_path):
    images, listing = touch(tmp_path / "images", "a.nii.gz"), write(tmp_path / "dataset.json", {})
    with pytest.raises(InputError, match="Give it as --images, without --labels"):
        find_cases([images], [listing])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text", "expected an object"),
        ({"training": {}}, "training: expected a list"),
        ({"training": ["a.nii"]}, r"training\[0\]"),
        ([{"label": "a.nii"}], r"\[0\]: expected"),
        ([{"image": 3}], r"\[0\]: image and label must be file names"),
        ([{"image": "gone.nii"}], r"\[0\]: .*gone\.nii does not exist"),
        ([{"image": "x" * 5000}], r"\[0\]: .{1,90} does not exist"),
        ([{"image": "a\0.nii"}], r"\[0\]: .* does not exist"),
        ([{"image": "x.json", "name": "a\0b"}], "must be a name for the case's files"),
        ({"labels": {}}, "no folder imagesTr"),
    ],
)
def test_json_of_the_wrong_shape(tmp_path, data, message):
    with pytest.raises(InputError, match=message):
        find_cases([write(tmp_path / "x.json", data)])


def test_not_json_and_wrong_labels(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match="is not a JSON file"):
        find_cases([tmp_path / "x.json"])
    with pytest.raises(InputError, match=r"labels\.whole is a region of the labels \[1, 2\]"):
        declared_in(write(tmp_path / "y.json", {"labels": {"background": 0, "whole": [1, 2]}}))
    with pytest.raises(InputError, match="two names"):
        declared_in(write(tmp_path / "z.json", {"labels": {"a": 1, "b": 1}}))
    with pytest.raises(InputError, match="labels"):
        declared_in(write(tmp_path / "w.json", {}))


def test_label_names_of_a_data_set_that_is_named_or_beside(tmp_path):
    images = touch(tmp_path / "imagesTr", "a.nii")
    assert declared_labels([images]).names == {}
    listing = write(tmp_path / "dataset.json", {"labels": {"background": 0, "organ": 1}})
    other = write(touch(tmp_path / "other") / "dataset.json", {"labels": {"background": 0, "bone": 2, "ignore": 3}})
    for path in (listing, tmp_path, images):
        assert declared_labels([tmp_path / "nowhere" / "x", path]).names == {0: "background", 1: "organ"}
        together = declared_labels([path, other, images])
        assert together.names == {0: "background", 1: "organ", 2: "bone"}
        assert together.ignore == 3


@pytest.mark.parametrize(
    ("labels", "words", "renamed"),
    [
        ({"spleen": 1, "liver": 2}, "spleen is 2 and 1", False),
        ({"background": 0, "Spleen": 1}, "Spleen is 2 and 1", False),
        ({"bone": 1}, "1 is liver and bone", True),
        ({"liver": 1, "ignore": 3}, "ignore is 4 and 3", False),
        ({"spleen": 2, "kidney": 4}, "4 is ignore and kidney", False),
    ],
)
def test_data_sets_used_together_name_their_labels_alike(tmp_path, labels, words, renamed):
    """The names of the first were taken for both, so that structures were mixed."""
    first = write(
        touch(tmp_path / "one") / "dataset.json", {"labels": {"background": 0, "liver": 1, "spleen": 2, "ignore": 4}}
    )
    second = write(touch(tmp_path / "two") / "dataset.json", {"labels": labels})
    with pytest.raises(InputError, match=f"contradict each other: {words}"):
        declared_labels([first, second])
    # Other names for the values, as a label table gives them, leave no doubt but where values mean something else.
    if renamed:
        assert declared_labels([first, second], renamed=True).names[1] == "liver"
    else:
        with pytest.raises(InputError, match=words):
            declared_labels([first, second], renamed=True)


@pytest.mark.parametrize("labels", [("b", "a"), ("a", "a")])
def test_a_list_that_mixes_up_its_label_maps_is_refused(tmp_path, labels):
    for name in "ab":
        touch(tmp_path, f"{name}_0000.nii.gz", f"{name}_seg.nii.gz")
    entries = [
        {"image": f"{image}_0000.nii.gz", "label": f"{own}_seg.nii.gz"} for image, own in zip("ab", labels, strict=True)
    ]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match="which has the name of another of its images"):
        find_cases([tmp_path / "list.json"])


@pytest.mark.parametrize(
    "entries",
    [
        [(["imagesTr/la_003_0000"], "labelsTr/la_007")],
        [(["la_003_0000", "la_004_0001"], None)],
        [(["p01/image"], "p02/segmentation")],
        [(["p01/image"], "p02/segmentation"), (["p02/image"], "p01/segmentation")],
        [(["p01/T1", "p02/T2"], None), (["p02/T1", "p02/T2"], None)],
        [(["anna_t1", "anna_t2"], None), (["bert_t1", "anna_t2"], None)],
        [(["t1/p01", "t2/p1"], None), (["t1/p02", "t2/p02"], None), (["t1/p03", "t2/p09"], None)],
        [(["scan1"], "maps/scan1"), (["scan2"], "maps/scan9")],
    ],
)
def test_an_entry_with_files_of_two_patients_is_refused(tmp_path, entries):
    with pytest.raises(
        InputError, match=r"in one entry, which by their names are of two cases|has the name of another"
    ):
        find_cases([list_of(tmp_path, entries)])


@pytest.mark.parametrize(
    "entries",
    [
        [(["p01/T1", "p01/T2"], "p01/seg")],
        [(["p01_TE10", "p01_TE20"], "p01_seg-2")],
        [(["t1/p01", "t2/p1"], "seg/P01_corrected"), (["t1/p02", "t2/p02"], "seg/p02")],
        [(["scan_0000"], "labels/scan"), (["other"], "labels/of_other_2")],
        [(["a"], "x1"), (["b"], "x2")],
        [(["p1_v1"], "p1_v1_seg"), (["p1_v2"], "p1_v2_seg"), (["p2_v1"], "p2_v1_seg")],
        [(["p1", "template"], None), (["p2", "template"], None)],
        [([f"sub-{n}_T1w", f"sub-{n}_T2w"], f"sub-{n}_T2w_seg") for n in ("01", "02", "03")],
        [(["sub-01_T1w"], "sub-01_T2w_seg")],
        [([f"p{n}_3/image", f"p{n}_4/image"], f"p{n}_501/seg") for n in (1, 2)],
        [([f"20230{n}01_p{n}"], f"20240{n}15_p{n}") for n in (1, 2, 3)],
    ],
)
def test_an_entry_with_files_of_one_patient_is_read(tmp_path, entries):
    assert len(find_cases([list_of(tmp_path, entries)])) == len(entries)


def list_of(folder: Path, entries) -> Path:
    """A JSON list with ``entries`` of (images, label), by names of files that are there."""
    ending = ".nii.gz"
    for images, label in entries:
        for name in (*images, *([label] if label else [])):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}{ending}").touch()
    listed = [
        {"image": [name + ending for name in images], **({"label": label + ending} if label else {})}
        for images, label in entries
    ]
    (folder / "list.json").write_text(json.dumps(listed))
    return folder / "list.json"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"liver": 0, "background": 1}, "liver is 0, and background 1"),
        ({"background": 0, " ": 1}, "1 has no name"),
        ({"0": "background", "1": "tumor", "2": "Tumor"}, "two are called tumor"),
        ({"background": 0, "liver": 65536}, "labels.liver is 65536"),
        ({"background": 0, "liver": -1}, "labels.liver is -1"),
        ({"1" * 5000: "liver"}, "labels.1+...1+: expected"),
        ({"background": 0, "1": 2, "2": 1}, "is 1 the name of the value 2, or the other way round"),
    ],
)
def test_names_of_labels_that_cannot_be_meant(tmp_path, labels, words):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(InputError, match=words):
        declared_in(tmp_path / "dataset.json")


def test_ignore_is_known_in_any_letters(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1, "Ignore": 2}}))
    declared = declared_in(tmp_path / "dataset.json")
    assert (declared.ignore, declared.names) == (2, {0: "background", 1: "liver"})


def test_fields_that_contradict_each_other_on_ct(tmp_path):
    fields = {"modality": {"0": "CT"}, "channel_names": {"0": "T1"}}
    path = write(tmp_path / "dataset.json", fields)
    with pytest.raises(InputError, match=r"channel_names and modality contradict each other \(T1; CT\)"):
        declared_channels([path])
    write(path, fields | {"modality": {"0": "MRI"}})
    assert declared_channels([path]) == ("T1",)


def test_numbers_of_cases_are_read_where_they_are_told(tmp_path):
    path = write(tmp_path / "dataset.json", {"numTraining": 5})
    assert list(declared_counts([path, tmp_path])) == [(path, 5)]
    write(path, {"numTraining": "5"})
    assert list(declared_counts([path])) == []


def test_a_name_that_is_given_twice_is_refused(tmp_path):
    """Python's reader takes the last one: the liver would be 2."""
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1, "liver": 2}}')
    with pytest.raises(InputError, match="liver is named twice"):
        declared_in(tmp_path / "dataset.json")


def test_a_number_of_thousands_of_digits(tmp_path):
    (tmp_path / "dataset.json").write_text('{"labels": {"liver": %s}}' % ("1" * 5000))
    with pytest.raises(InputError, match="is not a JSON file"):
        declared_in(tmp_path / "dataset.json")
