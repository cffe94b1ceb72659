"""Installing the engine's Python packages into Slicer: with the user's consent, PyTorch first, checked afterwards.

PyTorch comes by Slicer's extension for it, which chooses the build for the computer's GPU and shares it with other
extensions, or from the user's own wheels; never by pip alone. Nothing runs in a thread.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from packaging.requirements import Requirement
from slicer.i18n import tr as _

from .. import settings
from ..timer import single_shot
from .process import LineProcess
from .python_slicer import python_environment, python_slicer
from .requirements import installable, installed_pins, missing, required

_MARK = "Installation"
_UNFINISHED = "unfinished"
_CHECK_SECONDS = 300

#: Imports every package named and prints the versions; the last line is JSON.
_CHECK = """
import importlib, json, sys
modules = {name: importlib.import_module(name) for name in sys.argv[1:]}
versions = {name: str(getattr(module, "__version__", "")) for name, module in modules.items()}
print(json.dumps({"versions": versions, "cuda": modules["torch"].cuda.is_available()}))
"""


def unfinished() -> bool:
    """Whether an installation was begun and has not been checked: interrupted, cancelled or failed."""
    return settings.text(_MARK) == _UNFINISHED


def confirm(folder: Path | None = None) -> bool:
    """Ask the user whether to install what is missing, saying what, how much and where from."""
    return slicer.util.confirmOkCancelDisplay(question(folder), _("Install Python packages"))


def obstacle(folder: Path | None = None) -> str:
    """What has to be done before anything can be installed, in sentences; "" where nothing has."""
    if folder is not None or _missing_pytorch() is None or _pytorch_logic() is not None:
        return ""
    return _(
        "PyTorch is missing, and so is Slicer's extension PyTorch, which installs the build for this computer.\n\n"
        "1. In the menu View, choose Extensions Manager.\n2. On the tab Install Extensions, look for PyTorch, and "
        "install it.\n3. Restart Slicer, come back to this module and press Install.\n\nWithout a network, install "
        "from a folder of wheels instead."
    )


def question(folder: Path | None = None) -> str:
    """The question of :func:`confirm`."""
    names = "\n".join(f"    {requirement}" for requirement in missing() or required())
    target = Path(sysconfig.get_path("purelib"))
    free = shutil.disk_usage(target).free / 2**30
    if folder is not None:
        source = _("from the folder {folder}; nothing is downloaded").format(folder=folder)
    elif _missing_pytorch() is not None:
        source = _("downloaded: PyTorch by the PyTorch extension, the others from the Python Package Index")
    else:
        source = _("downloaded from the Python Package Index")
    return _(
        "Contrastive Segmentation needs Python packages that this Slicer does not have:\n\n{names}\n\n"
        "They will be {source}, and installed into {target} ({free:.0f} GB free there). PyTorch is about 0.2 GB to "
        "download and 1 GB on the disk; for an NVIDIA GPU, 3 GB and 7 GB. It may take some minutes.\n\nInstall them?"
    ).format(names=names, source=source, target=target, free=free)


def install(on_line: Callable[[str], None], on_end: Callable[[str | None], None], folder: Path | None = None) -> None:
    """Install what is missing, then check that it can be imported. The user has agreed before (:func:`confirm`).

    Slicer 5.12 goes on meanwhile; Slicer 5.10, and the PyTorch extension in any, let it wait for the installer.

    Args:
        on_line: gets the installers' output, line by line.
        on_end: called once: with None when all is installed and checked, else with the step that failed, why, and what
            to do. It may be called from within this call.
        folder: wheels to install from, without any network.
    """
    settings.set_text(_MARK, _UNFINISHED)
    _Installation(on_line, on_end, folder).begin()


def check_imports(on_end: Callable[[dict[str, str], str | None], None]) -> None:
    """Import every package in a fresh PythonSlicer.

    ``on_end`` gets the versions by name ("cuda": "yes" or "no"), and None or what went wrong.
    """
    lines: list[str] = []

    def end(code: int | None, how: str) -> None:
        timer.stop()
        try:
            report = json.loads(lines[-1]) if code == 0 else {}
            versions = {**report["versions"], "cuda": "yes" if report["cuda"] else "no"}
        except (ValueError, KeyError, IndexError):
            output = "\n".join(lines[-10:])
            on_end({}, _("The check {how}.\n{output}").format(how=how, output=output))
        else:
            on_end(versions, None)

    names = [requirement.name for requirement in required()]
    process = LineProcess(
        python_slicer(), ["-c", _CHECK, *names], python_environment(), lines.extend, lines.extend, end
    )
    timer = single_shot(process.kill)
    timer.start(1000 * _CHECK_SECONDS)


class _Installation:
    """The steps, each of which begins the next when it is done."""

    def __init__(
        self, on_line: Callable[[str], None], on_end: Callable[[str | None], None], folder: Path | None
    ) -> None:
        self.on_line, self.on_end, self.folder = on_line, on_end, folder

    def begin(self) -> None:
        target = sysconfig.get_path("purelib")
        if not os.access(target, os.W_OK):
            self._fail(
                _("Installing"),
                _("{target} is read-only").format(target=target),
                _("Start Slicer once as a user who may write there, or install Slicer in a folder of yours."),
            )
        elif self.folder is not None and not any(self.folder.glob("*.whl")):
            self._fail(
                _("Installing"),
                _("there are no wheels (.whl files) in {folder}").format(folder=self.folder),
                _("Choose the folder that holds them."),
            )
        else:
            self._pytorch()

    def _pytorch(self) -> None:
        torch = _missing_pytorch()
        logic = _pytorch_logic() if self.folder is None else None
        if torch is None:
            self._others()
        elif self.folder is not None:
            self._pip(_("Installing PyTorch"), [torch], self._others)
        elif logic is None:
            self.on_end(obstacle())
        else:
            self.on_line(_("Installing PyTorch by the PyTorch extension. Slicer does not answer meanwhile."))
            try:
                logic.installTorch(askConfirmation=False, torchVersionRequirement=str(torch.specifier))
            except Exception as problem:
                # Whatever another extension raises.
                self._fail(_("Installing PyTorch by the PyTorch extension"), str(problem), _advice(self.folder))
                return
            if _missing_pytorch() is not None:
                # Else pip would bring its own as a package that the others need.
                self._fail(
                    _("Installing PyTorch by the PyTorch extension"),
                    _("PyTorch is still missing, or not in a version that fits: {torch}").format(torch=torch),
                    _("Restart Slicer, and install PyTorch in the module PyTorch Utils."),
                )
                return
            self._others()

    def _others(self) -> None:
        self._pip(_("Installing the other packages"), installable(), self._check)

    def _pip(self, step: str, requirements: list[Requirement], then: Callable[[], None]) -> None:
        """Let pip install ``requirements`` and what these need, leaving what is there and fits as it is."""
        arguments = [str(requirement) for requirement in requirements]
        if self.folder is not None:
            arguments = ["--no-index", "--find-links", str(self.folder), *arguments]
        handle, name = tempfile.mkstemp(prefix="ContrastiveSeg-constraints-", suffix=".txt")
        os.write(handle, "\n".join(installed_pins()).encode())
        os.close(handle)

        def end(code: int) -> None:
            os.unlink(name)
            if code == 0:
                then()
            else:
                self._fail(step, _("pip ended with exit code {code}").format(code=code), _advice(self.folder))

        try:
            code = _run_pip(arguments, name, self.on_line, end)
        except Exception as problem:
            # CalledProcessError, and RuntimeError while another extension is installing.
            os.unlink(name)
            self._fail(step, str(problem), _advice(self.folder))
            return
        if code is not None:
            end(code)

    def _check(self) -> None:
        left = ", ".join(str(requirement) for requirement in missing())
        if left:
            self._fail(
                _("Installing"),
                _("still missing: {left}").format(left=left),
                _("Restart Slicer and install again; packages that are in use cannot be replaced."),
            )
            return
        self.on_line(_("Checking in a new Python that all packages can be imported."))
        check_imports(self._on_checked)

    def _on_checked(self, versions: dict[str, str], problem: str | None) -> None:
        if problem is not None:
            self._fail(_("Importing the packages"), problem, _("Restart Slicer and install again."))
            return
        self.on_line(", ".join(f"{name} {version}" for name, version in versions.items()))
        settings.set_text(_MARK, "")
        self.on_end(None)

    def _fail(self, step: str, why: str, advice: str) -> None:
        self.on_end(
            _("{step} failed: {why}.\n{advice} What was installed stays, and installing goes on from there.").format(
                step=step, why=why.rstrip("."), advice=advice
            )
        )


def _run_pip(
    arguments: list[str], constraints: str, on_line: Callable[[str], None], on_end: Callable[[int], None]
) -> int | None:
    """Start pip as this Slicer does; the exit code where it waited for it, None where ``on_end`` gets it."""
    try:
        from slicer import packaging
    except ImportError:  # Slicer 5.10
        slicer.util.pip_install([*arguments, "-c", constraints])
        return 0
    # Which extension it is for is shown by versions that take it.
    known = inspect.signature(packaging.pip_install).parameters
    named = {"requester": "Contrastive Segmentation"} if "requester" in known else {}
    # While testing it waits, and does not call back.
    waits = slicer.app.testingEnabled()
    packaging.pip_install(
        arguments,
        constraints=constraints,
        blocking=waits,
        show_progress=False,
        logCallback=on_line,
        completedCallback=on_end,
        **named,
    )
    return 0 if waits else None


def _missing_pytorch() -> Requirement | None:
    return next((requirement for requirement in missing() if requirement.name == "torch"), None)


def _pytorch_logic() -> Any:
    """The PyTorch extension's logic, or None where the extension is not installed."""
    try:
        return importlib.import_module("PyTorchUtils").PyTorchUtilsLogic()
    except ImportError:
        return None


def _advice(folder: Path | None) -> str:
    if folder is not None:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return _("The folder must hold wheels of all packages, and of those they need, for Python {python}.").format(
            python=python
        )
    return _(
        "The log says more. Check the network connection, the proxy and the space on the disk; or get the wheels on "
        "another computer and install from their folder."
    )
