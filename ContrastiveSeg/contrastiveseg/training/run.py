"""A training run: its budget, its circumstances and its outcome. Light to import."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import events
from ..errors import Cancelled, InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps, or of minutes spent training (validation not counted)."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise InputError("Give the budget either in steps or in minutes, as --steps 500 or --minutes 5.")
        if not 0 < (self.steps or self.minutes or 0) < math.inf:
            raise InputError("The budget must be a number above 0.")

    def progress(self, step: int, seconds: float) -> float:
        """The share of the budget that is used, 1 at the end."""
        return step / self.steps if self.steps else seconds / (60 * (self.minutes or 1))


@dataclass(frozen=True)
class Run:
    """Everything of a run that is not the method or the data.

    Attributes:
        budget: when training ends. device, dtype: where and in which type it computes, None for float32.
        output: the checkpoint to write; the curve and the resume file lie beside it. None writes nothing.
        identity: a hash of the job, so that only the same job resumes the run.
        resume: continue from the resume file. begin_anew: begin where that is damaged, with a warning.
        replace_curve: a curve that lies beside the output may go; else a new run puts it aside.
        save_seconds: seconds between two writings of the resume file.
        validations: how many times, evenly over the budget, the weights are validated.
    """

    budget: Budget
    device: torch.device
    dtype: torch.dtype | None = None
    seed: int = 0
    output: Path | None = None
    identity: str = ""
    resume: bool = False
    begin_anew: bool = False
    replace_curve: bool = False
    save_seconds: float = 60.0
    validations: int = 10
    emit: events.Emit = events.silent
    cancelled: events.CancelCheck = events.never


@dataclass(frozen=True)
class Trained:
    """The outcome of a run.

    Attributes:
        state: the method's state dict to keep. kept: which one it is, "best" validated, else "average", else "last".
        steps: optimizer steps. minutes: spent training. best_score: of the validations, None without any.
        cancelled: the run was stopped before its budget was used.
        resumable: it was stopped, and the file to resume from is written.
        interventions: what the method changed in its own course, in sentences.
    """

    state: dict[str, Tensor]
    kept: str
    steps: int
    minutes: float
    best_score: float | None
    cancelled: bool
    interventions: tuple[str, ...] = ()
    resumable: bool = False

    def stopped_with(self, output: Path | None, written: bool = True) -> Cancelled:
        """What a stopped run ends with, whose checkpoint is ``output``, which it may have left as it was."""
        goes_on = "; --resume goes on" if self.resumable else ""
        steps = "1 step" if self.steps == 1 else f"{self.steps} steps"
        holds = f"holds the {self.kept} weights so far" if written else "is left as it was"
        return Cancelled(f"Stopped after {steps}. {output} {holds}{goes_on}.")
