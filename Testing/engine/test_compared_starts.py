"""Fine-tuning from several starts: the same budget each, the best kept, and no winner claimed within the spread."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from contrastiveseg.checkpoints.header import digest, read_card
from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Log, Metric, Stage, StageStarted
from contrastiveseg.jobs.run import run
from contrastiveseg.parameters import ParameterError
from contrastiveseg.planning.fingerprint import fingerprint_of
from contrastiveseg.results import FinetuneResult, HeldOutCase, LeaveOneOut
from contrastiveseg.training.beside import comparison_folder, comparison_path, metrics_path, resume_path
from contrastiveseg.training.compared_starts import compared_starts
from contrastiveseg.training.finetune import finetune
from contrastiveseg.training.start_scores import beside_scratch, compare_scores, table, told_as_kept
from contrastiveseg.volumes.content import content_digest


def job(images, output: Path, *compare, **more) -> FinetuneJob:
    given = {"steps": 1, "precision": "32", "threads": 1, "compare": tuple(map(str, compare))}
    return FinetuneJob(images=(str(images),), output=str(output), **(given | more))


def result(*dice, left_out: bool = False) -> FinetuneResult:
    cases = tuple(HeldOutCase(f"case {i}", value, {}, None) for i, value in enumerate(dice))
    one_out = LeaveOneOut(0.0, cases) if left_out else None
    return FinetuneResult("", "", 1, 0.1, "best", None, () if left_out else cases, None, leave_one_out=one_out)


def test_the_best_of_three_starts_is_kept(pretrained, dataset, out):
    seen: list = []
    made = finetune(job(dataset, out, f"scratch,{pretrained}", "starter:macl-3d-tiny", validation="2"), seen.append)
    found = made.starts
    assert sorted(start.name for start in found.starts) == sorted(["scratch", pretrained.stem, "macl-3d-tiny"])
    assert [start.dice for start in found.starts] == sorted((s.dice for s in found.starts), reverse=True)
    assert (found.kept, found.scored) == (found.starts[0].name, 2)
    assert made.held_out == found.starts[0].cases
    assert {s.name: s.behind for s in found.starts}[found.kept] == 0
    card = read_card(out)
    base = {"scratch": None, pretrained.stem: digest(pretrained)}
    assert found.kept not in base or card.provenance.base == base[found.kept]
    assert card.provenance.scores["held_out_dice"] == pytest.approx(found.starts[0].dice)
    assert json.loads(comparison_path(out).read_text())["kept"] == found.kept
    assert {p.name for p in out.parent.iterdir()} == {out.name, metrics_path(out).name, comparison_path(out).name}
    texts = [event.text for event in seen if isinstance(event, Log)]
    assert sum(text.startswith("Start ") and "seed 0" in text for text in texts) == 3
    assert any("behind the best" in text for text in texts)
    assert any("with the same budget" in text and found.verdict() in text for text in texts)


def test_a_report_lists_the_starts_by_hash_and_names_none(pretrained, dataset, out, tmp_path):
    report = tmp_path / "report.json"
    run(job(dataset, out, "scratch", pretrained, report=str(report)))
    told = json.loads(report.read_text())
    assert [file["sha256"] for file in told["inputs"] if file["role"] == "compare"] == [content_digest([pretrained])]
    assert {file["role"] for file in told["outputs"]} == {"output", "metrics.jsonl", "starts.json"}
    assert pretrained.name not in report.read_text()
    assert "compare" not in told["options"]


def test_from_scratch_has_the_network_of_the_first_checkpoint(pretrained, dataset, out):
    seen: list = []
    made = finetune(job(dataset, out, "scratch", pretrained, compare_seeds=2), seen.append)
    assert [len(start.seeds) for start in made.starts.starts] == [2, 2]
    assert read_card(out).network == read_card(pretrained).network
    assert read_card(out).provenance.seed == 0
    assert seen.count(StageStarted(Stage.TRAIN_FROM_SCRATCH)) == 2


def test_a_stopped_comparison_holds_the_best_so_far_and_goes_on(pretrained, dataset, out):
    seen: list = []
    begun = job(dataset, out, "scratch", pretrained, steps=2)

    def second_start_learns() -> bool:
        return [e.step for e in seen if isinstance(e, Metric) and e.name == "loss"] == [0, 1, 0]

    with pytest.raises(Cancelled, match=r"organs\.safetensors is finished, started from scratch.*--resume"):
        finetune(begun, seen.append, second_start_learns)
    assert read_card(out).provenance.base is None
    assert resume_path(out).is_file()
    with pytest.raises(InputError, match="exists already"):
        finetune(begun)
    with pytest.raises(InputError, match="other starts"):
        finetune(replace(begun, compare=("scratch", "starter:macl-3d-tiny"), resume=True))
    again: list = []
    made = finetune(replace(begun, resume=True), again.append)
    # The first is not trained again, and the second goes on with its second step.
    assert [e.step for e in again if isinstance(e, Metric) and e.name == "loss"] == [1]
    assert {start.name for start in made.starts.starts} == {"scratch", pretrained.stem}
    assert read_card(out).provenance.steps == 2
    assert not comparison_folder(out).exists()
    assert not resume_path(out).exists()


def test_by_leave_one_out_only_the_start_that_is_kept_is_trained_on_all_cases(pretrained, dataset, out):
    def stages(events: list) -> list:
        return [e.name for e in events if isinstance(e, StageStarted) and e.name in (Stage.LEAVE_OUT, *trainings)]

    trainings, seen, again = (Stage.TRAIN, Stage.TRAIN_FROM_SCRATCH), [], []
    images = [str(path) for path in sorted((dataset / "imagesTr").iterdir())[:2]]
    begun = job(dataset, out, "scratch", pretrained, validation="leave-one-out", steps=2)
    begun = replace(begun, images=tuple(images), labels=(str(dataset / "labelsTr"),))
    with pytest.raises(Cancelled, match=r"organs\.safetensors holds what was learned so far; --resume goes on"):
        # Two trainings of two steps a start, then one step on all cases.
        finetune(begun, seen.append, lambda: len([e for e in seen if isinstance(e, Metric) and e.name == "loss"]) == 9)
    assert stages(seen)[:4] == [Stage.LEAVE_OUT] * 4
    assert len(stages(seen)) == 5
    made = finetune(replace(begun, resume=True), again.append)
    assert [e.step for e in again if isinstance(e, Metric) and e.name == "loss"] == [1]
    assert [name in trainings for name in stages(again)] == [True]
    first, other = made.starts.starts
    assert (made.starts.left_out_each, len(first.cases), len(other.cases)) == (True, 2, 2)
    assert made.leave_one_out.cases == first.cases
    origin = read_card(out).provenance
    assert (origin.case_count, origin.steps) == (2, 2)
    assert origin.scores["leave_one_out_dice"] == pytest.approx(made.leave_one_out.dice)


def test_a_first_start_that_is_stopped_leaves_what_it_has_learned(pretrained, dataset, out):
    seen: list = []
    with pytest.raises(Cancelled, match=r"organs\.safetensors holds what was learned so far"):
        finetune(
            job(dataset, out, pretrained, "scratch", steps=2),
            seen.append,
            lambda: any(isinstance(e, Metric) and e.name == "loss" for e in seen),
        )
    assert read_card(out).provenance.base == digest(pretrained)


def test_a_damaged_record_is_told_and_begun_anew_where_that_is_wanted(pretrained, dataset, out):
    begun = job(dataset, out, "scratch", pretrained)
    out.parent.mkdir()
    resume_path(out).write_bytes(b"\x80\x00 no record")
    with pytest.raises(InputError, match="not that of a comparison of starts"):
        finetune(replace(begun, resume=True))
    seen: list = []
    finetune(replace(begun, resume="auto"), seen.append)
    assert any(e.level == "warning" and "begins anew" in e.text for e in seen if isinstance(e, Log))


def test_what_is_finished_of_a_comparison_is_known_to_be_whole(pretrained, dataset, out):
    """A digit changed in the record, its checksum taken out, and a byte changed in a checkpoint that it names."""
    seen: list = []
    begun = job(dataset, out, "scratch", pretrained, validation="1")
    with pytest.raises(Cancelled):
        finetune(begun, seen.append, lambda: "Start 2" in "".join(e.text for e in seen if isinstance(e, Log)))
    record = resume_path(out)
    kept = record.read_text()
    found = re.search(r'"dice": 0?\.?\d*', kept)
    assert found
    for damaged in (kept.replace(found[0], '"dice": 0.9'), re.sub(r'("checksum": )"\w+"', r'\1""', kept)):
        assert damaged != kept
        record.write_text(damaged)
        with pytest.raises(InputError, match="or is damaged"):
            finetune(replace(begun, resume=True))
    record.write_text(kept)
    first = comparison_folder(out) / "1.safetensors"
    first.write_bytes(first.read_bytes()[:-1] + b"\x3f")
    seen.clear()
    finetune(replace(begun, resume=True), seen.append)
    assert any("1.safetensors is damaged: scratch is trained again" in e.text for e in seen if isinstance(e, Log))
    assert seen.count(StageStarted(Stage.TRAIN_FROM_SCRATCH)) == 1
    assert not resume_path(out).exists()


def test_starts_are_named_by_their_files_and_taken_once(tmp_path):
    one, other, comma = tmp_path / "a" / "x.safetensors", tmp_path / "b" / "x.safetensors", tmp_path / "c,d.safetensors"
    comma.touch()
    named = compared_starts(job("scans", tmp_path / "o", f"scratch, {one}", other, comma, "none", one))
    assert named == {"scratch": "none", str(one): str(one), str(other): str(other), "c,d": str(comma)}
    named = compared_starts(job("scans", tmp_path / "o", checkpoint=str(one), compare_scratch=True))
    assert named == {"x": str(one), "scratch": "none"}


@pytest.mark.parametrize(
    ("compare", "words"),
    [
        (("scratch",), "scratch is the only one"),
        (("scratch,none",), "only one"),
        (("starter:no",), "There is no starter"),
    ],
)
def test_what_is_no_comparison_is_refused(dataset, out, compare, words):
    with pytest.raises(InputError, match=words):
        finetune(job(dataset, out, *compare))
    assert not out.parent.exists()


def test_a_start_is_not_replaced_while_others_are_compared_with_it(pretrained, dataset, out):
    out.parent.mkdir()
    shutil.copy(pretrained, out)
    with pytest.raises(InputError, match="is a start of this comparison"):
        finetune(replace(job(dataset, out, "scratch", out), overwrite=True))
    assert out.read_bytes() == pretrained.read_bytes()


def test_what_holds_of_the_volumes_is_told_once(pretrained, dataset, out, monkeypatch):
    def doubted(*given, **more):
        return replace(fingerprint_of(*given, **more), doubts=("Some look like CT.",))

    monkeypatch.setattr("contrastiveseg.training.start.fingerprint_of", doubted)
    seen: list = []
    finetune(job(dataset, out, pretrained, "starter:macl-3d-tiny"), seen.append)
    assert seen.count(Log("Some look like CT.", "warning")) == 1


def test_the_table_of_an_earlier_comparison_is_not_overwritten(pretrained, dataset, out):
    out.parent.mkdir()
    comparison_path(out).write_text("mine")
    with pytest.raises(InputError, match=r"starts\.json exists already"):
        finetune(job(dataset, out, "scratch", pretrained))
    assert comparison_path(out).read_text() == "mine"


def test_a_folder_of_the_user_named_as_that_of_a_comparison_is_left_alone(pretrained, dataset, out):
    mine = comparison_folder(out) / "1.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"1\.safetensors is there already, where a comparison keeps"):
        finetune(job(dataset, out, "scratch", pretrained))
    assert mine.read_text() == "mine"
    assert not resume_path(out).exists()


def test_seeds_belong_to_a_comparison_and_a_start_is_needed():
    with pytest.raises(InputError, match="belongs to --compare"):
        finetune(job("scans", Path("o.safetensors"), checkpoint="none", compare_seeds=2))
    with pytest.raises(ParameterError, match="is missing"):
        job("scans", Path("o.safetensors"))


def test_a_lead_larger_than_its_margin_is_a_win():
    found = compare_scores({"a": [result(0.5, 0.6, 0.7)], "b": [result(0.61, 0.7, 0.81)]})
    behind = found.starts[1]
    assert (found.kept, found.ahead, behind.name) == ("b", "b", "a")
    assert behind.behind == pytest.approx(0.32 / 3)
    deviation = math.sqrt(sum((d - 0.32 / 3) ** 2 for d in (0.11, 0.1, 0.11)) / 2)
    assert behind.margin == pytest.approx(4.302653 * deviation / math.sqrt(3))  # Student's t, 2 degrees of freedom
    assert found.verdict().startswith("b is ahead: Dice 0.707, and 0.107 ± 0.014 above a")


def test_no_winner_is_claimed_within_the_spread_or_without_one():
    found = compare_scores({"a": [result(0.5, 0.6, 0.7)], "b": [result(0.9, 0.4, 0.7)]})
    assert (found.kept, found.ahead) == ("b", None)
    assert "b and a are level. They differ by 0.067" in found.verdict()
    assert "within the spread" in found.verdict()
    # The second is told apart, the third is not: that is the one to name.
    third = {"c": [result(0.8, 0.5, 0.9)], "b": [result(0.79, 0.49, 0.89)], "a": [result(0.9, 0.1, 0.9)]}
    assert "No start is ahead: c and a are level. They differ by 0.100" in compare_scores(third).verdict()
    found = compare_scores({"a": [result(0.5)], "b": [result(0.9)]})
    assert (found.kept, found.ahead, found.starts[1].margin) == ("b", None, None)
    assert "shows no spread" in found.verdict()
    # A third start that is as near as the lead is uncertain takes the win away.
    found = compare_scores({"a": [result(0.5, 0.5)], "b": [result(0.6, 0.6)], "c": [result(0.1, 0.9)]})
    assert (found.kept, found.ahead) == ("b", None)


@pytest.mark.parametrize(
    ("scratch", "won", "level"),
    [
        ((0.4, 0.5, 0.6), "checkpoint", False),
        ((0.8, 0.2, 0.7), "checkpoint", True),
        ((0.9, 0.4, 0.7), "scratch", True),
        ((0.7, 0.8, 0.9), "scratch", False),
        ((0.5, 0.6, 0.7), "neither", True),
    ],
)
def test_beside_scratch_a_difference_within_the_spread_is_level(scratch, won, level):
    found = compare_scores({"own": [result(0.5, 0.6, 0.7)], "scratch": [result(*scratch)]}, keep="own")
    beside = beside_scratch(found, "scratch")
    assert (beside.won, beside.level) == (won, level)
    assert ("level" in found.verdict()) == level
    single = compare_scores({"own": [result(0.5)], "scratch": [result(scratch[0])]}, keep="own")
    assert beside_scratch(single, "scratch").level is None


def test_the_units_of_the_spread_are_cases_or_else_seeds():
    found = compare_scores(
        {"a": [result(0.5), result(0.52), result(0.51)], "b": [result(0.6), result(0.61), result(0.62)]}
    )
    assert found.ahead == "b"
    assert found.starts[0].seeds == (0.6, 0.61, 0.62)
    found = compare_scores({"a": [result(0.5, None), result(0.7, 0.4)], "b": [result(0.8, 0.4), result(0.6, 0.2)]})
    assert {s.name: s.dice for s in found.starts} == pytest.approx({"a": 0.5, "b": 0.5})
    assert found.kept == "a"  # the first of equals
    found = compare_scores({"a": [result(0.2, 0.4, left_out=True)], "b": [result(0.3, 0.3, left_out=True)]}, keep="b")
    assert (found.kept, found.left_out_each, found.scored) == ("b", True, 2)
    assert table(found)[0].startswith("Start")
    assert len(table(found)) == 3


def test_where_a_worse_start_was_to_be_kept_the_way_to_the_best_is_told():
    results = {"own": [result(0.4, 0.5)], "scratch": [result(0.6, 0.7)]}
    assert told_as_kept("a", compare_scores(results)) == "a started from scratch."
    told = told_as_kept("a", compare_scores(results, keep="own"))
    assert told.startswith("a started from own.")
    assert "--compare scratch keeps the best" in told
