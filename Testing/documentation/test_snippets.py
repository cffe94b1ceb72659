"""The documentation's Python runs as it is printed, with small volumes and budgets."""

import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pages import PAGES, ROOT, blocks, snippet


def run_small(code: str) -> None:
    exec(compile(re.sub(r"minutes=\d+", 'steps=2, precision="32", threads=1', code), "snippet", "exec"), {})


def test_readme_runs_as_printed(dataset, tmp_path, monkeypatch):
    (tmp_path / "sample").symlink_to(dataset)
    monkeypatch.chdir(tmp_path)
    code = snippet(ROOT / "README.md", "api")
    run_small(code.replace("synthetic_00007", "synthetic_00003"))


def test_the_tutorial_in_python_runs_as_printed(small_samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("jobs", "predictor", "checkpoint"):
        run_small(snippet(ROOT / "docs" / "tutorials" / "python.md", name))
    assert {path.name for path in Path().iterdir()} >= {"scans", "segmented", "scores.json", "organs.safetensors"}


def test_files_of_single_structures_become_one_label_map(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(("liver", "spleen")):
        mask = np.zeros((6, 5, 4), np.uint8)
        mask[2 * place : 2 * place + 3] = 1
        nib.save(nib.Nifti1Image(mask, np.diag([2.0, 3, 4, 1])), f"{name}.nii.gz")
    run_small(snippet(ROOT / "docs" / "how-to" / "own-data.md", "structures"))
    labels = nib.load("labels.nii.gz")
    assert np.asarray(labels.dataobj)[:, 0, 0].tolist() == [1, 1, 2, 2, 2, 0]
    assert labels.header.get_zooms() == (2, 3, 4)


def test_the_how_to_pages_method_and_backbone_pass_the_conformance_tests():
    """In another process: what they register must not be seen by other tests."""
    script = ROOT / "Testing" / "documentation" / "run_snippets.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "runs_as_a_job_3d" in done.stdout


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_python_is_valid(page):
    for code in blocks(page, "python"):
        compile(code, str(page), "exec")
