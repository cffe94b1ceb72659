"""A job as a Python function: its options as keyword arguments, its signature and help from its description."""

from __future__ import annotations

import logging
import typing
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, getdoc, signature
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

from . import events
from .descriptions import Job
from .errors import InputError
from .parameters import Parameter as JobParameter
from .parameters import parameters_of
from .serialization import from_json

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger("contrastiveseg")

#: What jobs take besides their own options; see :func:`call` and :func:`call_anywhere`.
_HOST = """\
    host: do the job on this machine, named as for ssh (user@machine); files go there and back.
    host_command: how contrastiveseg is called there; default: contrastiveseg.
"""
_WATCHING = """\
    on_event: called with each event on the way (:mod:`contrastiveseg.events`).
    progress: draw bars and print messages, as the terminal does.
    cancelled: asked between steps and volumes; True ends the job with ``Cancelled``, keeping what is done.
"""


def takes_options_of(job: type[Job], anywhere: bool = False) -> Callable[[Function], Function]:
    """Decorator: signature and docstring name the fields of ``job`` in place of ``**options``.

    Args:
        anywhere: the function calls :func:`call_anywhere`, not :func:`call`.
    """
    calls, more = (call_anywhere, _HOST + _WATCHING) if anywhere else (call, _WATCHING)

    def decorate(function: Function) -> Function:
        hints, fields = typing.get_type_hints(job), parameters_of(job)
        options = [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=Parameter.empty if field.required else field.default,
                annotation=_annotation(field, hints[field.name]),
            )
            for field in sorted(fields, key=lambda field: not field.required)
        ]
        watching = [p for p in signature(calls, eval_str=True).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
        returned = signature(function, eval_str=True).return_annotation
        function.__signature__ = Signature([*options, *watching], return_annotation=returned)  # type: ignore[attr-defined]
        lines = "".join(f"    {field.name}: {_meaning(field)}.\n" for field in fields)
        text = getdoc(function) or ""
        function.__doc__ = text.replace("Raises:\n", f"Args:\n{lines}{more}\nRaises:\n", 1)
        return function

    return decorate


def _annotation(field: JobParameter, hint: Any) -> Any:
    if field.kind == "texts":
        return str | Path | Sequence[str | Path]
    if field.kind != "text":
        return hint
    return hint | float if field.placeholder else hint | Path


def _meaning(field: JobParameter) -> str:
    return f"{field.help} ({field.allowed})" if field.allowed else field.help


def call(
    job: type[Job],
    *,
    on_event: events.Emit | None = None,
    progress: bool = False,
    cancelled: events.CancelCheck = events.never,
    **options: Any,
) -> Any:
    """The result of ``job`` with ``options``.

    Raises:
        InputError: an option or an input cannot be used.
        Cancelled: ``cancelled`` returned True.
    """
    from .jobs.run import run

    emit = _emit_to(on_event, progress, cancelled)
    return run(_described(job, options), emit, cancelled)


def call_anywhere(
    job: type[Job],
    *,
    host: str | None = None,
    host_command: str | None = None,
    on_event: events.Emit | None = None,
    progress: bool = False,
    cancelled: events.CancelCheck = events.never,
    **options: Any,
) -> Any:
    """The result of ``job`` with ``options``, done here or on another machine.

    Raises:
        InputError, Cancelled: as :func:`call`.
        ContrastiveSegError: the connection to the machine is lost; the same call watches the job again.
    """
    if host is None and host_command is None:
        return call(job, on_event=on_event, progress=progress, cancelled=cancelled, **options)
    from .remote.near import Host, run_on

    there = Host(host or "", host_command or Host.command)
    emit = _emit_to(on_event, progress, cancelled)
    return run_on(there, _described(job, options), emit, cancelled)


def _described(job: type[Job], options: dict[str, Any]) -> Job:
    fields = {field.name: field for field in parameters_of(job)}
    given = {name: _as_text(value, fields.get(name)) for name, value in options.items()}
    return from_json(job, given, job.kind)


def _as_text(value: Any, field: JobParameter | None) -> Any:
    """Paths as a job holds them, in a list where it takes several; numbers as texts where those may be numbers, as the
    cases to hold out."""
    kind = field.kind if field else ""
    if isinstance(value, (str, Path)):
        return [str(value)] if kind == "texts" else str(value)
    if kind == "texts" and isinstance(value, Sequence):
        return [str(part) if isinstance(part, Path) else part for part in value]
    if field and kind == "text" and field.placeholder and isinstance(value, Real) and not isinstance(value, bool):
        return str(value)
    return value


def _emit_to(on_event: events.Emit | None, progress: bool, cancelled: events.CancelCheck) -> events.Emit:
    for name, function in (("on_event", on_event), ("cancelled", cancelled)):
        if function is not None and not callable(function):
            raise InputError(f"{name} takes a function, not {type(function).__name__}.")
    return emit_to(on_event, progress)


def emit_to(on_event: events.Emit | None, progress: bool) -> events.Emit:
    """What goes to ``on_event`` and, with ``progress``, to the terminal; without either, sentences go to the log."""
    from .terminal import watcher

    watchers = [watcher(as_json=False)] if progress else []
    watchers += [on_event] if on_event else []

    def emit(event: events.Event) -> None:
        for watch in watchers or [_logged]:
            watch(event)

    return emit


def _logged(event: events.Event) -> None:
    """Sentences go to the logger "contrastiveseg", of which Python prints warnings unless it is configured."""
    if isinstance(event, events.Log):
        _log.log(logging.WARNING if event.level == "warning" else logging.INFO, event.text)
