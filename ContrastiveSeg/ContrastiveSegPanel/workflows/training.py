"""Trainings started from the panel: their files, their place in the queue, the curve, the checkpoint in the catalog."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.events import Event, Metric, Stage, StageStarted
from contrastiveseg.training.beside import resume_path

from ..signal import Signal
from .computers import Computer, chosen
from .interrupted import Interrupted, TrainingJob, folder_of, remove_files, save_job, title
from .queue import Entry
from .session import Session
from .task import Step, Steps, Task

#: Stages of the engine's jobs that begin a curve.
_CURVES = (Stage.TRAIN, Stage.TRAIN_FROM_SCRATCH)


@dataclass(frozen=True)
class Prepared:
    """Where a training's checkpoint goes, and the folder for its files, which is there."""

    output: Path
    folder: Path


@dataclass(frozen=True)
class Callbacks:
    """What a section wants to know of a training.

    Attributes:
        on_begin: called when its turn has come.
        on_result: called with the engine's result, when the checkpoint is in the catalog.
        resuming_command: what goes on with it in a terminal, should the engine crash; "" where there is none.
    """

    on_begin: Callable[[], None]
    on_result: Callable[[Any], None]
    resuming_command: str = ""


@dataclass(eq=False)
class _Run:
    """A training that waits or runs.

    Attributes:
        computer: the other one that does it; None for this one.
        gone_on: it was interrupted before, or may go on elsewhere; its files stay until it has ended well, or the user
            discards them.
        selects: its checkpoint is chosen when it is done.
    """

    prepared: Prepared
    steps: list[Step]
    job: TrainingJob
    callbacks: Callbacks
    entry: Entry
    writing: Steps
    computer: Computer | None = None
    gone_on: bool = False
    selects: bool = True


class Training:
    """The trainings of one section; one runs at a time, on the session's second process, which ends with it.

    Attributes:
        task: the progress of the one that runs.
        started: signal that a training starts.
        curve_started: signal that a network begins to learn; of a comparison there are two.
        loss, dice: signals with (step, value); Dice is that of the validation cases.
        output: the checkpoint that the last one to begin writes.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.task = Task(session.trainer)
        self.started = Signal()
        self.curve_started = Signal()
        self.loss = Signal()
        self.dice = Signal()
        self.output = Path()
        self._waiting: list[_Run] = []
        self._current: _Run | None = None
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
    def seconds(self) -> float:
        """How long it has taken since it was started or gone on with here, with its files and its scoring."""
        return time.monotonic() - self._since

    def prepare(self, name: str) -> Prepared:
        """Choose where the checkpoint called ``name`` goes, and make the folder for its files.

        Raises:
            OSError: the folder of the user's checkpoints cannot be written.
        """
        output = self.session.catalog.new_path(name)
        folder = folder_of(output)
        folder.mkdir(parents=True, mode=0o700)  # volumes of patients
        return Prepared(output, folder)

    def start(self, prepared: Prepared, steps: Sequence[Step], job: TrainingJob, callbacks: Callbacks) -> None:
        """Do ``steps`` now, and train when those before it in the queue have ended, on the chosen computer."""
        computer = chosen()
        if computer is not None:  # prepared volumes stay there
            job = replace(job, cache=None)
        keep = (_("Keeping the settings"), partial(save_job, job, prepared.folder, computer))
        self._enqueue(prepared, [*steps, keep], job, callbacks, computer)

    def go_on(self, training: Interrupted, callbacks: Callbacks) -> None:
        """Go on with an interrupted training, or watching it, when those before it in the queue have ended."""
        prepared = Prepared(training.output, training.folder)
        self._enqueue(prepared, [], training.resumed, callbacks, training.computer, gone_on=True)

    def discard(self, prepared: Prepared) -> None:
        """After :meth:`prepare`, when nothing comes of it."""
        remove_files(prepared.output, prepared.folder)

    def leave_scene(self) -> None:
        """The scene that they learn from closes: those with all their files go on, but another scene's checkpoint stays
        chosen."""
        for run in [*self._waiting, *([self._current] if self._current is not None else [])]:
            run.selects = False
            if not run.entry.ready:
                self.session.queue.cancel(run.entry)
        if self.task.state == "writing":
            self.task.cancel()

    def cleanup(self) -> None:
        """The panel closes: end the process, which still writes what was learned. What waits can be gone on with."""
        for run in self._waiting:
            run.writing.stop()
            if not run.entry.ready:
                self.discard(run.prepared)
        if self.task.state == "writing":
            self.task.cancel()
        elif self.busy and self._current is not None:
            # Also one that has learned nothing yet is what the user wanted.
            self._current.gone_on = True
            self.session.trainer.stop()

    def _enqueue(
        self,
        prepared: Prepared,
        steps: list[Step],
        job: TrainingJob,
        callbacks: Callbacks,
        computer: Computer | None,
        gone_on: bool = False,
    ) -> None:
        queue = self.session.queue
        entry = Entry(title(job, prepared.output, computer), cancel=self.task.cancel, output=prepared.output)
        run = _Run(prepared, steps, job, callbacks, entry, Steps(), computer, gone_on)
        entry.begin, entry.drop = partial(self._begin, run), partial(self._drop, run)
        self._waiting.append(run)
        if queue.busy and steps:
            # The scene may change while it waits.
            entry.ready, run.steps = False, []
            run.writing.start(steps, partial(self._written, run))
        queue.add(entry)

    def _written(self, run: _Run, problem: Exception | None) -> None:
        if problem is None:
            self.session.queue.make_ready(run.entry)
            return
        self._drop(run)
        self.session.queue.end(run.entry, "failed")
        self.session.report(problem)

    def _drop(self, run: _Run) -> None:
        run.writing.stop()
        self._waiting.remove(run)
        if not run.gone_on:
            self.discard(run.prepared)

    def _begin(self, run: _Run) -> None:
        self._waiting.remove(run)
        self._current, self.output = run, run.prepared.output
        self._since = time.monotonic()
        self.started.emit()
        run.callbacks.on_begin()
        done, failed = partial(self._done, run), partial(self._failed, run)
        self.task.start(run.steps, run.job, done, failed, self._on_event, run.computer)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, StageStarted) and event.name in _CURVES:
            self.curve_started.emit()
        elif isinstance(event, Metric) and event.name == "loss":
            self.loss.emit(event.step, event.value)
        elif isinstance(event, Metric) and event.name == "validation_dice":
            self.dice.emit(event.step, event.value)
        else:
            self.session.log_event(event)

    def _done(self, run: _Run, value: Any) -> None:
        self._end(run, "done", selects=run.selects)
        run.callbacks.on_result(value)

    def _failed(self, run: _Run, problem: Exception | str, cancelled: bool) -> None:
        resume = resume_path(self.output)
        # What another computer has begun may go on there, and be watched again.
        run.gone_on = run.gone_on or (run.computer is not None and not self.task.refused)
        # What a training had learned when it was cancelled may be worse than the chosen checkpoint, or not segment.
        self._end(run, "cancelled" if cancelled else "failed", selects=False)
        if not cancelled:
            if resume.is_file():
                text = _("What was learned is kept in {path}. To go on from there, choose it in the section Jobs")
                problem = f"{problem}\n\n{text.format(path=resume)}"
                command = run.callbacks.resuming_command
                problem += "." if not command else _(", or type in a terminal:") + f"\n{command}"
            elif run.computer is not None and run.gone_on:
                problem = f"{problem}\n\n" + _("To watch it again, see the section Jobs.")
            self.session.report(problem)
        elif self.output.is_file():
            text = _("Stopped. What was learned so far is kept as {name}; choose it in the section Model to use it.")
            text = text.format(name=self.output_name)
            if resume.is_file() or run.gone_on:
                text += " " + _("To go on with the training, see the section Jobs.")
            self.task.status.emit(text)
            # The engine's own words name an option of the terminal.
            problem = text
        self.session.log(str(problem))

    def _end(self, run: _Run, state: str, selects: bool) -> None:
        self._current = None
        if self.output.is_file():
            self.session.refresh_catalog(self.output if selects else None)
        self.session.queue.end(run.entry, state)
        # The process may be writing until it is gone, and the next training may have begun by then.
        self.session.trainer.stop(partial(self._remove_files, run, state))

    def _remove_files(self, run: _Run, state: str) -> None:
        if state == "done" or not run.gone_on:
            remove_files(run.prepared.output, run.prepared.folder, keep=state != "done")
        # Whether the training can be gone on with is known only now.
        self.session.training_changed.emit()
