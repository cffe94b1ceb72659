"""A training started from the panel: its files, its curve, and its checkpoint in the catalog."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.descriptions import Job
from contrastiveseg.events import Event, Log, Metric, Stage, StageStarted
from contrastiveseg.files import leftovers

from ..signal import Signal
from .session import Session
from .task import Step, Task, duration

#: Stages of the engine's jobs that begin a curve.
_CURVES = (Stage.TRAIN, Stage.TRAIN_FROM_SCRATCH)


class Training:
    """One training at a time, on the session's second process, which ends with it.

    Attributes:
        task: its progress.
        started: signal that a training starts.
        curve_started: signal that a network begins to learn; of a comparison there are two.
        loss, dice: signals with (step, value); Dice is that of the validation cases.
        output: the checkpoint it writes.
        folder: for the files it needs, removed at its end.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.task = Task(session.trainer)
        self.started = Signal()
        self.curve_started = Signal()
        self.loss = Signal()
        self.dice = Signal()
        self.output = Path()
        self.folder = Path()
        self._selects = True
        self._since = 0.0

    @property
    def busy(self) -> bool:
        return self.task.busy

    @property
    def output_name(self) -> str:
        """The checkpoint's name in the catalog, or its path where the catalog does not list it."""
        listed = any(entry.path == self.output for entry in self.session.catalog.entries())
        return self.output.stem if listed else str(self.output)

    @property
    def time(self) -> str:
        """How long it has taken since its start, with its files and its scoring, in words."""
        return duration(time.monotonic() - self._since)

    def prepare(self, name: str) -> None:
        """Choose where the checkpoint called ``name`` goes, and make the folder for its files."""
        self.output = self.session.catalog.new_path(name)
        self.folder = Path(tempfile.mkdtemp(prefix="training-", dir=self.session.folder()))
        self._selects = True

    def start(
        self, steps: Sequence[Step], job: Job, on_result: Callable[[Any], None], resuming_command: str = ""
    ) -> None:
        """After :meth:`prepare`: do ``steps``, then train; ``on_result`` comes with the checkpoint in the catalog.

        Args:
            resuming_command: what goes on with it in a terminal, should the engine crash; "" where it cannot go on,
                since what it learns from ends with it.
        """
        self._since = time.monotonic()
        self.started.emit()
        self.session.training = True
        self.session.training_changed.emit()
        self._on_result, self._resuming_command = on_result, resuming_command
        self.task.start(steps, job, self._done, self._failed, self._on_event)

    def discard(self) -> None:
        """After :meth:`prepare`, when nothing comes of it."""
        _remove_files(self.output, self.folder)

    def leave_scene(self) -> None:
        """The scene that it learns from closes: with all its files it goes on, but another scene's checkpoint stays."""
        self._selects = False
        if self.task.state == "writing":
            self.task.cancel()

    def cleanup(self) -> None:
        """The panel closes: end the process, which still writes what was learned; with that the training ends."""
        if self.task.state == "writing":
            self.task.cancel()
        elif self.busy:
            self.session.trainer.stop()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, StageStarted) and event.name in _CURVES:
            self.curve_started.emit()
        elif isinstance(event, Metric) and event.name == "loss":
            self.loss.emit(event.step, event.value)
        elif isinstance(event, Metric) and event.name == "validation_dice":
            self.dice.emit(event.step, event.value)
        elif isinstance(event, Log):
            self.session.log(event.text)

    def _done(self, value: Any) -> None:
        self._end(selects=self._selects)
        self._on_result(value)

    def _failed(self, problem: Exception | str, cancelled: bool) -> None:
        resume = self.output.with_name(self.output.name + ".resume")
        goes_on = not cancelled and self._resuming_command and resume.is_file() and not self.output.is_file()
        # What a training had learned when it was cancelled may be worse than the chosen checkpoint, or not segment.
        self._end(selects=False, keep_resume=bool(goes_on))
        if goes_on:
            advice = _("What was learned is kept in {path}. To go on from there, type in a terminal:")
            problem = f"{problem}\n\n{advice.format(path=resume)}\n{self._resuming_command}"
        if not cancelled:
            self.session.report(problem)
        elif self.output.is_file():
            text = _("Stopped. What was learned so far is kept as {name}; choose it in the section Model to use it.")
            text = text.format(name=self.output_name)
            self.task.status.emit(text)
            # The engine's own words name an option of the terminal.
            problem = text
        self.session.log(str(problem))

    def _end(self, selects: bool, keep_resume: bool = False) -> None:
        self.session.training = False
        self.session.training_changed.emit()
        if self.output.is_file():
            self.session.refresh_catalog(self.output if selects else None)
        # The process may be writing until it is gone, and the next training may have begun by then.
        self.session.trainer.stop(partial(_remove_files, self.output, self.folder, keep_resume))


def _remove_files(output: Path, folder: Path, keep_resume: bool = False) -> None:
    """All but the checkpoint: volumes written for it, their preprocessed copies, what was half-written, and (unless
    ``keep_resume``) the files to resume from. At once: when Slicer quits, there is no later."""
    for path in (*leftovers(output), *(() if keep_resume else output.parent.glob(f"{output.name}.*"))):
        with contextlib.suppress(OSError):
            path.unlink()
    # What cannot be removed goes with the session's folder.
    shutil.rmtree(folder, ignore_errors=True)
