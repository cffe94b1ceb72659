"""Events drawn for people: bars on a terminal, a line every few seconds in a log, or JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from . import events
from .errors import Cancelled
from .events import Emit, Error, Event, Log, Metric, Progress, Result, Stage, StageStarted
from .printable import printable
from .results import ImportResult, ModelsResult
from .serialization import to_json

#: Seconds between two lines of progress in a log; a stage's first and last are always printed.
_LINE_SECONDS = 5.0
#: What is said of stages that take seconds and count nothing.
_BEGUN = {
    Stage.LOAD: "Loading the model ...",
    Stage.PLAN: "Looking at the volumes ...",
    Stage.EXPORT: "Writing the files ...",
}


def watcher(as_json: bool) -> Emit:
    """The ``Emit`` for stdout and stderr as they are: JSON, a terminal, or a file."""
    if as_json:
        return lambda event: print(json.dumps(events.to_json(event)), flush=True)
    return _Bars() if sys.stderr.isatty() else _Lines()


class _Lines:
    """A line of progress every few seconds, and one for every warning and result; for logs."""

    def __init__(self) -> None:
        self.stage = ""
        self.metrics: dict[str, float] = {}
        self.done, self.next_line = -1.0, 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            say_begun(event)
            self.stage = _words(event)
            self.metrics.clear()
            self.done, self.next_line = -1.0, 0.0
        elif isinstance(event, Metric):
            if event.name.startswith("validation"):
                print(f"{self.stage}: {event.name} {event.value:.4f} at step {event.step}", flush=True)
            else:
                self.metrics[event.name] = event.value
        elif isinstance(event, Progress):
            self._progress(event)
        else:
            _print(event)

    def _progress(self, event: Progress) -> None:
        now, last = time.monotonic(), event.done >= event.total
        if event.done != self.done and (last or now >= self.next_line):
            print(f"{self.stage}: {_amount(event)}{self._terms()}", flush=True)
            self.next_line = now + _LINE_SECONDS
        self.done = event.done
        self.metrics.clear()

    def _terms(self) -> str:
        return "".join(f", {name} {value:.4g}" for name, value in self.metrics.items())


class _Bars:
    """A progress bar a stage; for terminals."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._make: Any = tqdm
        self.bar: Any = None
        self.stage = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            if self.bar is None:
                self.bar = self._make(total=event.total, desc=self.stage, unit=event.unit, leave=False)
            self.bar.update(min(event.done, event.total) - self.bar.n)
            return
        if isinstance(event, Metric):
            if self.bar is not None and event.name in ("loss", "validation_dice"):
                self.bar.set_postfix({event.name: f"{event.value:.4g}"}, refresh=False)
            return
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if isinstance(event, StageStarted):
            say_begun(event)
            self.stage = _words(event)
        else:
            _print(event)


def say_begun(stage: StageStarted) -> None:
    """A sign of life: in a new process loading the libraries takes seconds, on a slow disk half a minute."""
    text = _BEGUN.get(stage.name, "")
    if stage.name is Stage.IMPORT and "torch" not in sys.modules:
        text = "Loading the libraries ..."
    if text:
        print(text, file=sys.stderr, flush=True)


def _words(stage: StageStarted) -> str:
    return printable(f"{stage.name.value.replace('_', ' ')} {stage.detail}".rstrip())


def _amount(event: Progress) -> str:
    left = "" if event.seconds_left is None else f", {_duration(max(event.seconds_left, 0))} left"
    return f"{_short(event.done)}/{_short(event.total)} {event.unit}{left}"


def _short(amount: float) -> str:
    """At most one decimal, and none where there is nothing behind the point."""
    return f"{amount:.1f}".removesuffix(".0")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _print(event: Event) -> None:
    """A log, warning, error or result in plain words."""
    if isinstance(event, Log):
        mark = "Warning: " if event.level == "warning" else ""
        print(printable(f"{mark}{event.text}"), file=sys.stderr if mark else sys.stdout, flush=True)
    elif isinstance(event, Error):
        # A cancelled job is no error.
        mark = "" if event.exit_code == Cancelled.exit_code else "Error: "
        print(printable(f"{mark}{event.what}"), file=sys.stderr, flush=True)
    elif isinstance(event, Result) and isinstance(event.value, ImportResult):
        _print_import(event.value)
    elif isinstance(event, Result) and isinstance(event.value, ModelsResult):
        _print_models(event.value)
    elif isinstance(event, Result):
        for name, value in to_json(event.value).items():
            _print_value(name, value)


def _print_import(result: ImportResult) -> None:
    taken, left, fresh = (len(names) for names in (result.matched, result.skipped, result.fresh))
    print(f"{result.checkpoint}: {taken} tensors taken, {left} left, {fresh} fresh.")
    for kind, names in (("left", result.skipped), ("fresh", result.fresh)):
        print("".join(printable(f"  {kind} {name}") + "\n" for name in names), end="", flush=True)


def _print_models(result: ModelsResult) -> None:
    if result.downloaded is not None:
        print(printable(f"downloaded: {result.downloaded}"), flush=True)
        return
    for model in result.models:
        where = "starter:" + model.name if not model.address else model.address
        print(printable(f"{model.name} ({model.size / 10**6:.1f} MB): {where}"))
        print(printable(f"  For: {model.purpose}. Images: {model.modality}. License: {model.license or 'not known'}."))
        print(printable(f"  Cite: {model.citation}"), flush=True)


def _print_value(name: str, value: Any) -> None:
    """One field of a result; lists and objects are for programs, but for files and failures."""
    if name == "failures":
        for failure in value:
            text = failure["what"]  # most name their file
            text = text if text.startswith(failure["input"]) else f"{failure['input']}: {text}"
            print(printable(f"Failed: {text}"), file=sys.stderr)
    elif isinstance(value, list) and all(isinstance(part, str) for part in value):
        print("".join(printable(f"{name.replace('_', ' ')}: {part}") + "\n" for part in value), end="")
    elif name == "peak_memory":
        print(f"peak memory: {value / 2**20:.0f} MiB")
    elif isinstance(value, float):
        print(f"{name.replace('_', ' ')}: {value:.4g}")
    elif isinstance(value, (str, int)) and not isinstance(value, bool):
        print(printable(f"{name.replace('_', ' ')}: {value}"))
