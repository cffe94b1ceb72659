"""Cases are found in every layout, in one order, and what is missing is named."""

import errno
import json
import os
from pathlib import Path

import pytest

from contrastiveseg.errors import InputError
from contrastiveseg.volumes import dataset
from contrastiveseg.volumes.channel_files import check_channel_order
from contrastiveseg.volumes.dataset import CaseFiles, check_labels_chosen, find_cases
from contrastiveseg.volumes.reading import read_volume


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def dicom(folder):
    folder.mkdir(parents=True)
    (folder / "IM0001").write_bytes(bytes(128) + b"DICM")
    return folder


def write(path, data):
    path.write_text(json.dumps(data))
    return path


def test_folders_pair_by_name(tmp_path):
    images = touch(tmp_path / "i", "b.nii.gz", "a.nii.gz", "._a.nii.gz", "notes.txt")
    labels = touch(tmp_path / "l", "a_seg.nrrd", "b.nii.gz", "other.nii.gz")
    assert find_cases([images], [labels]) == [
        CaseFiles("a", (images / "a.nii.gz",), labels / "a_seg.nrrd"),
        CaseFiles("b", (images / "b.nii.gz",), labels / "b.nii.gz"),
    ]
    assert [c.labels for c in find_cases([images])] == [None, None]


def test_a_label_map_beside_its_image_is_no_image(tmp_path):
    folder = touch(tmp_path, "a.nii.gz", "a_seg.nii.gz", "b_0000.nii.gz", "b-label.nrrd", "c.seg.nrrd", "d_seg.nii.gz")
    assert [c.images[0].name for c in find_cases([folder])] == ["a.nii.gz", "b_0000.nii.gz", "d_seg.nii.gz"]


def test_channels(tmp_path):
    images = touch(tmp_path / "i", *(f"p{n}_000{c}.nii.gz" for n in (2, 1) for c in (1, 0)))
    labels = touch(tmp_path / "l", "p1.nii.gz", "p2_label.nii.gz")
    first, second = find_cases([images], [labels])
    assert first == CaseFiles("p1", (images / "p1_0000.nii.gz", images / "p1_0001.nii.gz"), labels / "p1.nii.gz")
    assert second.name == "p2"
    (images / "p2_0001.nii.gz").unlink()
    with pytest.raises(InputError, match=r"Case p\d has \d channel"):
        find_cases([images])


def test_channels_that_were_named_one_by_one_are_in_the_order_of_their_numbers(tmp_path):
    first, second = touch(tmp_path / "t2", "a_0000.nii.gz"), touch(tmp_path / "adc", "a_0001.nii.gz")
    (case,) = find_cases([second / "a_0001.nii.gz", first / "a_0000.nii.gz"])
    assert [image.name for image in case.images] == ["a_0000.nii.gz", "a_0001.nii.gz"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a_0000", "a_0001", "b_0000", "b_0002"], "b has the channels 0000, 0002, and a 0000, 0001"),
        (["a", "a_0000", "b", "b_0000"], "Two files are one image of case a"),
    ],
)
def test_channels_that_differ_between_cases(tmp_path, names, words):
    touch(tmp_path, *(f"{name}.nii.gz" for name in names))
    with pytest.raises(InputError, match=words):
        find_cases([tmp_path])


def test_one_channel_in_two_files(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "a_0000.nrrd")
    with pytest.raises(InputError, match=r"such as a_0000\.nii\.gz and a_0000\.nrrd"):
        find_cases([tmp_path])


def test_numbered_names_are_not_channels(tmp_path):
    images = touch(tmp_path, "scan_0017.nii.gz", "scan_0018.nii.gz")
    assert [c.name for c in find_cases([images])] == ["scan_0017", "scan_0018"]


def test_cases_without_a_label_are_unlabeled(tmp_path):
    images = touch(tmp_path / "i", "a.nii", "b.nii", "c.nii")
    cases = find_cases([images], [touch(tmp_path / "l", "b_seg.nii")])
    assert [(c.name, c.labels and c.labels.name) for c in cases] == [("a", None), ("b", "b_seg.nii"), ("c", None)]


def test_label_maps_beside_their_images_are_used(tmp_path):
    names = (
        "a.nii",
        "a_mask.nii",
        "b_0000.nii",
        "mask-b.nii",
        "c.nii",
        "c.seg.nrrd",
        "d.nii",
        "d_gt.nii",
        "d-Label.nii",
    )
    cases = find_cases([touch(tmp_path, *names)])
    labels = [c.labels and c.labels.name for c in cases]
    assert [c.name for c in cases] == ["a", "b", "c", "d"]
    assert labels == ["a_mask.nii", "mask-b.nii", "c.seg.nrrd", None], "of two for d, neither"


def test_one_folder_for_images_and_labels(tmp_path):
    folder = touch(tmp_path / "all", "a.nii", "a_mask.nii", "b.nii", "b_mask.nii")
    assert [c.labels.name for c in find_cases([folder], [folder])] == ["a_mask.nii", "b_mask.nii"]
    with pytest.raises(InputError, match=r"a\.nii is given as an image and as its label map, the same file"):
        find_cases([folder / "a.nii"], [folder / "a.nii"])
    with pytest.raises(InputError, match="the same file"):
        find_cases([touch(tmp_path / "images", "a.nii")], [tmp_path / "images"])


def test_a_composed_and_a_decomposed_accent_are_one_name(tmp_path):
    composed, decomposed = "M\u00f6we", "Mo\u0308we"
    images, labels = touch(tmp_path / "i", f"{decomposed}.nii"), touch(tmp_path / "l", f"{composed}.nii")
    (case,) = find_cases([images], [labels])
    assert case.name == composed
    assert case.labels == labels / f"{composed}.nii"


def test_files_in_another_order(tmp_path):
    touch(tmp_path, "anna.nii", "bert.nii", "of bert.nii", "of_Anna_too.nii", "p1.nii", "p2.nii", "m2.nii", "m1.nii")

    def pairs(images, labels):
        return {
            c.name: c.labels.name for c in find_cases(*([tmp_path / n for n in names] for names in (images, labels)))
        }

    paired = pairs(["anna.nii", "bert.nii"], ["of bert.nii", "of_Anna_too.nii"])
    assert paired == {"anna": "of_Anna_too.nii", "bert": "of bert.nii"}
    assert pairs(["p1.nii", "p2.nii"], ["m1.nii", "m2.nii"]) == {"p1": "m1.nii", "p2": "m2.nii"}
    touch(tmp_path, "x.nii")
    for images, labels in (
        (["p1.nii", "p2.nii"], ["m2.nii", "m1.nii"]),
        (["anna.nii", "bert.nii"], ["x.nii", "of_Anna_too.nii"]),
    ):
        with pytest.raises(InputError, match="Which label map belongs to which image"):
            pairs(images, labels)


def test_a_link_to_a_file_that_is_gone_is_a_case(tmp_path):
    touch(tmp_path, "a.nii")
    (tmp_path / "b.nii").symlink_to("gone.nii")
    assert [c.name for c in find_cases([tmp_path])] == ["a", "b"]


def test_several_label_maps_of_a_case_are_asked_about_where_labels_are_learned_from(tmp_path):
    touch(tmp_path / "all" / "p1", "imaging.nii.gz", "segmentation.nii.gz")
    touch(tmp_path / "all" / "p2", "imaging.nii.gz", "liver_mask.nii.gz", "spleen_mask.nii.gz")
    beside = touch(tmp_path / "beside", "a.nii.gz", "a_seg.nii.gz", "b.nii.gz", "b_seg.nii.gz", "b_mask.nii.gz")
    for folder, case, names in (
        (tmp_path / "all", "p2", r"liver_mask\.nii\.gz and spleen_mask\.nii\.gz"),
        (beside, "b", r"b_mask\.nii\.gz and b_seg\.nii\.gz"),
    ):
        cases = find_cases([folder])  # to segment they are cases like others
        assert [found.labels is None for found in cases] == [False, True]
        with pytest.raises(InputError, match=f"holds 2 label maps of {case}: {names}. Which one is meant"):
            check_labels_chosen(cases)
    check_labels_chosen(find_cases([beside], [touch(tmp_path / "right", "b.nii.gz")]))


def test_a_folder_a_patient(tmp_path):
    for name in ("p2", "p1", ".hidden", "notes"):
        touch(tmp_path / name)
    touch(tmp_path / "p1", "imaging.nii.gz", "segmentation.nii.gz")
    touch(tmp_path / "p2", "scan_0000.nii.gz", "scan_0001.nii.gz", "scan.seg.nrrd")
    series = dicom(tmp_path / "p3" / "2024" / "T1")
    one, two = dicom(tmp_path / "p4" / "a"), dicom(tmp_path / "p4" / "b")
    images = [tmp_path / "p2" / f"scan_000{channel}.nii.gz" for channel in (0, 1)]
    assert find_cases([tmp_path]) == [
        CaseFiles("p1", (tmp_path / "p1/imaging.nii.gz",), tmp_path / "p1/segmentation.nii.gz"),
        CaseFiles("p2", tuple(images), tmp_path / "p2/scan.seg.nrrd"),
        CaseFiles("p3", (series,), None),
        CaseFiles("p4_a", (one,), None),
        CaseFiles("p4_b", (two,), None),
    ]
    touch(tmp_path / "p5", "before.nii", "after.nii")
    with pytest.raises(InputError, match=r"p5 holds 2 volumes.*after\.nii, before\.nii.*JSON"):
        find_cases([tmp_path])


def test_volumes_a_folder_below_each_patient(tmp_path):
    """As BIDS, XNAT and others have them; label maps of others' making are no patients."""
    for patient in ("p1", "p2"):
        touch(tmp_path / patient / "anat", f"{patient}_T1w.nii.gz", f"{patient}_T1w_seg.nii.gz")
    touch(tmp_path / "derivatives" / "p1", "p1_mask.nii.gz")
    touch(tmp_path / ".cache" / "p1", "p1.nii.gz")
    assert find_cases([tmp_path]) == [
        CaseFiles(p, (tmp_path / p / f"anat/{p}_T1w.nii.gz",), tmp_path / p / f"anat/{p}_T1w_seg.nii.gz")
        for p in ("p1", "p2")
    ]
    touch(tmp_path / "sourcedata" / "p1", "raw.nii.gz")
    with pytest.raises(InputError, match="sourcedata holds volumes in p1"):
        find_cases([tmp_path])
    touch(tmp_path / "p2" / "func", "bold.nii.gz")
    with pytest.raises(InputError, match="p2 holds volumes in anat and func"):
        find_cases([tmp_path])


def test_a_patient_whose_volume_lies_deeper_than_those_of_others_is_not_left_out(tmp_path):
    touch(tmp_path / "p1", "scan.nii.gz")
    touch(tmp_path / "p2" / "visit", "scan.nii.gz")
    with pytest.raises(InputError, match="p2 holds volumes in visit"):
        find_cases([tmp_path])


def test_volumes_are_not_opened_in_search_of_dicom(tmp_path, monkeypatch):
    touch(tmp_path, "a.nii", "b.nii")

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert [c.name for c in find_cases([tmp_path])] == ["a", "b"]


def test_the_folder_of_a_data_set_is_no_folder_of_patients(tmp_path):
    touch(tmp_path / "task" / "imagesTr", "a.nii")
    for given in (tmp_path / "task", tmp_path):
        with pytest.raises(InputError, match="imagesTr does"):
            find_cases([given])


def test_a_volume_among_dicom_slices_is_refused(tmp_path):
    touch(dicom(tmp_path / "p1"), "liver.nii.gz")
    with pytest.raises(InputError, match=r"holds DICOM slices and liver\.nii\.gz"):
        find_cases([tmp_path / "p1"])


def test_files_one_by_one(tmp_path):
    touch(tmp_path, "x.nii", "y.nii", "one.nii", "two.nii", "x_seg.nii", "y_seg.nii")
    named = find_cases([tmp_path / "x.nii", tmp_path / "y.nii"], [tmp_path / "y_seg.nii", tmp_path / "x_seg.nii"])
    assert [c.labels.name for c in named] == ["x_seg.nii", "y_seg.nii"]
    ordered = find_cases([tmp_path / "y.nii", tmp_path / "x.nii"], [tmp_path / "one.nii", tmp_path / "two.nii"])
    assert [(c.name, c.labels.name) for c in ordered] == [("x", "two.nii"), ("y", "one.nii")]


def test_dicom_folders(tmp_path):
    one, two = dicom(tmp_path / "d/p1"), dicom(tmp_path / "d/p2")
    assert find_cases([one]) == [CaseFiles("p1", (one,), None)]
    assert find_cases([tmp_path / "d"]) == [CaseFiles("p1", (one,), None), CaseFiles("p2", (two,), None)]


def test_dicom_folders_one_by_one(tmp_path):
    """Their labels pair in the order given, too; a folder of patients has no order."""
    one, two = dicom(tmp_path / "d/p1"), dicom(tmp_path / "d/p2")
    labels = [touch(tmp_path, name) / name for name in ("liver.nii", "other.nii")]
    assert [case.labels for case in find_cases([one], labels[:1])] == labels[:1]
    assert [case.labels for case in find_cases([two, one], labels)] == [*reversed(labels)]
    for images in ([tmp_path / "d"], [one, touch(tmp_path, "x.nii") / "x.nii"]):
        with pytest.raises(InputError, match="No label file matches an image by name"):
            find_cases(images, labels)


def test_dicom_in_the_folder_one_stands_in(tmp_path, monkeypatch):
    dicom(tmp_path / "p1")
    monkeypatch.chdir(dicom(tmp_path / "p1" / "inner"))
    assert [find_cases([Path(p)])[0].name for p in (".", "..")] == ["inner", "p1"]
    assert find_cases([write(tmp_path / "p1" / "inner" / "list.json", [{"image": ".."}])])[0].name == "p1"


def test_no_case_is_without_a_name(tmp_path):
    assert find_cases([touch(tmp_path, ".nii.gz") / ".nii.gz"])[0].name == "volume"


def test_nothing_found(tmp_path):
    with pytest.raises(InputError, match="holds no volumes"):
        find_cases([touch(tmp_path / "empty")])
    with pytest.raises(InputError, match="does not exist"):
        find_cases([tmp_path / "none"])
    with pytest.raises(InputError, match="No images"):
        find_cases([])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_a_pipe_is_neither_left_out_nor_waited_for(tmp_path):
    touch(tmp_path, "a.nii")
    for name in ("b.nii", "list.json"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match="is neither a file nor a folder"):
            find_cases([tmp_path / "a.nii", tmp_path / name])


def test_label_maps_that_have_their_images_numbers(tmp_path):
    """CASE_0000 is the name of an image of one channel, and some name its label map so, too."""
    touch(tmp_path / "images", "a_0000.nii", "b_0000.nii")
    touch(tmp_path / "labels", "a_0000.nii", "b.nii")
    cases = find_cases([tmp_path / "images"], [tmp_path / "labels"])
    assert [(c.name, c.labels and c.labels.name) for c in cases] == [("a", "a_0000.nii"), ("b", "b.nii")]
    # Patients numbered like channels: which label map is meant is not known.
    touch(tmp_path / "patients", "p_0000.nii", "p_0001.nii")
    touch(tmp_path / "masks", "p_0000.nii", "p_0001.nii")
    with pytest.raises(InputError, match="No label file matches"):
        find_cases([tmp_path / "patients"], [tmp_path / "masks"])


def test_labels_that_do_not_fit(tmp_path):
    images = touch(tmp_path / "i", "a.nii", "b.nii")
    with pytest.raises(InputError, match="No label file matches"):
        find_cases([images], [touch(tmp_path / "l2", "c.nii", "d.nii")])
    with pytest.raises(InputError, match="two label files"):
        find_cases([images], [touch(tmp_path / "l3", "a.nii", "a_seg.nii", "b.nii")])
    with pytest.raises(InputError, match="holds no label files"):
        find_cases([images], [touch(tmp_path / "l4")])


def test_a_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(dataset, "_image_files", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        find_cases([tmp_path])


def test_two_cases_of_one_name(tmp_path):
    first, second = touch(tmp_path / "1", "a.nii"), touch(tmp_path / "2", "a.nii")
    for images in ([first, second], [first / "a.nii", second / "a.nii"]):
        with pytest.raises(InputError, match="Two cases are named a"):
            find_cases(images)


def test_a_link_to_itself_is_named(tmp_path):
    for folder in ("images", "labels"):
        touch(tmp_path / folder, "a.nii.gz")
    (tmp_path / "images/b.nii.gz").symlink_to("b.nii.gz")
    cases = find_cases([tmp_path / "images"], [tmp_path / "labels"])
    assert [case.name for case in cases] == ["a", "b"]
    with pytest.raises(InputError, match=r"b\.nii\.gz is a link to b\.nii\.gz, which is not there"):
        read_volume(cases[1].images[0])


def test_a_patient_whose_folder_is_a_link_to_what_is_gone_is_named(tmp_path):
    touch(tmp_path / "p01", "scan.nii.gz")
    (tmp_path / "README.md").symlink_to("nowhere")
    assert [case.name for case in find_cases([tmp_path])] == ["p01"]
    (tmp_path / "p02").symlink_to(tmp_path / "disk" / "p02")
    with pytest.raises(InputError, match=r"p02 is a link to .*disk/p02, which is not there"):
        find_cases([tmp_path])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("a_T2", "a_ADC"), ""),
        (("a_adc", "a_t2"), "not the channels T2, ADC in this order"),
        (("ADC", "T2"), "not the channels"),
        (("a_0001", "a_0000"), "not the channels"),
        (("a_0000", "a_0001"), ""),
        (("T2_0003", "T1_0001"), ""),
        (("a_T2", "a_T2"), "a_T2.nii.gz is given for two channels"),
        (("a_ADC", "b"), ""),
        (("b", "a"), ""),
        (("a",), ""),
    ],
)
def test_files_of_channels_in_another_order_by_their_names(tmp_path, given, words):
    """They were taken in the order given: the network saw each channel as the other."""
    images = [touch(tmp_path, f"{name}.nii.gz") / f"{name}.nii.gz" for name in given]
    if not words:
        check_channel_order(images, ("T2", "ADC"))
        return
    with pytest.raises(InputError, match=words):
        check_channel_order(images, ("T2", "ADC"))
