"""A method and a backbone from a package that is installed beside ours, without a change of ours."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contrastiveseg.checkpoints.header import read_card

PACKAGE = Path(__file__).resolve().parents[1] / "packages" / "vicreg"


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """The environment of processes that see the package, installed by pip into a folder of its own."""
    source, site = tmp_path_factory.mktemp("source") / "vicreg", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source)  # the build leaves files behind
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(site), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *([before] if before else [])])}


def python(environment: dict[str, str], *arguments: object) -> str:
    """What Python prints, run with ``arguments``."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.timeout(300)
def test_it_pre_trains_and_fine_tunes_from_the_terminal(environment, dataset, tmp_path):
    common = ["--steps", "2", "--precision", "32", "--threads", "1"]
    pretrain = ["pretrain", "--method", "vicreg", "--set", "width=16", "--images", dataset / "imagesTr"]
    finetune = ["finetune", "--checkpoint", tmp_path / "base.safetensors", "--images", dataset]
    narrow = ["finetune", "--checkpoint", "none", "--network", "narrow-vnet", "--images", dataset]
    commands = [
        ["methods"],
        ["methods", "vicreg"],
        ["networks"],
        [*pretrain, "--output", tmp_path / "base.safetensors", *common],
        [*finetune, "--output", tmp_path / "organs.safetensors", *common],
        [*narrow, "--output", tmp_path / "narrow.safetensors", *common],
        ["inspect", tmp_path / "base.safetensors"],
    ]
    # One process does all, since loading torch takes longer than each of them.
    words = [[str(word) for word in command] for command in commands]
    code = f"from contrastiveseg.cli import main\nfor words in {words!r}: assert main(words) == 0, words"
    printed = python(environment, "-c", code)
    assert "pretrain --method vicreg (of vicreg): VICReg on the encoder's pooled features" in printed
    assert "--network narrow-vnet (of narrow_vnet): V-Net with a quarter of the channels." in printed
    assert "Bardes et al., VICReg" in printed
    assert "invariance = 25.0" in printed
    base, organs = read_card(tmp_path / "base.safetensors"), read_card(tmp_path / "organs.safetensors")
    assert (base.method, base.settings["width"], base.transferred) == ("vicreg", 16, ("encoder",))
    assert organs.provenance.base_method == "vicreg"
    assert read_card(tmp_path / "narrow.safetensors").network.name == "narrow-vnet"


@pytest.mark.timeout(300)
def test_it_passes_the_conformance_tests(environment, tmp_path):
    own = shutil.copy(PACKAGE / "test_conformance.py", tmp_path)
    printed = python(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, own)
    assert " passed" in printed
    assert "skipped" not in printed
