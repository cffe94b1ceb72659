"""Events drawn for people: bars on a terminal, one line a step in a log, or JSON lines for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

from .events import Emit, Event


def watcher(as_json: bool) -> Emit:
    """The ``Emit`` for stdout and stderr as they are: JSON, a terminal, or a file."""
    if as_json:
        return lambda event: print(json.dumps(event), flush=True)
    return _Bars() if sys.stderr.isatty() else _Lines()


class _Lines:
    """One line for every step, stage, warning and result; for logs."""

    def __init__(self) -> None:
        self.stage = ""
        self.metrics: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        kind = event["event"]
        if kind == "stage":
            self.stage = event["name"]
        elif kind == "metric":
            self.metrics[event["name"]] = event["value"]
            if event["name"].startswith("validation"):
                print(f"{self.stage}: {event['name']} {event['value']:.4f} at step {event['step']}", flush=True)
        elif kind == "progress":
            print(f"{self.stage}: {_amount(event)}{self._terms()}", flush=True)
            self.metrics.clear()
        else:
            _say(event)

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
        kind = event["event"]
        if kind == "progress":
            if self.bar is None:
                self.bar = self._make(total=event["total"], desc=self.stage, unit=event["unit"], leave=False)
            self.bar.update(min(event["done"], event["total"]) - self.bar.n)
            return
        if kind == "metric":
            if self.bar is not None and event["name"] in ("loss", "validation_dice"):
                self.bar.set_postfix({event["name"]: f"{event['value']:.4g}"}, refresh=False)
            return
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if kind == "stage":
            self.stage = event["name"]
        else:
            _say(event)


def _amount(event: Event) -> str:
    left = event["seconds_left"]
    told = "" if left is None else f", {left:.0f} s left"
    return f"{event['done']:.10g}/{event['total']:.10g} {event['unit']}{told}"


def _say(event: Event) -> None:
    """A log, warning, error or result in plain words."""
    if event["event"] == "log":
        mark = "Warning: " if event["level"] == "warning" else ""
        print(f"{mark}{event['text']}", file=sys.stderr if mark else sys.stdout, flush=True)
    elif event["event"] == "error":
        print(f"Error: {event['what']}", file=sys.stderr, flush=True)
    elif event["event"] == "result":
        for name, value in event["value"].items():
            if name == "failures":
                for failure in value:
                    print(f"Failed: {failure['input']}: {failure['what']}", file=sys.stderr)
            elif isinstance(value, list) and all(isinstance(part, str) for part in value):
                print("".join(f"{name.replace('_', ' ')}: {part}\n" for part in value), end="")
            elif isinstance(value, (str, int, float)):
                print(f"{name.replace('_', ' ')}: {value}")
