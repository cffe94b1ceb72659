"""Segments are learned by their names: one structure has one value in all cases, or the files are refused."""

import numpy as np
import pytest
from seg_nrrd import IMAGE, layer, write

from contrastiveseg.errors import InputError
from contrastiveseg.volumes.dataset import CaseFiles
from contrastiveseg.volumes.named_labels import check_same_numbers, names_of, read_case_labels, with_common_values


def cases_of(folder, **segments):
    """A case for each name, with segments (name, value); None for a label file without names."""
    made = []
    for name, given in segments.items():
        path = folder / f"{name}.nii.gz"
        if given is not None:
            voxels = layer()
            for x, (_, value) in enumerate(given):
                voxels[0, 0, x] = value
            path = write(folder / f"{name}.seg.nrrd", [voxels], [(title, 0, value) for title, value in given])
        made.append(CaseFiles(name, (folder / f"{name}_image.nrrd",), path))
    return made


def common(cases, declared=None):
    """The cases with common values, and the warnings."""
    warnings = []
    changed = with_common_values(cases, declared or {}, "dataset.json", lambda event: warnings.append(event.text))
    return changed, warnings


def values(case):
    return read_case_labels(case, IMAGE).array[0, 0, :3].tolist()


def test_exchanged_numbers_follow_the_names(tmp_path):
    first, second, third = cases_of(
        tmp_path,
        a=[("liver", 1), ("spleen", 2)],
        b=[("Spleen", 1), ("Liver", 2)],
        c=[("liver", 1), ("spleen", 2)],
    )
    changed, (warning,) = common([first, second, third])
    assert [values(case) for case in changed] == [[1, 2, 0], [2, 1, 0], [1, 2, 0]]
    assert names_of(changed) == {1: "liver", 2: "spleen"}
    assert "in b: 1 spleen, 2 liver" in warning
    assert "1 liver, 2 spleen" in warning


def test_agreeing_names_change_nothing(tmp_path):
    cases = cases_of(tmp_path, a=[("liver", 1), ("spleen", 2)], b=[("liver", 1)], c=None)
    changed, warnings = common(cases)
    assert not warnings
    assert names_of(changed) == {1: "liver", 2: "spleen"}
    assert values(changed[0]) == [1, 2, 0]


def test_other_names_for_one_number_are_other_structures(tmp_path):
    changed, (warning,) = common(cases_of(tmp_path, a=[("liver", 1)], b=[("liver", 1)], c=[("tumor", 1)]))
    assert [values(case)[0] for case in changed] == [1, 1, 2]
    assert "1 liver, 2 tumor" in warning


def test_declared_names_decide_the_numbers(tmp_path):
    (case,) = cases_of(tmp_path, a=[("liver", 1), ("spleen", 2)])
    changed, _ = common([case], {0: "background", 1: "spleen", 2: "Liver"})
    assert values(changed[0]) == [2, 1, 0]
    assert names_of(changed) == {1: "spleen", 2: "Liver"}
    with pytest.raises(InputError, match=r"the value 1 is 'liver', and in dataset\.json it is 'bone'"):
        common([case], {1: "bone", 2: "spleen"})


def test_files_without_names_are_ambiguous_where_the_others_differ(tmp_path):
    with pytest.raises(InputError, match="c has no names to tell them apart"):
        common(cases_of(tmp_path, a=[("liver", 1), ("spleen", 2)], b=[("spleen", 1), ("liver", 2)], c=None))


def test_a_value_without_name_does_not_become_another_structure(tmp_path):
    cases = cases_of(tmp_path, a=[("liver", 1), ("spleen", 2)], b=[("liver", 2), ("Segment_1", 1)])
    with pytest.raises(InputError, match=r"b\.seg\.nrrd: the value 1 has no name there and is 'liver'"):
        values(common(cases)[0][1])


@pytest.mark.parametrize(
    ("first", "second"),
    [("Segment_1", "Label 3"), ("patient1 label", "patient2 label"), ("Anna's mask", "Bert"), ("1", "")],
)
def test_names_of_files_and_numbers_are_no_structures(tmp_path, first, second):
    changed, warnings = common(cases_of(tmp_path, patient1=[(first, 1)], patient2=[(second, 1)]))
    assert not warnings
    assert names_of(changed) == {}
    assert [values(case)[0] for case in changed] == [1, 1]


def test_files_to_compare_have_the_same_numbers(tmp_path):
    cases = cases_of(tmp_path, a=[("liver", 1), ("Segment_1", 3)], b=[("Liver", 1), ("Segment_1", 2)], c=[("liver", 2)])
    files = [case.labels for case in cases]
    check_same_numbers(files[:2])
    with pytest.raises(InputError, match=r"'liver' has the value 1 in .*a\.seg\.nrrd and 2 in .*c\.seg\.nrrd"):
        check_same_numbers(files)
    check_same_numbers(files[:2], {"a card": {1: "LIVER", 2: "label 7"}, "dataset.json": {7: "label 7", 3: "spleen"}})
    with pytest.raises(InputError, match=r"'Liver' has the value 2 in a card and 1 in .*b\.seg\.nrrd"):
        check_same_numbers(files[1:2], {"a card": {2: "liver"}})
    with pytest.raises(InputError, match=r"'spleen' has the value 1 in a card and 3 in dataset\.json"):
        check_same_numbers([], {"a card": {1: "spleen"}, "dataset.json": {3: "spleen"}})
    check_same_numbers([], {"a card": {0: "background", 8: "Background "}})


def test_a_damaged_label_file_is_left_to_who_reads_it(tmp_path):
    (case,) = cases_of(tmp_path, a=[("liver", 1)])
    broken = case.labels.with_name("b.seg.nrrd")
    broken.write_bytes(case.labels.read_bytes().replace(b"LabelValue:=1", b"LabelValue:=x"))
    (tmp_path / "gone.seg.nrrd").symlink_to("nowhere")
    check_same_numbers([broken, tmp_path / "gone.seg.nrrd", case.labels])


def test_values_above_8_bits(tmp_path):
    (case,) = cases_of(tmp_path, a=[("liver", 1)])
    (changed,), _ = common([case], {300: "liver"})
    assert values(changed)[0] == 300
    assert read_case_labels(changed, IMAGE).array.dtype == np.uint16
