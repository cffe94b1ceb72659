"""Fixtures of the tests that run the panel on the bench; see README.md."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bench import probe, start

os.environ.setdefault("OMP_NUM_THREADS", "1")
MODULE = Path(__file__).resolve().parents[2] / "ContrastiveSeg" / "ContrastiveSeg.py"
_WHY_NOT = probe.why_not()


class _Skipped(pytest.Module):
    """A test file on a machine where the bench cannot start; not imported, since its imports would fail."""

    def collect(self) -> list[pytest.Item]:
        pytest.skip(_WHY_NOT, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return _Skipped.from_parent(parent, path=module_path) if _WHY_NOT else None


@pytest.fixture(scope="session")
def slicer_started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The bench, started once, and told at the end that Slicer quits; the user's documents lie in its folder."""
    folder = tmp_path_factory.mktemp("slicer")
    os.environ["HOME"] = str(folder)
    start.start(folder)
    yield
    import slicer

    slicer.app.aboutToQuit.emit()


@pytest.fixture(autouse=True)
def _honest(slicer_started: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty scene, fresh settings and no dialogs before each test; hidden failures fail it afterwards."""
    import slicer
    from bench import dialogs, failures, others

    slicer.mrmlScene.Clear(0)
    slicer.app.settings().clear()
    dialogs.seam.clear()
    others.installs.clear()
    failures.take()
    monkeypatch.setattr(threading.Thread, "start", _refuse_panel_threads(threading.Thread.start))
    yield
    slicer.app.processEvents()
    problems = failures.take() + dialogs.seam.unseen()
    slicer.mrmlScene.Clear(0)
    if problems:
        pytest.fail("\n\n".join(problems), pytrace=False)


def _refuse_panel_threads(native: Callable[..., None]) -> Callable[..., None]:
    """Python threads stand still in Slicer while its event loop is idle."""

    def start_thread(self: threading.Thread) -> None:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.startswith(("ContrastiveSegPanel", "ContrastiveSeg.")) or caller == "ContrastiveSeg":
            raise RuntimeError(f"{caller} starts a thread")
        native(self)

    return start_thread


@pytest.fixture
def scene(_honest: None) -> Any:
    """``slicer.mrmlScene``, empty."""
    import slicer

    return slicer.mrmlScene


@pytest.fixture
def dialogs(_honest: None) -> Any:
    """What was shown and asked, and what will be answered; see bench/dialogs.py."""
    from bench import dialogs

    return dialogs.seam


@pytest.fixture
def installs(_honest: None) -> Any:
    """What was asked of pip; see bench/others.py."""
    from bench import others

    return others.installs


class Kept:
    """A worker that outlives the panel, so that not every test waits for torch; what the panel leaves is cancelled."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._ids: list[str] = []
        #: As the panel sees it: whether it asked for anything since it last stopped it.
        self.running = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def start(self) -> None:
        self.running = True
        self._worker.start()

    def query(self, name: str, on_result: Callable[[Any], None]) -> None:
        self.running = True
        self._worker.query(name, on_result)

    def submit(self, job: Any, on_event: Callable[[Any], None], host: Any = None) -> str:
        self.running = True
        self._ids.append(self._worker.submit(job, on_event, host))
        return self._ids[-1]

    def stop(self, on_stopped: Callable[[], None] = lambda: None) -> None:
        self.running = False
        for identifier in self._ids:
            self._worker.cancel(identifier)
        on_stopped()


@pytest.fixture(scope="session")
def warm_workers(slicer_started: None) -> Iterator[list[Any]]:
    """One that segments and one that trains; each starts when first asked."""
    workers: list[Any] = []
    yield workers
    for worker in workers:
        worker.stop()


@pytest.fixture
def kept(warm_workers: list[Any], _honest: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels of this test have the warm workers; ask for it before ``module``. Not for tests of the processes."""
    from ContrastiveSegPanel.engine import client, process

    # A test of quitting Slicer ends all processes there are.
    if not warm_workers or any(w._process is not None and w._process not in process._alive for w in warm_workers):
        warm_workers[:] = client.EngineClient(), client.EngineClient()
        # As long as the panel gives its trainer.
        warm_workers[1].GRACE = 60.0
    handed = itertools.cycle(warm_workers)
    monkeypatch.setattr(client, "EngineClient", lambda low_priority=False: Kept(next(handed)))


@pytest.fixture
def module(_honest: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The panel, loaded from its file and shown; the value is ``slicer.modules.ContrastiveSegWidget``."""
    import slicer
    from bench import scripted
    from ContrastiveSegPanel.engine import client
    from PySide6 import QtCore

    # A training that gave way, as it does in Slicer, would hardly begin while other tests keep the machine busy.
    new_client = client.EngineClient
    monkeypatch.setattr(client, "EngineClient", lambda low_priority=False: new_client())
    loaded = scripted.load(MODULE)
    slicer.app._complete_startup()
    slicer.util.selectModule("ContrastiveSeg")
    yield slicer.modules.ContrastiveSegWidget
    if slicer.app.moduleManager().module("ContrastiveSeg") is loaded:
        scripted.unload(loaded)
    slicer.app.processEvents()
    # Outside Qt's own loop it deletes nothing by itself, and selectors would follow the scenes of all later tests.
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


@pytest.fixture
def models_folder(_honest: None, tmp_path: Path) -> Path:
    """The user's folder of checkpoints, empty; the features of previews lie beside it."""
    from ContrastiveSegPanel import settings

    folder = tmp_path / "models"
    folder.mkdir()
    settings.set_models_folder(folder)
    settings.set_text("FeatureCache", str(tmp_path / "features"))
    return folder


@pytest.fixture
def models(models_folder: Path, segmenter: Path) -> Path:
    """The user's folder of checkpoints, with one that segments."""
    shutil.copy(segmenter, models_folder)
    return models_folder


@pytest.fixture
def wait_for(_honest: None) -> Callable[..., None]:
    """``wait_for(condition, seconds=10)`` turns Qt's event loop until the condition holds."""
    from PySide6 import QtCore

    def wait(condition: Callable[[], Any], seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"still not after {seconds} s: {condition}")
            QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 20)

    return wait


@pytest.fixture
def screenshot(_honest: None, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[Any, str], Path]:
    """``screenshot(widget, name)`` saves NAME.png in $CONTRASTIVESEG_SCREENSHOTS, else in a temporary folder."""
    folder = Path(os.environ.get("CONTRASTIVESEG_SCREENSHOTS") or tmp_path)

    def save(widget: Any, name: str) -> Path:
        import slicer

        folder.mkdir(parents=True, exist_ok=True)
        slicer.app.processEvents()
        path = folder / (re.sub(r"[^\w-]+", "-", name) + ".png")
        assert widget.grab().save(str(path)), f"{path} could not be written"
        return path

    return save


@pytest.fixture
def volume(scene: Any, image: Path) -> Any:
    """The volume of the fixture ``image``, in the scene."""
    import slicer

    return slicer.util.loadVolume(str(image), {"name": "MRHead"})


@pytest.fixture
def drive(kept: None, models: Path, module: Any, wait_for: Callable[..., None]) -> Any:
    """The sections Model and Segment, on the screen."""
    import slicer
    from segment_driver import Driver

    slicer.util.mainWindow().show()
    slicer.app.processEvents()
    return Driver(module, wait_for)


@pytest.fixture
def engine(tmp_path: Path) -> str:
    """A program that takes the place of PythonSlicer and runs the scripted engine."""
    from scripted_engine import ENGINE

    (tmp_path / "engine.py").write_text(ENGINE)
    path = tmp_path / "engine"
    # A "#!" line could not name a Python whose path has a space.
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/engine.py" "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def new_worker(engine: str, wait_for: Callable[..., None]) -> Iterator[Callable[..., Any]]:
    """Makes workers that run the scripted engine, or another program, and stops them."""
    from ContrastiveSegPanel.engine.client import EngineClient

    made: list[Any] = []

    def make(python: str = engine, **options: Any) -> Any:
        made.append(EngineClient(python, **options))
        made[-1].GRACE = 0.5
        return made[-1]

    yield make
    stopped: list[bool] = []
    for worker in made:
        worker.stop(lambda: stopped.append(True))
    wait_for(lambda: len(stopped) == len(made))


@pytest.fixture
def cases(scene: None) -> Iterator[Any]:
    """The cases of the scene."""
    from ContrastiveSegPanel.workflows.cases import Cases

    made = Cases()
    yield made
    made.cleanup()


@pytest.fixture
def segment_editor(scene: None) -> Iterator[None]:
    """Slicer's module Segment Editor."""
    from bench import scripted

    loaded = scripted.load(Path(__file__).parent / "bench" / "modules" / "SegmentEditor.py")
    yield
    scripted.unload(loaded)


@pytest.fixture
def trainer(kept: None, models_folder: Path, module: Any, wait_for: Any, screenshot: Any) -> Any:
    """The sections Fine-tune and Pre-train, on the screen; no checkpoint segments."""
    from train_driver import opened

    return opened(module, wait_for, models_folder, screenshot)


@pytest.fixture
def trainer_alone(models_folder: Path, module: Any, wait_for: Any, screenshot: Any) -> Any:
    """With processes of its own, for tests of their end."""
    from train_driver import opened

    return opened(module, wait_for, models_folder, screenshot)
