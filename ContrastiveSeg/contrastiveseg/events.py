"""What a running job reports: one event at a time, drawn by the terminal, the panel or a log.

As JSON (``--json``, the worker's answers) an event is a flat object with its kind under "event":

=========  ================  ======================================================================
kind       class             fields
=========  ================  ======================================================================
stage      StageStarted      name (the value of a :class:`Stage`), detail (where there is one)
progress   Progress          done, total, seconds_left (null while unknown), unit
metric     Metric            name, step, value
log        Log               text, level ("info" or "warning")
result     Result            value: the job's result (:mod:`.results`), as JSON
error      Error             what, exit_code
ready      Ready             version, pid: the worker's first event
=========  ================  ======================================================================
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from . import serialization
from .errors import InputError
from .printable import quoted


class Stage(enum.Enum):
    """The stages of all jobs. The values are codes for programs; they do not change between versions."""

    IMPORT = "import"
    LOAD = "load"
    PLAN = "plan"
    PREPROCESS = "preprocess"
    TRAIN = "train"
    TRAIN_FROM_SCRATCH = "train_from_scratch"
    LEAVE_OUT = "leave_out"
    SCORE = "score"
    SCORE_CHECKPOINT = "score_checkpoint"
    SEGMENT = "segment"
    EVALUATE = "evaluate"
    RANK = "rank"
    FEATURES = "features"
    PREVIEW = "preview"
    DOWNLOAD = "download"
    EXPORT = "export"
    SYNTHESIZE = "synthesize"


@dataclass(frozen=True)
class StageStarted:
    """A stage begins; the one before it has ended. ``detail`` is the case of ``LEAVE_OUT``."""

    name: Stage
    detail: str = ""


@dataclass(frozen=True)
class Progress:
    """How far the stage is. ``seconds_left`` is None while it cannot be estimated."""

    done: float
    total: float
    seconds_left: float | None
    unit: str


@dataclass(frozen=True)
class Metric:
    """A value of a training at one step: "loss", another term of it by its name, or "validation_dice"."""

    name: str
    step: int
    value: float


@dataclass(frozen=True)
class Log:
    """A sentence for people."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class Result:
    """The job has ended well."""

    value: Any


@dataclass(frozen=True)
class Error:
    """The job has failed, or was cancelled (exit code 130)."""

    what: str
    exit_code: int


@dataclass(frozen=True)
class Ready:
    """The worker takes requests."""

    version: str
    pid: int


Event = StageStarted | Progress | Metric | Log | Result | Error | Ready
Emit = Callable[[Event], None]
CancelCheck = Callable[[], bool]

#: "event" in JSON -> its class.
_KINDS: dict[str, type] = {
    "stage": StageStarted,
    "progress": Progress,
    "metric": Metric,
    "log": Log,
    "result": Result,
    "error": Error,
    "ready": Ready,
}
_NAMES = {cls: kind for kind, cls in _KINDS.items()}


def to_json(event: Event) -> dict[str, Any]:
    """``event`` as JSON types; a stage's detail only where it has one."""
    fields = serialization.to_json(event)
    if isinstance(event, StageStarted) and not event.detail:
        del fields["detail"]
    return {"event": _NAMES[type(event)], **fields}


def from_json(data: Any) -> Event:
    """The event that :func:`to_json` wrote.

    Raises:
        InputError: an unknown kind or stage, or a field is missing, unknown or of the wrong type.
    """
    kind = data.get("event") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"{quoted(kind)} is not an event. Known: {', '.join(_KINDS)}.")
    return serialization.from_json(_KINDS[kind], {k: v for k, v in data.items() if k != "event"}, kind)


def silent(event: Event) -> None:
    """An ``Emit`` for callers that do not watch."""


def never() -> bool:
    """A ``CancelCheck`` for callers that never cancel."""
    return False


def log(text: str) -> Log:
    """A line of the log."""
    return Log(text)


def warning(text: str) -> Log:
    """A line of the log that people should not miss."""
    return Log(text, "warning")


class ProgressMeter:
    """Emits :class:`Progress` with the time left, estimated from the pace since it was made.

    Args:
        total: what there is to do, in ``unit``.
        done: what is done already.
    """

    def __init__(self, emit: Emit, total: float, unit: str, done: float = 0) -> None:
        self.emit, self.total, self.unit = emit, total, unit
        self._first, self._start = done, time.monotonic()

    def __call__(self, done: float) -> None:
        elapsed, gained = time.monotonic() - self._start, done - self._first
        left = elapsed / gained * (self.total - done) if gained > 0 else None
        self.emit(Progress(done, self.total, left, self.unit))
