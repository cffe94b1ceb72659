"""What is not read of a folder of volumes, and whether that is told."""

import json

import pytest
from test_dataset import touch

from contrastiveseg.volumes.left_out import tell_left_out


def told(folder) -> list[tuple[str, str]]:
    seen = []
    tell_left_out([folder], lambda event: seen.append((event.level, event.text)))
    return seen


@pytest.mark.parametrize(
    "name",
    [
        "c.mgz",
        "c.nii.bz2",
        "c.nii.zip",
        "c.img.gz",
        "c.hdr",
        "c.img",
        "c.nii.gz.part",
        "c.v2.NRRD.GZ",
        "c.mha.crdownload",
    ],
)
def test_a_volume_of_a_kind_that_is_not_read_is_warned_of(tmp_path, name):
    """A batch of three scans had two label maps, and no word."""
    touch(tmp_path, "a.nii.gz", "b.mha", name)
    ((level, text),) = told(tmp_path)
    assert level == "warning"
    assert f"{tmp_path} holds {name}, which may be volumes and are not read" in text


def test_what_has_the_name_of_a_volume_and_other_files_are_not_told_of(tmp_path):
    touch(tmp_path, "a.nii.gz", "a.mgz", "b.hdr", "b.img", "notes.txt", "a.json", "a.png", ".c.mgz", "c.bval", "x.tmp")
    touch(tmp_path / "labels", "a.nii.gz", "b_seg.nii.gz", "mask.nii.gz")
    touch(tmp_path / ".hidden", "c.nii.gz")
    assert told(tmp_path) == []
    # Without volumes of its own, a folder is one of patients, or empty, which is told elsewhere.
    touch(tmp_path / "none", "c.mgz")
    assert told(tmp_path / "none") == []


def test_volumes_in_folders_below_and_many_files(tmp_path):
    touch(tmp_path / "imagesTr", "a_0000.nii.gz", *(f"{n}.mgz" for n in range(5)))
    touch(tmp_path / "imagesTr" / "more", "a.nii.gz", "c.nii.gz")
    (_, first), (level, second) = told(tmp_path)
    assert "holds 0.mgz, 1.mgz, 2.mgz and 2 more" in first
    assert level == "info"
    assert "more holds 1 volume, such as c.nii.gz, left out: only those in" in second


def test_what_a_list_holds_for_validation_is_warned_of(tmp_path):
    """MONAI's lists name those cases apart; trainings left them out without a word."""
    listed = {"training": [{"image": "a.nii.gz"}], "validation": [{"image": "b.nii.gz"}, {"image": "c.nii.gz"}]}
    (tmp_path / "list.json").write_text(json.dumps(listed))
    ((level, text),) = told(tmp_path / "list.json")
    assert level == "warning"
    assert 'lists under "validation" (2) is not used' in text
    (tmp_path / "list.json").write_text(json.dumps(listed | {"validation": []}))
    assert told(tmp_path / "list.json") == []
