"""Longer work of the panel: files are written one by one, then a job runs on an engine process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from contrastiveseg.descriptions import Job
from contrastiveseg.errors import Cancelled, InputError
from contrastiveseg.events import Error, Event, Progress, Result, Stage, StageStarted

from ..engine.client import EngineClient
from ..signal import Signal
from ..timer import single_shot

if TYPE_CHECKING:
    from .computers import Computer

#: What is done, in words for the user, and the function that does it.
Step = tuple[str, Callable[[], None]]


def do_all(steps: Iterable[Step]) -> None:
    """Do ``steps`` at once, where nobody waits for Slicer's windows, or few are left."""
    for _text, do in steps:
        do()


class Steps:
    """Does one step a turn of the event loop, so that Slicer stays usable in between."""

    def __init__(self) -> None:
        self._timer = single_shot(self._next)
        self._left: list[Step] = []
        self._total = 0

    def start(
        self,
        steps: Sequence[Step],
        on_end: Callable[[Exception | None], None],
        on_step: Callable[[int, int, str], None] = lambda done, total, text: None,
    ) -> None:
        """``on_step(done, total, text)`` comes before each step; ``on_end`` gets what a step raised, which ends it."""
        self._left, self._total, self._on_end, self._on_step = list(steps), len(steps), on_end, on_step
        self._timer.start(0)

    def stop(self) -> None:
        """Do no more; ``on_end`` is not called."""
        self._timer.stop()
        self._left = []

    def _next(self) -> None:
        if not self._left:
            self._on_end(None)
            return
        text, do = self._left.pop(0)
        self._on_step(self._total - len(self._left), self._total, text)
        try:
            do()
        except Exception as problem:
            self._left = []
            self._on_end(problem)
            return
        self._timer.start(0)


class Task:
    """One job at a time, from its files to its end.

    Attributes:
        state: "idle", "writing" (its files, or what it made into the scene), "running", or "stopping" from the click on
            Cancel to the end.
        changed: signal after every change of ``state``.
        refused: whether the last job ended because of what it was given.
        progressed: signal with (done, total); a ``total`` of 0 says that something happens, not how much.
        status: signal with a text for the user: what is done now, or how it ended.
    """

    def __init__(self, worker: EngineClient) -> None:
        self.worker = worker
        self.state = "idle"
        self.refused = False
        self.changed = Signal()
        self.progressed = Signal()
        self.status = Signal()
        self._steps = Steps()
        self._job_id = ""

    @property
    def busy(self) -> bool:
        return self.state != "idle"

    def start(
        self,
        steps: Sequence[Step],
        job: Job,
        on_result: Callable[[Any], None],
        on_problem: Callable[[Exception | str, bool], None],
        on_event: Callable[[Event], None] = lambda event: None,
        computer: Computer | None = None,
        take: Callable[[], Sequence[Step]] = tuple,
    ) -> None:
        """Do ``steps``, then ``job``. It ends with ``on_result(value)``, or with ``on_problem(problem, cancelled)``;
        ``on_event`` gets the job's other events. ``computer`` does it, None for this one. ``take`` gives what is to be
        done with what the job has made before ``on_result``."""
        self._job, self._on_result, self._on_problem, self._on_event = job, on_result, on_problem, on_event
        self._take = take
        self._host, self.refused = computer.host if computer is not None else None, False
        self._stage = ""
        self._set_state("writing")
        self._steps.start(steps, self._on_written, self._on_writing)

    def cancel(self) -> None:
        """Stop as soon as possible; the end comes by ``on_problem`` like any other."""
        if self.state == "writing":
            self._steps.stop()
            self._end(_("Stopped."), lambda: self._on_problem(_("Stopped."), True))
        elif self.state == "running":
            self._set_state("stopping")
            self._show(0, 0, _("Stopping"))
            self.worker.cancel(self._job_id)

    def _on_writing(self, done: int, total: int, text: str) -> None:
        self._show(done - 1, total, f"{text} ({done}/{total})")

    def _on_written(self, problem: Exception | None) -> None:
        if problem is not None:
            self._end(_("Failed."), lambda: self._on_problem(problem, False))
            return
        self._set_state("running")
        self._show(0, 0, _("Starting"))
        self._job_id = self.worker.submit(self._job, self._on_job_event, self._host)

    def _on_job_event(self, event: Event) -> None:
        if isinstance(event, Result):
            self._take_what_was_made(event.value)
        elif isinstance(event, Error):
            self.refused = event.exit_code == InputError.exit_code
            cancelled = self.state == "stopping" or event.exit_code == Cancelled.exit_code
            text = _("Stopped.") if cancelled else _("Failed.")
            self._end(text, lambda: self._on_problem(event.what, cancelled))
        elif self.state == "running":
            self._show_event(event)
            self._on_event(event)

    def _show_event(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self._stage = stage_words(event)
            self._show(0, 0, self._stage)
        elif isinstance(event, Progress):
            left = event.seconds_left
            text = f"{self._stage}, {time_left(left)}" if left is not None else self._stage
            self._show(event.done, event.total, text)

    def _take_what_was_made(self, value: Any) -> None:
        def end(problem: Exception | None) -> None:
            if problem is None:
                self._end(_("Done."), lambda: self._on_result(value))
            else:
                self._end(_("Failed."), lambda: self._on_problem(problem, False))

        steps = self._take()
        if steps:
            self._set_state("writing")
            self._steps.start(steps, end, self._on_writing)
        else:
            end(None)

    def _end(self, text: str, report: Callable[[], None]) -> None:
        self.status.emit(text)
        self._set_state("idle")
        report()

    def _show(self, done: float, total: float, text: str) -> None:
        self.progressed.emit(done, total)
        self.status.emit(text)

    def _set_state(self, state: str) -> None:
        self.state = state
        self.changed.emit()


def time_left(seconds: float) -> str:
    """The time left, in words."""
    return _("{duration} left").format(duration=duration(seconds))


def duration(seconds: float) -> str:
    """``seconds`` in words, in the unit that fits."""
    if seconds < 90:
        return _("{count} s").format(count=max(1, round(seconds)))
    if seconds < 90 * 60:
        return _("{count} min").format(count=round(seconds / 60))
    return _("{count} h").format(count=f"{seconds / 3600:.1f}")


def stage_words(started: StageStarted) -> str:
    """A stage of the engine's jobs in words for the user."""
    texts = {
        Stage.IMPORT: _("Loading the libraries"),
        Stage.LOAD: _("Loading the model"),
        Stage.PLAN: _("Looking at the volumes"),
        Stage.PREPROCESS: _("Preparing the volumes"),
        Stage.SEGMENT: _("Segmenting"),
        Stage.TRAIN: _("Training"),
        Stage.TRAIN_FROM_SCRATCH: _("Training from scratch"),
        Stage.LEAVE_OUT: _("Training without {case}"),
        Stage.SCORE: _("Scoring on the volumes held out"),
        Stage.SCORE_CHECKPOINT: _("Scoring the checkpoint it started from"),
        Stage.RANK: _("Ranking"),
        Stage.EVALUATE: _("Measuring"),
        Stage.FEATURES: _("Computing features"),
        Stage.PREVIEW: _("Spreading the strokes"),
        Stage.DOWNLOAD: _("Downloading"),
        Stage.EXPORT: _("Writing the files"),
        Stage.SYNTHESIZE: _("Making volumes"),
    }
    return texts[started.name].format(case=started.detail)
