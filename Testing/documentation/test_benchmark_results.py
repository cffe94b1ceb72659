"""The benchmarks' results files: runs come back as they were stored, and the tables can be made from them."""

import importlib
import statistics
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import dice  # noqa: E402
from results_file import CASES, add_run, is_finished, read_runs, write_report  # noqa: E402
from tables import beside_others, demo_seeds, pieces  # noqa: E402

SCORED = [path for path in sorted((BENCHMARKS / "results").glob("*.json")) if any(CASES in r for r in read_runs(path))]


def test_runs_come_back_to_the_last_digit(tmp_path):
    first = {"row": "scratch", "seed": 0, "dice": 1 / 3, CASES: {"b": [0.1 + 0.2, None], "a": [2 / 3]}}
    second = {"row": "scratch", "seed": 1, "dice": 0.5, CASES: first[CASES]}
    third = {"method": "macl", "ratio": 1.1}
    path = tmp_path / "results.json"
    assert read_runs(path) == []
    for run in (first, second, third):
        add_run(path, run)
    assert read_runs(path) == [first, second, third]
    assert is_finished(path, {"row": "scratch", "seed": 1})
    assert not is_finished(path, {"row": "scratch", "seed": 2})
    assert len(path.read_text().splitlines()) == 3 + 4


def test_a_report_has_one_line_for_each_element_of_its_lists(tmp_path):
    write_report(tmp_path / "report.json", {"size": [1, 2, 3], "results": [{"a": 1}, {"a": 2}]})
    assert (tmp_path / "report.json").read_text() == '{\n"size": [1, 2, 3],\n"results": [\n{"a": 1},\n{"a": 2}\n]\n}\n'
    assert read_runs(tmp_path / "report.json") == []


@pytest.mark.parametrize("path", SCORED, ids=lambda path: path.stem)
def test_stored_means_are_those_of_the_stored_cases(path):
    for run in read_runs(path):
        means = [
            statistics.fmean(values)
            for scores in zip(*run[CASES].values(), strict=True)
            if (values := [v for v in scores if v is not None])
        ]
        assert statistics.fmean(means) == pytest.approx(run["dice"], abs=1e-6)
        assert means == pytest.approx(list(run["dice_by_label"].values()), abs=1e-6)


def test_the_tables_are_made_from_the_stored_runs():
    runs = [run for path in SCORED for run in read_runs(path) if "row" in run]
    table = dice.table(runs)
    assert "| LA_half labelled_5 | From scratch | 100 | 0.721 ± 0.018 | 16.68 ± 1.57 |" in table
    assert "| ACDC, 3 networks | 0.562 / 0.588 |" in pieces(read_runs(BENCHMARKS / "results" / "pieces_dice.json"))


def test_the_demo_s_table_says_by_seed_who_is_ahead_and_what_was_missed():
    shared = {"checkpoint": "abc", "minutes": 0.9, "threads": 1, "steps": 90, "scratch_steps": 80, "starter_missed": {}}
    runs = [
        {**shared, "seed": 1, "starter": 0.8, "scratch": 0.5, "scratch_missed": {"patella": 5}},
        {**shared, "seed": 0, "starter": 0.7, "scratch": 0.72, "scratch_missed": {}},
    ]
    assert demo_seeds(runs).splitlines()[2:] == [
        "| 0.9, 1, 90 / 80 | 0 | 0.700 | 0.720 | -0.020 | none / none |",
        "| 0.9, 1, 90 / 80 | 1 | 0.800 | 0.500 | +0.300 | none / patella in 5 |",
        "| mean of 2 |  | 0.750 ± 0.071 | 0.610 ± 0.156 | 0.140 ± 0.226 |  |",
    ]


def test_a_way_that_does_not_resample_has_no_figures_of_the_finer_volume():
    way = {"seconds": 2.0, "ratio": 1.5, "range": [1.4, 1.6], "dice": 0.9, "agree": 0.99}
    names = ("ours", "monai_label", "nnunet", "total")
    finer = {"volume": [3, 4, 4], **dict.fromkeys(names, way)}
    table = beside_others({"volumes": [{**finer, "volume": [2, 3, 3], "monai": way}, finer]})
    assert "| 2x3x3: CPU seconds |" in table
    figures = "| 2.00 | 1.50 (1.40-1.60) | 0.900 | 0.9900 |"
    assert f"| MONAI's sliding window {figures} - | - | - | - |" in table
    assert f"| nnU-Net's predictor {figures}{figures[1:]}" in table


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_can_be_imported(path):
    if package := {"nnunet_trainer": "nnunetv2", "monailabel_task": "monailabel"}.get(path.stem):
        pytest.importorskip(package, reason="for comparisons only: contrastiveseg[bench]")
    importlib.import_module(path.stem)
