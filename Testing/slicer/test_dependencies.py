"""Finding, asking for, installing and proving the engine's Python packages; nothing is ever installed here."""

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Stand-ins for packages, as modules on PYTHONPATH.
FAKES = {
    "torch": "__version__ = '2.8.1'\nclass cuda:\n    is_available = staticmethod(lambda: False)\n",
    "recordless": "__version__ = '5'\n",
    "broken": "print('loading')\nraise ImportError('libbroken.so is not there')\n",
}


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Packages without a record of their installation, which win over those of this Python."""
    folder = tmp_path / "packages"
    (folder / "leftover").mkdir(parents=True)
    for name, text in FAKES.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def require(tmp_path, monkeypatch):
    """``require(line, ...)`` puts other requirements in place of the engine's."""
    from ContrastiveSegPanel.engine import requirements

    def put(*lines: str) -> None:
        path = tmp_path / "requirements.txt"
        path.write_text("# why\n\n" + "\n".join(lines) + "\n")
        monkeypatch.setattr(requirements, "REQUIREMENTS", path)

    return put


@pytest.fixture
def pytorch(monkeypatch):
    """The PyTorch extension: keeps what it is asked for, and fails when told to."""
    calls = []

    class PyTorchUtilsLogic:
        problem: Exception | None = None

        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            calls.append((askConfirmation, torchVersionRequirement))
            if self.problem:
                raise self.problem

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    module.calls = calls
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return module


class Installing:
    """One installation: what it told and how it ended."""

    def __init__(self, folder: Path | None = None) -> None:
        from ContrastiveSegPanel.engine import dependencies

        self.lines: list[str] = []
        self.ends: list[str | None] = []
        dependencies.install(self.lines.append, self.ends.append, folder)


class Pip:
    """Answers for pip: notes the constraints and what was marked unfinished, then ends with the next code."""

    def __init__(self, *codes: int) -> None:
        self.codes, self.constraints, self.files = list(codes), [], []

    def __call__(self, requirements, *, constraints, blocking, show_progress, logCallback, completedCallback) -> None:
        from ContrastiveSegPanel.engine import dependencies

        assert not blocking
        assert dependencies.unfinished()
        self.files.append(Path(constraints))
        self.constraints.append(Path(constraints).read_text().splitlines())
        logCallback("Collecting things")
        completedCallback(self.codes.pop(0))


def test_requirements_are_those_of_pyproject():
    tomllib = pytest.importorskip("tomllib")
    from ContrastiveSegPanel.engine.requirements import required
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert required() == [Requirement(line) for line in project["dependencies"]]


def test_what_is_missing_is_found_without_importing_it(fakes, require):
    from ContrastiveSegPanel.engine.requirements import how_to_install, installable, installed_pins, missing

    require("nowhere-to-be-found>=1", "numpy>=1.24", "scipy>=99", "recordless>=2", "leftover>=1", "pytest!=8.0.0,<99")
    names = ["nowhere-to-be-found", "scipy", "leftover"]
    assert [requirement.name for requirement in missing()] == names
    # pip would replace what has no record; what is there and fits stays as it is.
    assert [r.name for r in installable()] == ["nowhere-to-be-found", "numpy", "scipy", "leftover", "pytest"]
    assert [re.sub("==.*", "", pin) for pin in installed_pins()] == ["numpy", "pytest"]
    assert all(name in how_to_install() for name in names)


def test_looking_loads_nothing_heavy():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'ContrastiveSeg')!r})\n"
        "from ContrastiveSegPanel.engine.requirements import missing; missing()\n"
        "print(*sorted({'torch', 'monai', 'numpy', 'scipy', 'SimpleITK', 'slicer', 'qt'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_question_says_what_where_from_and_where_to(require, dialogs, tmp_path, monkeypatch):
    from ContrastiveSegPanel.engine import dependencies

    require("numpy>=1.24", "torch>=99")
    dialogs.answer(False, True)
    assert not dependencies.confirm()
    assert dependencies.confirm(tmp_path)
    online, offline = dialogs.texts()
    assert "torch>=99" in online
    assert "numpy" not in online
    assert "Python Package Index" in online
    assert "GB" in online
    assert str(tmp_path) in offline
    assert "nothing is downloaded" in offline
    assert not dependencies.unfinished()


def test_pytorch_comes_first_by_its_extension_then_the_rest_and_the_proof(
    fakes, require, pytorch, installs, wait_for, monkeypatch
):
    from ContrastiveSegPanel.engine import dependencies, requirements

    require("torch>=99", "nowhere-to-be-found", "numpy>=1.24")
    pip = installs.answer = Pip(0)
    # As if the installers had done it.
    fits = requirements._fits
    monkeypatch.setattr(requirements, "_fits", lambda r: bool(pytorch.calls and r.name == "torch") or fits(r))
    installing = Installing()
    assert pytorch.calls == [(False, ">=99")]
    assert [call[1:] for call in installs.calls] == [["nowhere-to-be-found", "numpy>=1.24"]]
    assert [line for line in pip.constraints[0] if line.startswith("numpy==")]
    assert not pip.files[0].exists()
    assert "Collecting things" in installing.lines
    # What pip says it has done and has not: the mark stays.
    assert "nowhere-to-be-found" in installing.ends[0]
    assert dependencies.unfinished()

    require("torch", "recordless")
    installs.answer = Pip(0)
    again = Installing()
    wait_for(lambda: again.ends)
    assert again.ends == [None]
    assert "torch 2.8.1, recordless 5, cuda no" in again.lines
    assert not dependencies.unfinished()


def test_without_the_extension_nothing_is_installed_and_how_to_get_it_is_told(require, installs):
    from ContrastiveSegPanel.engine import dependencies

    require("torch>=99", "numpy>=1.24")
    told = dependencies.obstacle()
    assert "Extensions Manager" in told
    assert "install it" in told
    installing = Installing()
    assert installing.ends == [told]
    assert installs.calls == []
    # A folder of wheels needs no extension; nor does who has PyTorch already.
    assert dependencies.obstacle(Path("wheels")) == ""
    require("numpy>=99")
    assert dependencies.obstacle() == ""
    assert "Python Package Index" in dependencies.question()


def test_what_the_extension_did_not_install_is_not_left_to_pip(require, installs, pytorch):
    require("torch>=99", "numpy>=1.24")
    (problem,) = Installing().ends
    assert "still missing" in problem
    assert "PyTorch Utils" in problem
    assert installs.calls == []


def test_pip_is_told_for_whom_where_it_can_be(require, installs, monkeypatch):
    import slicer

    require("nowhere-to-be-found")
    installs.answer = Pip(1, 1)
    Installing()
    assert installs.requesters == ["Contrastive Segmentation"]

    def older(
        requirements, constraints=None, blocking=True, show_progress=True, logCallback=None, completedCallback=None
    ):
        completedCallback(1)

    monkeypatch.setattr(slicer.packaging, "pip_install", older)
    assert "exit code 1" in Installing().ends[0]


def test_a_failed_step_is_named_with_what_to_do_and_can_be_tried_again(require, installs, pytorch):
    from ContrastiveSegPanel.engine import dependencies

    require("torch>=99", "numpy>=1.24")
    pytorch.PyTorchUtilsLogic.problem = RuntimeError("no driver was found")
    installing = Installing()
    assert installs.calls == []
    (problem,) = installing.ends
    assert "Installing PyTorch by the PyTorch extension failed: no driver was found." in problem
    assert "network" in problem
    assert dependencies.unfinished()

    require("nowhere-to-be-found")
    installs.answer = Pip(1)
    (problem,) = Installing().ends
    assert "Installing the other packages failed: pip ended with exit code 1." in problem

    def busy(*given, **options):
        raise RuntimeError("A non-blocking pip_install is already in progress.")

    installs.answer = busy
    (problem,) = Installing().ends
    assert "already in progress" in problem
    assert dependencies.unfinished()


def test_a_folder_of_wheels_needs_no_network_and_no_extension(require, installs, pytorch, tmp_path):
    require("torch>=99", "numpy>=1.24")
    folder = tmp_path / "wheels of mine"
    folder.mkdir()
    (problem,) = Installing(folder).ends
    assert "no wheels" in problem
    assert installs.calls == []
    (folder / "torch-99-py3-none-any.whl").touch()
    installs.answer = Pip(0, 1)
    (problem,) = Installing(folder).ends
    assert pytorch.calls == []
    assert [call[:3] for call in installs.calls] == [["--no-index", "--find-links", str(folder)]] * 2
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in problem


def test_slicer_5_10_has_another_installer(fakes, require, wait_for, monkeypatch):
    import slicer

    asked = []
    monkeypatch.delattr(slicer, "packaging")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", asked.append)
    require("torch", "numpy>=1.24")
    installing = Installing()
    wait_for(lambda: installing.ends)
    (arguments,) = asked
    assert arguments[:3] == ["torch", "numpy>=1.24", "-c"]
    assert installing.ends == [None]

    def fail(arguments):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.util, "pip_install", fail)
    assert "Installing the other packages failed" in Installing().ends[0]


def test_a_package_that_cannot_be_imported_is_found_by_the_proof(fakes, require, installs, wait_for):
    from ContrastiveSegPanel.engine import dependencies

    require("torch", "broken")
    installs.answer = Pip(0)
    installing = Installing()
    wait_for(lambda: installing.ends)
    (problem,) = installing.ends
    assert problem.startswith("Importing the packages failed")
    assert "libbroken.so is not there" in problem
    assert dependencies.unfinished()


def test_a_folder_that_is_read_only_is_refused(require, installs, monkeypatch):
    from ContrastiveSegPanel.engine import dependencies

    require("torch>=99")
    monkeypatch.setattr(dependencies.os, "access", lambda path, mode: False)
    (problem,) = Installing().ends
    assert "read-only" in problem
    assert installs.calls == []
