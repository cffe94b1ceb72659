"""The package as pip installs it: what is in it, and that it works outside the clone."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import contrastiveseg
from contrastiveseg.checkpoints.starters import starters

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built offline from a copy, since the build leaves files behind; the panel lies beside the package there too."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE.txt"):
        shutil.copy(ROOT / name, source)
    without = shutil.ignore_patterns("__pycache__", "*.egg-info", "Resources")
    shutil.copytree(ROOT / "ContrastiveSeg", source / "ContrastiveSeg", ignore=without)
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", str(output), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = output.iterdir()
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """The folder that the wheel is unpacked into."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    return folder


def python(site: Path, *arguments: str) -> str:
    """What Python prints, run outside the clone with ``site`` in front of everything else that is installed."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=site, env=environment).stdout.strip()


def test_the_wheel_holds_the_engine_its_starters_and_nothing_of_slicer(wheel, site):
    assert wheel.name == f"contrastiveseg-{contrastiveseg.__version__}-py3-none-any.whl"
    packed = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    code = {path for path in packed if not path.startswith(f"contrastiveseg-{contrastiveseg.__version__}.dist-info/")}
    engine = ROOT / "ContrastiveSeg" / "contrastiveseg"
    here = {path.relative_to(engine.parent).as_posix() for path in engine.rglob("*.py")}
    here |= {"contrastiveseg/py.typed"} | {f"contrastiveseg/starters/{name}.safetensors" for name in starters()}
    here |= {"contrastiveseg/starters/catalog.json", "contrastiveseg/starters/catalog.schema.json"}
    assert code == here
    assert "contrastiveseg/testing/with_pytest.py" in code


def test_it_works_outside_the_clone(site):
    code = "import contrastiveseg as cs; print(cs.__file__, cs.starter(), cs.__version__)"
    printed = python(site, "-c", code).split()
    package = site / "contrastiveseg"
    starter = package / "starters" / "synthetic-labels-3d-tiny.safetensors"
    assert printed == [str(package / "__init__.py"), str(starter), contrastiveseg.__version__]
    assert python(site, "-m", "contrastiveseg", "--version") == f"contrastiveseg {contrastiveseg.__version__}"
    assert "method       macl" in python(site, "-m", "contrastiveseg", "inspect", "starter:macl-3d-tiny")


def test_it_installs_the_command(site):
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    assert "contrastiveseg = contrastiveseg.cli:main" in entry_points.read_text(encoding="utf-8")
