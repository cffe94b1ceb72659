"""The state of a training, and how it is saved and restored."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from torch import Tensor

from .. import events
from ..errors import InputError
from ..methods.method import Method, Optimization
from . import distributed
from .beside import resume_path
from .optimizer import AveragedWeights, load_optimizer_tensors, make_optimizer, optimizer_tensors
from .resume import DamagedResumeFile, ResumeState, load_resume_state, save_resume_state
from .run import Run

#: The first resume file is written after so many seconds; every further pause is twice as long, up to the run's own.
_FIRST_SAVE_SECONDS = 2.0


class TrainingState:
    """What changes during training: weights, optimizer, averaged weights, the best validated weights."""

    def __init__(self, method: Method, how: Optimization, run: Run, transferred: Collection[str]) -> None:
        self.method, self.run = method, run
        self.optimizer = make_optimizer(method, how, transferred, method.rates)
        self.average = AveragedWeights(method, how.ema) if how.ema else None
        self.step, self.skipped, self.validated, self.seconds = 0, 0, 0, 0.0
        self.best: dict[str, Tensor] = {}
        self.best_score: float | None = None
        self._warned = False
        self._saved, self._pause = time.monotonic(), _FIRST_SAVE_SECONDS
        self._interventions = 0

    def after_step(self) -> None:
        """Update what follows the weights, after an optimizer step, and report what the method changed."""
        self.method.after_step()
        interventions = self.method.interventions
        for text in interventions[self._interventions :]:
            self.run.emit(events.warning(text))
            if self.average:
                # The decay begins small again, so that what was learned before is soon forgotten.
                self.average.updates = 0
        self._interventions = len(interventions)
        if self.average:
            self.average.update()

    def validate(self, score_weights: Callable[[dict[str, Tensor]], float]) -> float:
        """Score the current (averaged) weights, and keep a copy if they are the best."""
        weights = self.average.state if self.average else self.method.state_dict()
        score = score_weights(weights)
        self.method.train()
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best = score, copy_to_cpu(weights)
        return score

    def final_weights(self) -> tuple[str, dict[str, Tensor]]:
        """Which weights to keep ("best", "average" or "last"), and those."""
        if self.best:
            return "best", self.best
        return ("average", self.average.state) if self.average else ("last", self.method.state_dict())

    def save(self) -> None:
        """Write the resume file (process 0 only)."""
        if distributed.rank() or not self.run.output:
            return
        parts = {
            "objective": self.method.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "best": self.best,
            "average": self.average.state if self.average else {},
        }
        updates = self.average.updates if self.average else 0
        run = (self.run.identity, self.step, self.seconds)
        state = ResumeState(*run, updates, self.best_score, self.skipped, self.validated)
        save_resume_state(resume_path(self.run.output), state, parts)

    def save_if_due(self) -> None:
        """Write the resume file if the pause since the last is over; if that fails, warn once and go on training."""
        if time.monotonic() - self._saved <= min(self._pause, self.run.save_seconds):
            return
        try:
            self.save()
        except (InputError, OSError) as problem:
            if not self._warned:
                self.run.emit(events.warning(f"{problem} Training goes on, but could not be resumed from here."))
            self._warned = True
        self._saved, self._pause = time.monotonic(), 2 * self._pause

    def save_at_the_end(self) -> bool:
        """Write the resume file of a stopped run; if that fails, warn and return False."""
        try:
            self.save()
        except (InputError, OSError) as problem:
            self.run.emit(events.warning(f"{problem} The run cannot be resumed from where it stopped."))
            return False
        return True

    def restore(self) -> None:
        """Continue from the resume file; where it is damaged and the run may begin anew, warn and do that.

        Raises:
            InputError: as :func:`.resume.load_resume_state`, or the file does not fit the method.
        """
        assert self.run.output is not None
        path = resume_path(self.run.output)
        try:
            state, parts = load_resume_state(path, self.run.identity)
        except DamagedResumeFile as problem:
            if not self.run.begin_anew:
                raise
            self.run.emit(events.warning(f"{problem.__cause__}: {path} is damaged. Training begins anew."))
            return
        try:
            self._load(state, parts)
        except (KeyError, RuntimeError, ValueError) as problem:
            raise InputError(
                f"{path} does not fit this method and network; it is of another version or was changed. Delete it and "
                "start anew without --resume."
            ) from problem

    def _load(self, state: ResumeState, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.method.load_state_dict(parts["objective"])
        self._interventions = len(self.method.interventions)
        load_optimizer_tensors(self.optimizer, parts.get("optimizer", {}))
        self.step, self.skipped, self.seconds = state.step, state.skipped, state.seconds
        self.validated = state.validated
        self.best_score = state.best_score
        self.best = dict(parts.get("best", {}))
        if self.average:
            self.average.updates = state.averages
            self.average.state = {name: t.to(self.run.device) for name, t in parts["average"].items()}


def copy_to_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A detached copy of ``weights``."""
    return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
