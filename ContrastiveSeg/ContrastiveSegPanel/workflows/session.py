"""What the panel's sections share: the processes, the catalog, the chosen checkpoint, and this session's files."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.checkpoints.header import SUFFIX
from contrastiveseg.checkpoints.starters import FOLDER
from contrastiveseg.errors import ContrastiveSegError
from contrastiveseg.events import Event, Log

from .. import settings
from ..engine.requirements import missing
from ..plain_text import plain_tip
from ..question import answered, confirmed
from ..signal import Signal
from .catalog import Catalog, Entry
from .importing import import_model, model_name
from .queue import Queue

if TYPE_CHECKING:
    from ..engine.client import EngineClient
    from ..mrml.parameters import Parameters

#: Until the worker has answered: what every version of the engine has.
_METHODS: dict[str, list[dict[str, Any]]] = {
    "pretrain": [{"name": "ideal", "description": "", "parameters": []}],
    "finetune": [{"name": "supervised", "description": "", "parameters": []}],
}
_DEVICES: list[dict[str, Any]] = [{"name": "cpu", "label": "CPU", "free_bytes": 0}]

#: Seconds; see :attr:`..engine.client.EngineClient.GRACE` and ``QUIT``.
_TRAINER_GRACE = 60.0


class Session:
    """Made when the panel opens, closed with it.

    Attributes:
        worker: segments, ranks, evaluates and answers queries; stays warm.
        trainer: a process of its own for fine-tuning and pre-training, so that one can go on segmenting meanwhile.
            Whoever submits to it starts it and stops it afterwards.
        catalog: the checkpoints there are.
        checkpoint: the one chosen, or None; set by :meth:`set_checkpoint`.
        parameters: what the scene remembers; set by the panel whenever the scene changes.
        methods: stage -> [{"name", "description", "citation", "parameters"}], from the engine's registry.
        devices: [{"name", "label", "free_bytes"}], from the engine.
        queue: the trainer's jobs.
        training_changed: signal that ``queue``, and with it ``training``, has changed.
        going_on: signal with an interrupted training that the user wants to go on; the section of its kind takes it.
        missing: Python packages that have to be installed before anything can be computed.
        checkpoint_changed, catalog_changed, methods_changed, devices_changed, missing_changed: signals, no values.
        nodes_changed: signal that volumes or segmentations came or went; it may come often in a row.
        displayed_changed: signal that the slice views show other volumes.
        node_leaving: signal with a node that is about to be removed; selectors still have it.
        scene_closing: signal that all nodes are about to go.
        entered: signal that the user comes to the module; much may have changed meanwhile.
        section_wanted: signal with the name of a section ("fineTune") that the user is to be shown.
        batch_looked_at: signal with a :class:`.quality.Looked`, when a batch has ended.
        section_titled: signal with the name of a section and its title.
        log_line: signal with a line for the panel's log.
    """

    def __init__(self, worker: EngineClient | None = None, trainer: EngineClient | None = None) -> None:
        from ..engine import early
        from ..engine.client import EngineClient

        self.worker = worker or early.take()
        # Who trains for minutes lets the result of a click, and Slicer's views, go first.
        self.trainer = trainer or EngineClient(low_priority=True)
        # A cancelled training still validates and writes what it has learned.
        self.trainer.GRACE = self.trainer.QUIT = _TRAINER_GRACE
        self.catalog = Catalog(FOLDER, settings.models_folder())
        self.checkpoint: Entry | None = None
        self.parameters: Parameters | None = None
        self.methods = dict(_METHODS)
        self.devices = list(_DEVICES)
        self.missing = _missing()
        #: Whether the worker, which may have been started before the session, was asked what there is.
        self._asked = False
        self.checkpoint_changed = Signal()
        self.catalog_changed = Signal()
        self.methods_changed = Signal()
        self.devices_changed = Signal()
        self.missing_changed = Signal()
        self.nodes_changed = Signal()
        self.queue = Queue()
        self.training_changed = self.queue.changed
        self.going_on = Signal()
        self.displayed_changed = Signal()
        self.node_leaving = Signal()
        self.scene_closing = Signal()
        self.entered = Signal()
        self.section_wanted = Signal()
        self.section_titled = Signal()
        self.batch_looked_at = Signal()
        self.log_line = Signal()
        self._folder: Path | None = None
        self.worker.log_line.connect(self.log_line.emit)
        self.trainer.log_line.connect(self.log_line.emit)

    def warm_up(self) -> None:
        """Start the worker, if it could work, and ask it what there is; returns at once."""
        if self.missing or (self._asked and self.worker.running):
            return
        self._asked = True
        self.worker.query("methods", self._take_methods)
        self.worker.query("devices", self._take_devices)
        self.worker.load_libraries()

    def look_for_packages(self) -> None:
        """Look again for what is missing, as after an installation."""
        self.missing = _missing()
        self.missing_changed.emit()
        self.warm_up()

    @property
    def training(self) -> bool:
        """Whether the trainer has work, or is about to get it."""
        return self.queue.busy

    @property
    def obstacle(self) -> str:
        """Why nothing at all can be computed now, or ""."""
        return _("Install the missing Python packages first: see the top of the panel.") if self.missing else ""

    @property
    def card(self) -> Card | None:
        """That of the chosen checkpoint; None where none is chosen, or it cannot be used."""
        return self.checkpoint.card if self.checkpoint is not None else None

    @property
    def card_obstacle(self) -> str:
        """Why nothing can be computed with any network of the chosen checkpoint, or ""."""
        if self.obstacle or self.card is not None:
            return self.obstacle
        return _("Choose a checkpoint in the section Model.")

    def set_checkpoint(self, path: Path | None) -> None:
        """Choose the checkpoint at ``path``, one of the catalog's entries (None: no checkpoint)."""
        self.checkpoint = next((e for e in self.catalog.entries() if e.path == path), None)
        self.checkpoint_changed.emit()

    def refresh_catalog(self, select: Path | None = None) -> None:
        """Read the catalog's folders again, and choose the checkpoint at ``select`` if it lies in one of them."""
        self.catalog_changed.emit()
        if any(entry.path == select for entry in self.catalog.entries()):
            self.set_checkpoint(select)

    def add_checkpoint(self, path: Path) -> None:
        """Take a checkpoint file, or a model of nnU-Net, into the catalog and choose it; a problem is shown to the
        user. The engine reads a model, which takes a while."""
        if path.suffix != SUFFIX:
            if self.obstacle:
                self.report(self.obstacle)
                return
            import_model(path, self.catalog.new_path(model_name(path)), self.worker, self)
            return
        try:
            self.refresh_catalog(select=self.catalog.add(path))
        except (ContrastiveSegError, OSError) as problem:
            self.report(problem)

    def set_models_folder(self, folder: Path) -> None:
        """Keep the user's own checkpoints in ``folder`` from now on."""
        settings.set_models_folder(folder)
        self.catalog = Catalog(self.catalog.starters, folder)
        self.catalog_changed.emit()

    def folder(self) -> Path:
        """This session's own folder for files that go between Slicer and the engine."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="ContrastiveSeg-", dir=slicer.app.temporaryPath))
        return self._folder

    def new_folder(self, prefix: str) -> Path:
        """A new folder in :meth:`folder`, for the files of one job."""
        return Path(tempfile.mkdtemp(prefix=prefix, dir=self.folder()))

    def log(self, text: str) -> None:
        """A line for the panel's log."""
        self.log_line.emit(text)

    def log_event(self, event: Event) -> None:
        """What a job says in a line for the log; its other events are none."""
        if isinstance(event, Log):
            self.log(event.text)

    def report(self, problem: Exception | str) -> None:
        """Show an error to the user; what is no mistake of theirs also goes to Slicer's log with its trace."""
        if isinstance(problem, Exception) and not isinstance(problem, ContrastiveSegError):
            logging.error("ContrastiveSeg", exc_info=problem)
            problem = f"{type(problem).__name__}: {problem}"
        self.log(str(problem))
        slicer.util.errorDisplay(plain_tip(str(problem)))

    def ask(self, question: str) -> str:
        """Ask the user for a line of text; "" if there is no answer."""
        return answered(question)

    def confirm(self, question: str) -> bool:
        """Ask the user before something is lost; whether the answer is yes."""
        return confirmed(question)

    def close(self) -> None:
        """End both processes and remove the files."""
        self.queue.close()
        folder, self._folder = self._folder, None
        ending = [self.worker, self.trainer]

        def ended() -> None:
            # A process that is still ending may write what it has, which would make the folder again.
            ending.pop()
            if not ending and folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

        for worker in tuple(ending):
            worker.stop(ended)
        self.worker.log_line.disconnect(self.log_line.emit)
        self.trainer.log_line.disconnect(self.log_line.emit)

    def _take_methods(self, methods: list[dict[str, Any]]) -> None:
        self.methods = {
            stage: [m for m in methods if m["stage"] == stage] or known for stage, known in _METHODS.items()
        }
        self.methods_changed.emit()

    def _take_devices(self, devices: list[dict[str, Any]]) -> None:
        self.devices = devices
        self.devices_changed.emit()


def _missing() -> list[str]:
    return [requirement.name for requirement in missing()]
