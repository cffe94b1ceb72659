"""Evaluating folders: pairing, what is left out and said so, summaries, tables, cancelling."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import seg_nrrd
import SimpleITK as sitk

from contrastiveseg import serialization
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.descriptions import EvaluateJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.evaluation.evaluate import evaluate
from contrastiveseg.evaluation.job import run_evaluation
from contrastiveseg.evaluation.tables import to_csv, to_json, to_lines, to_markdown, write_tables
from contrastiveseg.events import Log, Progress
from contrastiveseg.results import result_from_json

LABELS = {1: "wall", 2: "cavity"}


def write(path, array, spacing=(1.0, 1.0, 2.0)):
    path.parent.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(np.asarray(array, np.uint8))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def truth():
    array = np.zeros((8, 16, 16), np.uint8)
    array[2:6, 3:13, 3:13] = 1
    array[3:5, 5:11, 5:11] = 2
    return array


@pytest.fixture
def folders(tmp_path):
    """Case a is perfect, b lacks the cavity and holds a stray 9, c has no prediction, d no reference."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for case in "abc":
        write(references / f"{case}.nii.gz", truth())
    write(predictions / "a.nrrd", truth())
    wrong = np.where(truth() == 2, 1, truth())
    wrong[0, 0, 0] = 9
    write(predictions / "b.nii.gz", wrong)
    write(predictions / "d.nii.gz", truth())
    return predictions, references


def test_cases_pair_by_name_whatever_the_ending(folders):
    evaluation = evaluate(*folders, LABELS)
    assert [c.case for c in evaluation.cases] == ["a", "b"]
    assert evaluation.missing == ("c",)
    assert evaluation.unreferenced == ("d",)
    assert [s.dice for s in evaluation.cases[0].scores] == [1.0, 1.0]


@pytest.mark.parametrize("side", [0, 1])
def test_cases_pair_with_seg_or_label_behind_their_name(folders, side):
    for path in list(folders[side].iterdir()):
        path.rename(path.with_name(path.name.replace(".", "_seg.", 1)))
    evaluation = evaluate(*folders, LABELS)
    assert [c.case for c in evaluation.cases] == ["a", "b"]
    # A file of the very name comes first, which is told; and two that could be meant are not chosen between.
    write(folders[side] / "a.nii.gz", truth())
    seen: list[object] = []
    assert len(evaluate(*folders, LABELS, seen.append).cases) == 2
    told = [event.text for event in seen if isinstance(event, Log)]
    assert any(text.startswith("a_seg is not compared: a is taken for the reference") for text in told) == (side == 1)
    write(folders[side] / "b_label.nii.gz", truth())
    with pytest.raises(InputError, match="two files for case b"):
        evaluate(*folders, LABELS)


@pytest.mark.parametrize("side", ["p", "r"])
def test_a_segmentation_that_was_cropped_is_compared_where_it_lies(tmp_path, side):
    whole = seg_nrrd.layer((1, 2, 3), (1, 2, 4), (2, 3, 3))
    segments = [("liver", 0, 1)]
    for name in "pr":
        seg_nrrd.write(tmp_path / name / "a.seg.nrrd", [whole], segments)
    origin = tuple(np.array(seg_nrrd.IMAGE.origin) + np.array((3, 2, 1)) * seg_nrrd.IMAGE.spacing)
    seg_nrrd.write(tmp_path / side / "a.seg.nrrd", [whole[1:3, 2:4, 3:5]], segments, origin)
    (case,) = evaluate(tmp_path / "p", tmp_path / "r").cases
    assert [(score.dice, score.reference_ml) for score in case.scores] == [(1.0, pytest.approx(3 * 0.012))]


def test_files_compared_with_themselves_are_told(folders):
    seen: list = []
    evaluate(folders[1], folders[1], emit=seen.append)
    assert any("are the same file" in event.text for event in seen if isinstance(event, Log))


def test_references_with_other_numbers_are_told(folders):
    """One structure is 1 in a and 255 in b: its scores fall apart."""
    write(folders[1] / "a.nii.gz", truth() == 1)
    write(folders[1] / "b.nii.gz", np.where(truth() == 1, 255, 0))
    seen: list = []
    evaluate(*folders, emit=seen.append)
    assert any("different numbers: 1 in a, 255 in b" in event.text for event in seen if isinstance(event, Log))


@pytest.mark.parametrize("side", [0, 1])
def test_an_image_is_no_label_map(folders, side):
    image = np.random.default_rng(0).integers(0, 200, (8, 16, 16))
    write(folders[side] / ("a.nrrd", "a.nii.gz")[side], image)
    evaluation = evaluate(*folders, LABELS)
    assert "looks like an image" in evaluation.refused["a"]
    assert [case.case for case in evaluation.cases] == ["b"]


def test_of_many_values_that_are_no_labels_a_few_are_listed(folders):
    many = truth()
    many[0, :5] = np.arange(5)[:, None] + 10
    many[1, :8] = np.arange(8)[:, None] + 20
    write(folders[0] / "a.nrrd", many)
    seen: list[object] = []
    evaluate(*folders, LABELS, seen.append)
    (told,) = [event.text for event in seen if isinstance(event, Log) and "a: the prediction" in event.text]
    assert told == "a: the prediction holds 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, ..., which is not among the labels."


def test_empties_and_undeclared_values_are_reported(folders):
    events = []
    evaluation = evaluate(*folders, LABELS, emit=events.append)
    wall, cavity = evaluation.cases[1].scores
    assert (cavity.status, cavity.dice, cavity.hd95_mm) == ("empty prediction", 0.0, None)
    assert wall.status == "measured"
    assert evaluation.cases[1].undeclared_in_prediction == (9,)
    assert evaluation.cases[1].undeclared_in_reference == ()
    texts = " ".join(e.text for e in events if isinstance(e, Log))
    assert "c: no prediction" in texts
    assert "b: the prediction holds 9" in texts


def test_summary_averages_where_defined(folders):
    evaluation = evaluate(*folders, LABELS)
    wall, cavity = evaluation.summary
    assert cavity.statistics["dice"].mean == 0.5
    assert cavity.statistics["dice"].median == 0.5
    assert cavity.statistics["dice"].sd == pytest.approx(np.std([1, 0], ddof=1))
    assert (cavity.statistics["hd95_mm"].n, cavity.statistics["hd95_mm"].mean) == (1, 0.0)
    assert cavity.n_empty_prediction == 1
    scores = [wall.statistics["dice"].mean, cavity.statistics["dice"].mean]
    assert evaluation.overall.statistics["dice"].mean == pytest.approx(np.mean(scores))


def test_labels_default_to_the_references_values(folders):
    assert evaluate(*folders).labels == {1: "label 1", 2: "label 2"}


def test_structures_have_the_names_of_a_dataset_json_beside_the_references(folders, tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "wall": 1}}))
    output = tmp_path / "out.json"
    result = run_evaluation(EvaluateJob(predictions=str(folders[0]), references=str(folders[1]), output=str(output)))
    assert {row.label: row.name for row in result.rows} == {1: "wall", 2: "label 2"}


@pytest.fixture
def patients(folders, tmp_path):
    """The cases of ``folders`` as a data set with a folder a patient, whose files have one name each."""
    for case in "abc":
        folder = tmp_path / "scans" / case
        folder.mkdir(parents=True)
        write(folder / "imaging.nii.gz", truth())
        (folders[1] / f"{case}.nii.gz").rename(folder / "segmentation.nii.gz")
    return tmp_path / "scans"


def test_references_may_be_a_folder_a_patient(folders, patients):
    evaluation = evaluate(folders[0], patients, LABELS)
    assert ([case.case for case in evaluation.cases], evaluation.missing) == (["a", "b"], ("c",))
    assert [score.dice for score in evaluation.cases[0].scores] == [1.0, 1.0]
    # As two folders, not as two files.
    with pytest.raises(InputError, match=r"named like a labeled case of .*scans, as a\."):
        evaluate(folders[1], patients, LABELS)
    with pytest.raises(InputError, match="one of them is a file"):
        evaluate(folders[0] / "d.nii.gz", patients, LABELS)
    write(patients / "a" / "imaging_mask.nii.gz", truth())
    with pytest.raises(InputError, match="2 label maps of a"):
        evaluate(folders[0], patients, LABELS)


def test_what_a_list_says_of_a_reference_holds_for_its_scores(folders, patients, tmp_path):
    """Of a only the wall was looked for; of b only the slices with paint are labeled, so its stray 9 is in no score."""
    entries = [
        {"image": "scans/a/imaging.nii.gz", "label": "scans/a/segmentation.nii.gz", "structures": ["wall"]},
        {"image": "scans/b/imaging.nii.gz", "label": "scans/b/segmentation.nii.gz", "labeled_part": "slices"},
    ]
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([{**entry, "name": name} for entry, name in zip(entries, "ab", strict=True)]))
    evaluation = evaluate(folders[0], listed, LABELS)
    assert [[score.name for score in case.scores] for case in evaluation.cases] == [["wall"], ["wall", "cavity"]]
    assert [case.labeled for case in evaluation.cases] == [1.0, 0.5]
    assert evaluation.cases[1].undeclared_in_prediction == (9,)
    assert [one.statistics["dice"].n for one in evaluation.summary] == [2, 1]
    # A structure that no reference has would have no score, without a word.
    entries = [{**entries[0], "name": "a", "structures": ["liver"]}, {**entries[1], "name": "b"}]
    listed.write_text(json.dumps(entries))
    assert (
        "structure 'liver', which no reference has. There are: wall, cavity."
        in evaluate(folders[0], listed, LABELS).refused["a"]
    )
    listed.write_text(json.dumps([{"image": "scans/a/imaging.nii.gz", "name": "a"}]))
    with pytest.raises(InputError, match="names no label maps"):
        evaluate(folders[0], listed, LABELS)


def test_what_made_the_predictions_names_structures_as_the_references_do(folders, tmp_path, segmenter):
    """The walls of one were scored as the cavities of the other, with Dice 1."""
    job = EvaluateJob(predictions=str(folders[0]), references=str(folders[1]), output=str(tmp_path / "out.json"))
    (folders[0] / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "wall": 2, "cavity": 1}}))
    (folders[1] / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "Wall": 1}}))
    with pytest.raises(InputError, match=r"'wall' has the value 1 in the references' .* and 2 in the predictions'"):
        run_evaluation(job)
    (folders[0] / "dataset.json").unlink()
    name = read_card(segmenter).labels[0].name
    (folders[1] / "dataset.json").write_text(json.dumps({"labels": {"background": 0, name: 2}}))
    with pytest.raises(InputError, match=f"{name!r} has the value 2 in the references' .* and 1 in {segmenter}"):
        run_evaluation(replace(job, checkpoint=str(segmenter)))
    assert not (tmp_path / "out.json").exists()


def test_the_log_holds_the_summary_line_by_line_and_no_line_wraps(folders, tmp_path):
    for number in range(8):
        write(folders[0] / f"more_{number}.nii.gz", truth())
    seen: list[object] = []
    output = str(tmp_path / "out.json")
    run_evaluation(EvaluateJob(predictions=str(folders[0]), references=str(folders[1]), output=output), seen.append)
    told = [event.text for event in seen if isinstance(event, Log) and event.level == "info"]
    assert told == to_lines(evaluate(*folders))
    assert " ".join(told[0].split()) == "Structure n Dice HD95 (mm) ASSD (mm) Volume error (ml) Missed"
    assert " ".join(told[2].split()) == "label 2 2 0.500 ± 0.707 0.0 0.0 -0.1 ± 0.1 1"
    assert "9 predictions have no reference: d, more_0, more_1, more_2, more_3 and 4 more." in told
    assert all(line.isprintable() and len(line) <= 120 for line in told)


def test_values_missing_from_the_declared_labels_show_in_the_reference(folders):
    evaluation = evaluate(*folders, {1: "wall"})
    assert evaluation.cases[0].undeclared_in_reference == (2,)


def test_two_files_pair_whatever_their_names(folders):
    evaluation = evaluate(folders[0] / "d.nii.gz", folders[1] / "a.nii.gz", LABELS)
    assert [c.case for c in evaluation.cases] == ["a"]
    assert evaluation.overall.statistics["dice"].mean == 1.0


def test_progress_covers_every_case(folders):
    events = []
    evaluate(*folders, LABELS, emit=events.append)
    assert [e.done for e in events if isinstance(e, Progress)] == [0, 1, 2]


def test_cancelling_stops_between_cases(folders):
    seen = []
    with pytest.raises(Cancelled):
        evaluate(*folders, LABELS, emit=seen.append, cancelled=lambda: any(isinstance(e, Progress) for e in seen))
    assert [e.done for e in seen if isinstance(e, Progress)] == [0]


def test_what_cannot_be_paired_is_refused(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="named like"):
        evaluate(tmp_path / "empty", folders[1], LABELS)
    with pytest.raises(InputError, match="nowhere does not exist"):
        evaluate(tmp_path / "nowhere", folders[1], LABELS)
    with pytest.raises(InputError, match="a folder"):
        evaluate(folders[0] / "d.nii.gz", folders[1], LABELS)
    write(folders[0] / "a.nii.gz", truth())
    with pytest.raises(InputError, match="two files for case a"):
        evaluate(*folders, LABELS)


def test_a_pair_that_cannot_be_compared_is_named_and_the_rest_scored(folders, tmp_path):
    write(folders[0] / "b.nii.gz", truth(), spacing=(1.0, 1.0, 3.0))
    evaluation = evaluate(*folders, LABELS)
    assert [c.case for c in evaluation.cases] == ["a"]
    assert evaluation.refused["b"].startswith("b and its reference have the same size but lie up to")
    assert "could not be compared" in to_csv(evaluation)
    assert "**Not compared** and in no mean: b." in to_markdown(evaluation)
    job = EvaluateJob(predictions=str(folders[0]), references=str(folders[1]), output=str(tmp_path / "out.json"))
    assert {f.input for f in run_evaluation(job).failures} == {"b", "c"}


def test_all_references_that_cannot_be_read_are_named_at_once(folders):
    predictions, references = folders
    broken = sorted(references.iterdir())[:2]
    for file in broken:
        file.write_bytes(b"")
    with pytest.raises(InputError, match=f"{broken[0].name} is empty.*{broken[1].name} is empty"):
        evaluate(predictions, references)


def test_the_result_has_a_row_for_every_case_and_label(folders, tmp_path):
    output = tmp_path / "out.json"
    result = run_evaluation(EvaluateJob(predictions=str(folders[0]), references=str(folders[1]), output=str(output)))
    written = json.loads(output.read_text())["cases"]
    expected = [(case["case"], scores) for case in written for scores in case["scores"]]
    assert len(result.rows) == len(expected) > 2
    for row, (case, scores) in zip(result.rows, expected, strict=True):
        assert (row.case, row.volume_ml) == (case, scores["prediction_ml"])
        for name in ("label", "name", "status", "dice", "hd95_mm", "assd_mm", "reference_ml"):
            assert getattr(row, name) == scores[name]
    as_json = json.dumps(serialization.to_json(result), allow_nan=False)
    assert result_from_json("evaluate", json.loads(as_json)) == result


def test_two_tables_in_one_file_are_refused(folders, tmp_path):
    output = tmp_path / "out.json"
    job = EvaluateJob(predictions=str(folders[0]), references=str(folders[1]), output=str(output), csv=str(output))
    with pytest.raises(InputError, match="written twice"):
        run_evaluation(job)
    assert not output.exists()


@pytest.mark.parametrize("option", ["output", "csv"])
def test_no_table_replaces_a_label_map_that_is_read(folders, tmp_path, option):
    predictions, references = folders
    described = references / "dataset.json"
    described.write_text(json.dumps({"labels": {"background": 0, "liver": 1}}))
    for path in (predictions / "a.nrrd", references / "a.nii.gz", described):
        outputs = {"output": str(tmp_path / "out.json"), option: str(path)}
        job = EvaluateJob(predictions=str(predictions), references=str(references), overwrite=True, **outputs)
        with pytest.raises(InputError, match="is to be read and to be written"):
            run_evaluation(job)
    assert len(evaluate(*folders).cases) == 2


def test_nothing_comparable_is_an_error(folders):
    for case in "ab":
        (folders[0] / f"{case}.nrrd").unlink(missing_ok=True)
        write(folders[0] / f"{case}.nii.gz", truth(), spacing=(1.0, 1.0, 3.0))
    with pytest.raises(InputError, match=r"None of the 2 cases could be compared\. a and its reference"):
        evaluate(*folders, LABELS)


def test_a_structure_that_the_reference_lacks_is_told_of(folders):
    write(folders[1] / "a.nii.gz", np.zeros_like(truth()))
    lines = to_lines(evaluate(*folders, LABELS))
    assert "A structure was found 2 times where the reference has nothing of it (Dice 0, no distance)." in lines


def test_names_are_no_formulas_for_a_spreadsheet(folders):
    evaluation = evaluate(*folders, {1: "=HYPERLINK(1)"})
    case = replace(evaluation.cases[0], case="-a")
    rows = list(csv.DictReader(io.StringIO(to_csv(replace(evaluation, cases=(case,), missing=("+b",))))))
    assert [(row["case"], row["name"]) for row in rows] == [("'-a", "'=HYPERLINK(1)"), ("'+b", "")]


def test_tables_hold_every_score(folders, tmp_path):
    evaluation = evaluate(*folders, LABELS)
    rows = list(csv.DictReader(io.StringIO(to_csv(evaluation))))
    assert [(r["case"], r["name"], r["status"]) for r in rows] == [
        ("a", "wall", "measured"),
        ("a", "cavity", "measured"),
        ("b", "wall", "measured"),
        ("b", "cavity", "empty prediction"),
        ("c", "", "missing prediction"),
    ]
    assert rows[3]["hd95_mm"] == ""
    parsed = json.loads(to_json(evaluation))
    assert parsed["cases"][1]["scores"][1]["dice"] == 0.0
    assert parsed["cases"][1]["scores"][1]["hd95_mm"] is None
    assert parsed["missing"] == ["c"]
    text = to_markdown(evaluation)
    assert "| cavity | 2 | 0.5000 ± 0.7071 (0.5000)" in text
    assert "1 reference has no prediction" in text
    assert [p.name for p in write_tables(evaluation, tmp_path / "out")] == [
        "evaluation.json",
        "evaluation.csv",
        "evaluation.md",
    ]
    assert (tmp_path / "out" / "evaluation.md").read_text(encoding="utf-8") == text


def test_a_label_absent_everywhere_counts_in_no_mean(folders):
    evaluation = evaluate(*folders, {**LABELS, 7: "never"})
    assert evaluation.summary[2].n_absent == 2
    assert evaluation.summary[2].statistics["dice"].n == 0
    assert "| never | 0 | - |" in to_markdown(evaluation)
    without = evaluate(*folders, LABELS)
    assert replace(evaluation.overall, n_absent=0) == without.overall
