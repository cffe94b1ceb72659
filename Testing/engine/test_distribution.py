"""What the Extensions Index, PyPI and conda-forge get: the checks of ci/extension-check, and metadata that agree."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it for Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
CHECKED = ("CMakeLists.txt", "ContrastiveSeg.json", "LICENSE.txt")
#: What conda-forge calls otherwise.
CONDA = {"torch": "pytorch", "SimpleITK": "simpleitk"}


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("extension_check", ROOT / "ci" / "extension_check.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def clone(tmp_path):
    """What the check reads of this repository, to spoil."""
    for name in CHECKED:
        shutil.copy(ROOT / name, tmp_path / name)
    module = tmp_path / "ContrastiveSeg"
    panel, resources = Path("ContrastiveSegPanel", "engine"), Path("Resources")
    for folder in (panel, resources / "Icons", resources / "SampleData"):
        shutil.copytree(ROOT / "ContrastiveSeg" / folder, module / folder)
    for file in ("ContrastiveSeg.py", "ContrastiveSegPanel/self_test.py"):
        shutil.copy(ROOT / "ContrastiveSeg" / file, module / file)
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "pictures" / "panel.png", tmp_path / "docs" / "pictures")
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8", newline="")


def test_the_extension_is_ready_for_the_index(check, capsys):
    assert check.main(ROOT) == 0
    assert "3d-slicer-extension" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "old", "new", "finding"),
    [
        ("ContrastiveSeg.json", "v1.0.2", "v1.0.1", "$schema must be"),
        ("ContrastiveSeg.json", '"tier": 1', '"tier": "1"', "tier must be of type int"),
        ("ContrastiveSeg.json", '"tier": 1', '"tier": 1, "level": 2', "the schema knows no level"),
        ("ContrastiveSeg.json", '"Segmentation"', '"Segmenting"', "category must be one of"),
        ("ContrastiveSeg.json", "/SlicerContrastiveSeg", "/ContrastiveSeg", "name must begin with Slicer"),
        ("ContrastiveSeg.json", "\n", "\r\n", "end with LF"),
        ("CMakeLists.txt", "project(ContrastiveSeg", "project(Other", "must be named ContrastiveSeg"),
        ("CMakeLists.txt", "EXTENSION_HOMEPAGE", "EXTENSION_URL", "EXTENSION_URL is not read"),
        ("CMakeLists.txt", "DEPENDS PyTorch", "DEPENDS Other", "build_dependencies differ"),
        ("CMakeLists.txt", " (ContrastiveSeg)", "", "not of the form Name (Organization)"),
        ("CMakeLists.txt", "Icons/ContrastiveSeg.png", "Icons/ContrastiveSeg.svg", "end in .png"),
        ("CMakeLists.txt", "pictures/panel.png", "pictures/none.png", "none.png is not in this repository"),
        ("ContrastiveSeg/ContrastiveSeg.py", "import logging", "import torch", "imports torch at its top"),
        (
            "ContrastiveSeg/ContrastiveSeg.py",
            "Panel import self_test",
            "Panel import ui",
            "imports ContrastiveSegPanel",
        ),
        ("ContrastiveSeg/ContrastiveSegPanel/self_test.py", "import shutil", "import vtk, sitk", "imports sitk at its"),
        ("ContrastiveSeg/ContrastiveSeg.py", "parent.helpText", "parent.help", "helpText is not set"),
        ("ContrastiveSeg/ContrastiveSeg.py", "The ContrastiveSeg maintainers", "Somebody", "CONTRIBUTORS and"),
        ("ContrastiveSeg/ContrastiveSegPanel/engine/blocking.py", "import", "import torch\nimport", "is the engine's"),
    ],
)
def test_what_the_index_would_refuse_is_found(check, clone, capsys, file, old, new, finding):
    assert check.main(clone) == 0
    replace(clone / file, old, new)
    assert check.main(clone) == 1
    assert finding in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gone", "finding"),
    [
        ("LICENSE.txt", "no license file"),
        ("ContrastiveSeg/Resources/Icons/ContrastiveSeg.png", "no icon"),
        ("ContrastiveSeg/Resources/SampleData/SyntheticHeart2.png", "no thumbnail"),
    ],
)
def test_what_the_index_would_miss_is_found(check, clone, capsys, gone, finding):
    (clone / gone).unlink()
    assert check.main(clone) == 1
    assert finding in capsys.readouterr().out


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_what_pypi_shows_is_there(project):
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE.txt"])
    assert not [c for c in project["classifiers"] if c.startswith("License")]  # PEP 639 has it in one place
    assert {"Homepage", "Documentation", "Changelog", "Source", "Issues"} == set(project["urls"])
    text = (ROOT / project["readme"]).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    for ours in ("raw.githubusercontent.com/ContrastiveSeg/SlicerContrastiveSeg/main/", "/blob/main/"):
        files = [link.partition(ours)[2] for link in links if ours in link]
        assert files
        assert [file for file in files if not (ROOT / file).is_file()] == []


def test_conda_forge_gets_the_same_requirements(project):
    recipe = (ROOT / "distribution" / "conda-forge" / "meta.yaml").read_text(encoding="utf-8")
    run = re.search(r"  run:\n((?:    - .*\n)+)", recipe)[1]
    listed = {line.split()[1]: line.split()[-1] for line in run.splitlines()}
    assert listed.pop("python").partition(",")[2] == project["requires-python"].partition(",")[2]
    wanted = [Requirement(line) for line in project["dependencies"]]
    assert {name: set(bounds.split(",")) for name, bounds in listed.items()} == {
        CONDA.get(r.name, r.name): set(str(r.specifier).split(",")) for r in wanted
    }


def test_the_container_copies_what_is_there():
    lines = (ROOT / "distribution" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [path for line in lines if line.startswith("COPY ") for path in line.split()[1:-1]]
    assert copied
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_the_entry_is_what_the_index_takes(check):
    entry = json.loads((ROOT / "ContrastiveSeg.json").read_text(encoding="utf-8"))
    assert set(entry) <= set(check.ENTRY)
